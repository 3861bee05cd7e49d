/* modes: threads processes */
/* Without the permission for supervisor_nice there is one warning, and everything works. */
#include "harness.h"
#include <sys/prctl.h>
#include <sys/resource.h>

static size_t warnings(void) {
  size_t n = 0;
  for (size_t i = 0; h_nth(EV_LOG, i); i++) n += h_nth(EV_LOG, i)->level == SIPWIRE_LOG_WARNING && strstr(h_nth(EV_LOG, i)->text, "nice");
  return n;
}

int main(int argc, char **argv) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_NICE, &none);
  if (geteuid() == 0) {
    if (setgid(65534) < 0 || setuid(65534) < 0) h_skip("cannot give up root");
    prctl(PR_SET_DUMPABLE, 1); /* or /proc/self belongs to root from now on */
  }
  h_init(argc, argv);
  if (setpriority(PRIO_PROCESS, 0, -5) == 0) h_skip("the permission cannot be given up here");
  h_setting("supervisor_nice", "-5");
  h_start(2);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "denied", NULL, NULL));
  h_await_answer(peer, 200, "denied");
  WAIT((sipwire_log_drain(h_instance), warnings() >= 1), "a warning that names nice");
  STAYS(200, warnings() == 1, "%zu warnings", warnings());
  return h_finish();
}
