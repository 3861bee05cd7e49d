/* modes: processes */
/* A worker that dies inside on_send_failed: the report comes once more, from another worker, marked REPEATED; every
 * other report comes once. */
#include "harness.h"
#include <signal.h>

static void hook(const sipwire_failure *failure) {
  if (failure->cookie == 3 && !(failure->flags & SIPWIRE_FAILURE_REPEATED)) {
    *h_word(0) = (uint64_t)getpid();
    for (;;) pause();
  }
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
  WAIT(*h_word(0) != 0, "a worker is inside on_send_failed for cookie 3");
  pid_t worker = (pid_t)*h_word(0);
  h_expect_exit(worker);
  kill(worker, SIGKILL);
  WAIT(h_failure_count(3) == 2, "%zu reports for cookie 3", h_failure_count(3));
  for (uint64_t cookie = 1; cookie <= 6; cookie++) WAIT(h_failure(cookie), "report for cookie %llu", (unsigned long long)cookie);
  STAYS(300, h_failure_count(3) == 2 && h_total(EV_FAILED) == 7, "%llu reports", (unsigned long long)h_total(EV_FAILED));
  for (size_t i = 0; i < 7; i++) {
    h_event *e = h_nth(EV_FAILED, i);
    bool second = e->cookie == 3 && e->pid != worker;
    CHECK(!!(e->flags & SIPWIRE_FAILURE_REPEATED) == second, "cookie %llu: flags %u", (unsigned long long)e->cookie, e->flags);
  }
  WAIT_NUM(1, STAT(failures_repeated));
  return h_finish();
}
