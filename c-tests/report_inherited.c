/* modes: processes */
/* The supervisor and the worker inside on_send_failed die: the report comes once more, marked REPEATED, and not while the
 * first one is being told. */
#include "harness.h"
#include <signal.h>

enum { TELLER, REPORTED = 3 };

static void hook(const sipwire_failure *failure) {
  if (failure->cookie != REPORTED || *h_word(TELLER)) return;
  *h_word(TELLER) = (uint64_t)getpid();
  for (;;) pause();
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_failed_hook = hook;
  h_setting("blacklist_ttl", "0");
  h_setting("worker_stall", "60s");
  h_start(2);
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  for (uint64_t cookie = 1; cookie <= 6; cookie++) CHECK_RC(SIPWIRE_QUEUED, h_send_here(&target, "MESSAGE sip:x SIP/2.0\r\n\r\n", 25, cookie));
  close(full.fd); /* the next SYN is refused */
  WAIT(*h_word(TELLER), "a worker is inside on_send_failed");
  pid_t teller = (pid_t)*h_word(TELLER);
  int place = teller == h_worker_pid(0) ? 0 : 1;
  pid_t other = h_worker_pid(!place);
  h_expect_exit(teller);
  h_expect_exit(other);
  h_kill(h_supervisor_pid());
  WAIT(h_gone(other), "the other worker ends");
  pid_t supervisor = h_fork_supervisor();
  h_fork_worker(!place);
  WAIT_NUM((uint64_t)supervisor, STAT(supervisor_pid));
  for (uint64_t cookie = 1; cookie <= 6; cookie++) WAIT(h_failure(cookie), "report for cookie %llu", (unsigned long long)cookie);
  CHECK_NUM(1, h_failure_count(REPORTED));
  kill(teller, SIGKILL);
  WAIT_NUM(2, h_failure_count(REPORTED));
  h_fork_worker(place);
  for (size_t i = 0; i < h_total(EV_FAILED); i++) {
    h_event *e = h_nth(EV_FAILED, i);
    bool second = e->cookie == REPORTED && e->pid != teller;
    CHECK(!!(e->flags & SIPWIRE_FAILURE_REPEATED) >= second, "cookie %llu in process %d: flags %u", (unsigned long long)e->cookie, e->pid, e->flags);
  }
  return h_finish();
}
