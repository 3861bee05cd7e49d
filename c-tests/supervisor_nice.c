/* modes: threads processes */
/* supervisor_nice=-5 is what the kernel says of the thread or process named sipwire-super, and of no other; it can be changed
 * while running, and unset it is what it was before. */
#include "harness.h"
#include <sys/resource.h>

static int nice_of(pid_t task) {
  errno = 0;
  int value = getpriority(PRIO_PROCESS, (id_t)task);
  CHECK(errno == 0, "getpriority: %s", strerror(errno));
  return value;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  int own = nice_of(0);
  if (setpriority(PRIO_PROCESS, 0, -5) < 0) h_skip("no permission to lower the nice value (CAP_SYS_NICE)");
  setpriority(PRIO_PROCESS, 0, own);
  h_setting("supervisor_nice", "-5");
  h_start(2);
  WAIT(h_find_task("sipwire-super") != 0, "a task named sipwire-super");
  WAIT(h_find_task("sipwire-w0") != 0 && h_find_task("sipwire-w1") != 0, "tasks named sipwire-w0 and sipwire-w1");
  WAIT(nice_of(h_find_task("sipwire-super")) == -5, "nice is %d", nice_of(h_find_task("sipwire-super")));
  CHECK_NUM(own, nice_of(h_find_task("sipwire-w0")));
  CHECK_NUM(own, nice_of(0));
  if (h_mode == H_PROCESSES) CHECK_NUM(h_supervisor_pid(), h_find_task("sipwire-super"));
  CHECK_NUM(h_supervisor_pid(), STAT(supervisor_pid));
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "nice", NULL, NULL));
  h_await_answer(peer, 200, "nice");
  pid_t supervisor = h_find_task("sipwire-super");
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "supervisor_nice", "-3", NULL, 0));
  WAIT(nice_of(supervisor) == -3, "nice is %d", nice_of(supervisor));
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "supervisor_nice", "unset", NULL, 0));
  WAIT(nice_of(supervisor) == own, "nice is %d", nice_of(supervisor));
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "supervisor_nice", "-20", NULL, 0));
  WAIT(nice_of(supervisor) == -20, "nice is %d", nice_of(supervisor));
  CHECK_NUM(own, nice_of(h_find_task("sipwire-w0")));
  sipwire_log_drain(h_instance);
  CHECK_NUM(0, h_count(EV_LOG, 0, "supervisor_nice"));
  return h_finish();
}
