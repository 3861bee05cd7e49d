/* modes: threads processes */
/* What the settings of workers do: worker_hold, after which a worker gives a silent connection back, and worker_stall,
 * after which one that is in a callback loses others to the next worker. */
#include "deadline.h"

static void hold(void) {
  set_live("worker_hold", "1s");
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  uint64_t before = h_now_ms();
  h_write_text(peer, h_request("OPTIONS", "hold", NULL, NULL));
  h_await_answer(peer, 200, "hold");
  uint64_t after = h_now_ms();
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
  CHECK_ACTED("worker_hold", before, after, 1000, h_now_ms());
  h_close(peer);
}

/* Held by worker 0. */
static h_peer *held(uint32_t *id) {
  sipwire_conn_info info;
  for (int i = 0; i < 20; i++) {
    h_peer *peer = h_client();
    h_write_text(peer, h_request("OPTIONS", "held", NULL, NULL));
    h_await_answer(peer, 200, "held");
    *id = h_conn_of(peer);
    WAIT(h_info(*id, &info) && info.owner == SIPWIRE_OWNER_HELD, "held");
    if (info.worker == 0) return peer;
  }
  h_fail(__FILE__, __LINE__, "no connection comes to worker 0");
}

static void stall(void) {
  set_live("worker_hold", "1h");
  set_live("worker_stall", "1s");
  uint32_t blocked_id, id;
  h_peer *blocked = held(&blocked_id), *peer = held(&id);
  uint64_t before = h_now_ms();
  h_write_text(blocked, h_request("OPTIONS", "blocked", "X-Wait: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, blocked_id, "Call-ID: blocked"), "the script blocks");
  h_write_text(peer, h_request("OPTIONS", "taken", NULL, NULL));
  uint64_t after = h_now_ms();
  h_await_answer(peer, 200, "taken");
  CHECK_ACTED("worker_stall", before, after, 1000, h_find(EV_MESSAGE, id, "Call-ID: taken")->time_ms);
  CHECK_NUM(1, h_find(EV_MESSAGE, id, "Call-ID: taken")->worker);
  *h_word(1) = 1;
  h_await_answer(blocked, 200, "blocked");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  hold();
  stall();
  return h_finish();
}
