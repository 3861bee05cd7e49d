/* modes: threads processes */
/* A connection that was reset while a script runs for it: it ends at once, as what it is, and its destination
 * is not blacklisted. Nobody waits for the script: who runs it was told of no error. */
#include "harness.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_setting("worker_stall", "60s");
  h_setting("send_timeout", "10m"); /* only the error itself can end it */
  h_setting("conn_wq_max", "8m");
  h_start(2);
  sipwire_addr theirs;
  int fd = h_listener_open(8, &theirs);
  sipwire_target target = h_to_addr(&theirs);
  CHECK(h_send_numbered_here(&target, 1, 0, 500) > 0, "dial");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "it arrives");
  uint32_t id = h_conn_of(peer);
  h_write_text(peer, h_request("OPTIONS", "slow", "X-Wait: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: slow"), "in the script");

  sipwire_target to = h_to_conn(id);
  peer->paused = true;
  uint32_t last = h_fill(&to, 2, 0, 16000, 10) - 1;
  h_half_close(peer); /* a reset behind a FIN is EPIPE to all, with nobody told of anything else */
  h_reset(peer);
  uint64_t cookie = (uint64_t)2 << 32 | last;
  WAIT_FOR(20, h_conn_flags(id) & SIPWIRE_CONN_CLOSING, "it ends while the script still runs");
  CHECK_NUM(0, h_total(EV_CLOSE));

  *h_word(1) = 1;
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close after the script");
  CHECK_NUM(SIPWIRE_REASON_PEER_RESET, h_find(EV_CLOSE, id, NULL)->reason);
  WAIT(h_failure(cookie), "the report");
  CHECK_NUM(SIPWIRE_REASON_PEER_RESET, h_failure(cookie)->reason);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &theirs));
  h_close(peer);
  close(fd);
  return h_finish();
}
