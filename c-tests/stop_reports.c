/* modes: threads processes */
/* sipwire_stop with output still queued: every accepted message that is not written is reported before the end, and
 * every connection gets its on_close. */
#include "harness.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 1, 0, 16000, 5);
  h_peer *idle = h_client();
  h_conn_of(idle);
  h_stop();
  CHECK(h_ledger_failed(1) >= 4, "%u reports, at least 4 messages were queued", h_ledger_failed(1));
  h_tail_failed(1, count, 16000, SIPWIRE_REASON_SHUTDOWN);
  CHECK(h_find(EV_CLOSE, id, NULL), "no on_close for a connection that was open at the stop");
  CHECK_NUM(SIPWIRE_REASON_SHUTDOWN, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(h_total(EV_OPEN), h_total(EV_CLOSE));
  CHECK_NUM(2, h_total(EV_WORKER_STOP));
  return h_finish();
}
