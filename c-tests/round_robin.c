/* modes: threads processes */
/* timeout: 90 */
/* args: --full */
/* A connection with traffic every fifth of worker_hold stays with one worker for four times that long; after worker_hold
 * of silence it is given back, which the statistics show, and its next message goes to the next worker. New activity
 * goes round robin over the workers. --full: the default hold of 5 s, traffic every second for 20 s. */
#include "harness.h"

enum { WORKERS = 3, PEERS = 9 };

static int ask(h_peer *peer, const char *id) {
  char value[16];
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_frame frame = h_await_answer(peer, 200, id);
  CHECK(h_header(frame.data, frame.header_length, "X-Worker", value, sizeof value), "no X-Worker in the answer");
  return atoi(value);
}

static void sticky_and_given_back(uint64_t hold_ms) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  int worker = -1;
  uint64_t handoffs = 0, givebacks = 0, written = 0;
  sipwire_conn_info info;
  for (int i = -1; i < 20; i++) { /* -1: the beginning */
    if (i >= 0) h_sleep_ms((int)(hold_ms / 5));
    uint64_t before = written;
    written = h_now_ms();
    int now = ask(peer, "sticky");
    CHECK(h_info(id, &info), "the connection is gone");
    sipwire_stats stats = h_stats();
    /* All that the worker saw of silence lies between `before` and here. A machine that stood still for most of the
     * hold shows nothing: from the beginning. */
    if (h_now_ms() - (i < 0 ? written : before) > hold_ms * 3 / 4) {
      i = -2;
    } else if (i < 0) {
      worker = now;
      WAIT(STAT(handoffs) == STAT(givebacks) + 1, "each hand-off but the last was followed by a give-back");
      handoffs = STAT(handoffs);
      givebacks = STAT(givebacks);
    } else {
      CHECK_NUM(worker, now);
      CHECK(info.owner == SIPWIRE_OWNER_HELD || info.owner == SIPWIRE_OWNER_READING, "owner is %d while busy", info.owner);
      CHECK_NUM(worker, info.worker);
      CHECK_NUM(handoffs, stats.handoffs);
      CHECK_NUM(givebacks, stats.givebacks);
    }
  }

  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "it is given back after the hold");
  uint64_t silent = h_now_ms() - written;
  CHECK(silent + 50 >= hold_ms, "given back after %llu ms of silence, the hold is %llu", (unsigned long long)silent, (unsigned long long)hold_ms);
  CHECK_NUM(-1, info.worker);
  WAIT_NUM(givebacks + 1, STAT(givebacks));
  WAIT_NUM(1, STAT(connections_idle));
  WAIT_NUM(0, h_worker(worker).held);

  int next = ask(peer, "after");
  CHECK_NUM((worker + 1) % WORKERS, next); /* nothing else was lent meanwhile: it is the next one's turn */
  WAIT_NUM(handoffs + 1, STAT(handoffs));
  h_close(peer);
  WAIT(STAT(connections) == 0, "closed");
}

static void turns(void) {
  h_peer *peer[PEERS];
  uint64_t lends[WORKERS], messages[WORKERS];
  for (int w = 0; w < WORKERS; w++) lends[w] = h_worker(w).lends, messages[w] = h_worker(w).messages;
  uint64_t handoffs = STAT(handoffs);
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  int previous = -1;
  for (int i = 0; i < PEERS; i++) {
    int worker = ask(peer[i], "turn");
    if (previous >= 0) CHECK_NUM((previous + 1) % WORKERS, worker);
    previous = worker;
  }
  for (int w = 0; w < WORKERS; w++) {
    WAIT_NUM(lends[w] + PEERS / WORKERS, h_worker(w).lends);
    WAIT_NUM(messages[w] + PEERS / WORKERS, h_worker(w).messages);
  }
  WAIT_NUM(handoffs + PEERS, STAT(handoffs));
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
  WAIT(STAT(connections) == 0, "all closed");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_stall", "10s"); /* a slow machine must not look like a blocked script here */
  if (!h_full) h_setting("worker_hold", "1s");
  h_time_limit(160);
  h_start(WORKERS);
  sticky_and_given_back(h_full ? 5000 : 1000);
  turns();
  return h_finish();
}
