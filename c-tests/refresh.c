/* modes: processes */
/* A sender that is silent keeps descriptors of its own. When the supervisor dies they would hold its connections open,
 * with nobody to read: sipwire_refresh lets them go, and its peers see the end. */
#include "harness.h"
#include <signal.h>

static void refresh(h_sender *self) {
  (void)self;
  int32_t rc = sipwire_refresh(h_instance);
  CHECK(rc == SIPWIRE_OK, "sipwire_refresh: %d (%s)", rc, sipwire_strerror(rc));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(1);
  h_sender *sender = h_sender_new();
  h_peer *peer = h_client();
  sipwire_target target = h_to_conn(h_conn_of(peer));
  uint64_t passed = STAT(fds_passed);
  uint32_t n = 0;
  for (; STAT(fds_passed) == passed || n < 4; n++) { /* from its second queued message on it has the descriptor */
    CHECK(n < 100, "no descriptor is passed to the sender");
    h_send_numbered(sender, &target, 1, n, 1, 500);
    h_sender_wait(sender);
    WAIT((h_ledger_receive(peer), h_ledger_received(1) == n + 1), "message %u", n);
  }
  int fds = h_count_fds(sender->pid);

  pid_t worker = h_worker_pid(0);
  h_expect_exit(worker);
  h_expect_exit(h_supervisor_pid());
  kill(h_supervisor_pid(), SIGKILL);
  WAIT(h_gone(h_supervisor_pid()) && h_gone(worker), "supervisor and worker end");
  STAYS(100, !h_ended(peer), "the connection ended by itself: the test shows nothing");
  h_sender_run(sender, refresh);
  h_sender_wait(sender);
  h_await_end(peer, "after sipwire_refresh");
  CHECK(h_count_fds(sender->pid) < fds, "the sender has %d descriptors, had %d", h_count_fds(sender->pid), fds);

  h_fork_supervisor();
  h_fork_worker(0);
  WAIT(h_workers_running() == 1, "a new worker");
  h_peer *next = h_client();
  target = h_to_conn(h_conn_of(next));
  h_send_numbered(sender, &target, 2, 0, 5, 500);
  h_sender_wait(sender);
  WAIT((h_ledger_receive(next), h_ledger_received(2) == 5), "the sender goes on with the new supervisor");
  return h_finish();
}
