/* modes: threads processes */
/* Without the permission for supervisor_nice and supervisor_rt_priority there is one warning about each, and everything
 * works. */
#include "harness.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static size_t warnings(const char *setting) {
  h_event *e;
  size_t n = 0;
  sipwire_log_drain(h_instance);
  for (size_t i = 0; (e = h_nth(EV_LOG, i)); i++) n += e->level == SIPWIRE_LOG_WARNING && strstr(e->text, setting);
  return n;
}

int main(int argc, char **argv) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_NICE, &none);
  setrlimit(RLIMIT_RTPRIO, &none);
  if (geteuid() == 0) {
    if (setgid(65534) < 0 || setuid(65534) < 0) h_skip("cannot give up root");
    prctl(PR_SET_DUMPABLE, 1); /* or /proc/self belongs to root from now on */
  }
  h_init(argc, argv);
  struct sched_param param = {.sched_priority = 7};
  if (setpriority(PRIO_PROCESS, 0, -5) == 0 || sched_setscheduler(0, SCHED_RR, &param) == 0) h_skip("the permission cannot be given up here");
  h_setting("supervisor_nice", "-5");
  h_setting("supervisor_rt_priority", "7");
  h_start(2);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "denied", NULL, NULL));
  h_await_answer(peer, 200, "denied");
  WAIT(warnings("supervisor_nice") && warnings("supervisor_rt_priority"), "a warning that names each setting");
  STAYS(200, warnings("supervisor_nice") == 1 && warnings("supervisor_rt_priority") == 1, "%zu and %zu warnings", warnings("supervisor_nice"),
        warnings("supervisor_rt_priority"));
  h_write_text(peer, h_request("OPTIONS", "on", NULL, NULL));
  h_await_answer(peer, 200, "on");
  return h_finish();
}
