/* modes: threads processes */
/* What the settings of closing do: linger is how long we wait for the peer's FIN behind ours, at most; close_rst makes
 * an end that nobody waits for a reset. */
#include "deadline.h"

/* Closed by the host; our FIN is there at once. */
static h_peer *closed(void) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "closed", NULL, NULL));
  h_await_answer(peer, 200, "closed");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, h_conn_of(peer)));
  h_await_end(peer, "our FIN");
  CHECK(peer->eof, "reset (errno %d), expected FIN", peer->error);
  return peer;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  set_live("linger", "1s");
  uint64_t before = h_now_ms();
  h_peer *peer = closed();
  uint64_t after = h_now_ms();
  WAIT_FOR(40, STAT(connections) == 0, "the linger is over");
  CHECK_ACTED("linger", before, after, 1000, h_now_ms());
  h_close(peer);

  set_live("linger", "1h");
  peer = closed();
  STAYS(100, STAT(connections) == 1, "ended without the peer's FIN");
  h_close(peer);
  WAIT(STAT(connections) == 0, "the peer's FIN ends it");

  peer = closed(); /* nor is input read and dropped without end */
  char rubbish[4096] = {0};
  size_t dropped = 0;
  while (STAT(connections) != 0 && h_try_write(peer, rubbish, sizeof rubbish)) CHECK((dropped += sizeof rubbish) < 64 << 20, "input is read without end");
  WAIT(STAT(connections) == 0, "too much input ends it");
  CHECK(dropped >= 128 << 10, "it ended after %zu bytes", dropped);
  h_close(peer);

  /* A stop ends all: by FIN, or with close_rst by a reset. */
  set_live("close_rst", "yes");
  peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "stop", NULL, NULL));
  h_await_answer(peer, 200, "stop");
  h_stop();
  h_await_end(peer, "the stop");
  CHECK(peer->error == ECONNRESET, "FIN, expected a reset");
  return h_finish();
}
