/* modes: processes */
/* The supervisor dies: sends say so, workers end with that code. A new one closes and reports what was, and serves
 * the same listeners again. */
#include "harness.h"
#include <signal.h>

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  h_write_text(peer, h_request("OPTIONS", "before", NULL, NULL));
  h_await_answer(peer, 200, "before");
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 1, 0, 16000, 5);

  pid_t workers[2] = {h_worker_pid(0), h_worker_pid(1)};
  for (int w = 0; w < 2; w++) h_expect_exit(workers[w]);
  h_expect_exit(h_supervisor_pid());
  kill(h_supervisor_pid(), SIGKILL);
  WAIT(h_gone(h_supervisor_pid()), "the supervisor is dead");
  size_t accepted = 0; /* by a queue that nobody serves any more: reported by the next supervisor like all others */
  for (int32_t rc = 0; rc != SIPWIRE_E_SUPERVISOR_GONE; accepted += rc > 0) {
    WAIT((rc = h_send_here(&target, "x", 1, 9)) > 0 || rc == SIPWIRE_E_SUPERVISOR_GONE, "sends say that the supervisor is gone");
    CHECK(accepted < 100000, "sends do not come to say that the supervisor is gone");
  }
  WAIT(h_gone(workers[0]) && h_gone(workers[1]), "workers end");

  pid_t supervisor = h_fork_supervisor();
  for (int w = 0; w < 2; w++) h_fork_worker(w);
  WAIT(STAT(supervisor_pid) == (uint64_t)supervisor && h_workers_running() == 2, "a new supervisor with new workers");
  WAIT(h_find(EV_CLOSE, id, NULL), "the old connection is reported closed");
  CHECK_NUM(SIPWIRE_REASON_SUPERVISOR_GONE, h_find(EV_CLOSE, id, NULL)->reason);
  h_tail_failed(1, count, 16000, SIPWIRE_REASON_SUPERVISOR_GONE);
  CHECK(h_ledger_failed(1) >= 4, "%u reports", h_ledger_failed(1));
  WAIT_NUM(accepted, h_failure_count(9));
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  h_peer *next = h_client();
  h_write_text(next, h_request("OPTIONS", "after", NULL, NULL));
  h_await_answer(next, 200, "after");
  sipwire_target to_next = h_to_conn(h_conn_of(next));
  CHECK(h_send_numbered_here(&to_next, 2, 0, 500) > 0, "a send through the new supervisor");
  WAIT((h_ledger_receive(next), h_ledger_received(2) == 1), "it arrives");
  return h_finish();
}
