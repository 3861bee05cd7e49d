/* modes: processes */
/* fd_cache=0: no descriptor is passed to a sender, each of its messages is queued and written by the supervisor. */
#include "harness.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("fd_cache", "0");
  h_setting("worker_hold", "1h"); /* nothing is passed to workers meanwhile */
  h_start(1);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "known", NULL, NULL));
  h_await_answer(peer, 200, "known");
  sipwire_target target = h_to_conn(h_conn_of(peer));
  uint64_t passed = STAT(fds_passed);
  for (uint32_t n = 0; n < 20; n++) {
    CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, n, 400));
    WAIT((h_ledger_receive(peer), h_ledger_received(1) == n + 1), "it arrives");
  }
  CHECK_NUM(passed, STAT(fds_passed));
  return h_finish();
}
