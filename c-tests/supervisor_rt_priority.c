/* modes: threads processes */
/* supervisor_rt_priority=7 is what the kernel says of the thread or process named sipwire-super, and of no other; it can be
 * changed and unset while running. */
#include "harness.h"
#include <sched.h>

static int policy_of(pid_t task) {
  int policy = sched_getscheduler(task);
  CHECK(policy >= 0, "sched_getscheduler: %s", strerror(errno));
  return policy & ~SCHED_RESET_ON_FORK;
}

static int priority_of(pid_t task) {
  struct sched_param param = {0};
  CHECK(sched_getparam(task, &param) == 0, "sched_getparam: %s", strerror(errno));
  return param.sched_priority;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  int own = policy_of(0);
  struct sched_param param = {.sched_priority = 7}, none = {0};
  if (sched_setscheduler(0, SCHED_RR, &param) < 0) h_skip("no permission for a real-time priority (CAP_SYS_NICE)");
  CHECK(sched_setscheduler(0, own, &none) == 0, "back to the own policy: %s", strerror(errno));
  h_setting("supervisor_rt_priority", "7");
  h_start(2);
  WAIT(h_find_task("sipwire-super") && h_find_task("sipwire-w0") && h_find_task("sipwire-w1"), "the tasks have their names");
  pid_t supervisor = h_find_task("sipwire-super");
  WAIT(policy_of(supervisor) == SCHED_RR, "the supervisor's policy is %d", policy_of(supervisor));
  CHECK_NUM(7, priority_of(supervisor));
  for (int w = 0; w < 2; w++) CHECK_NUM(own, policy_of(h_find_task(w ? "sipwire-w1" : "sipwire-w0")));
  CHECK_NUM(own, policy_of(0));
  if (h_mode == H_PROCESSES) CHECK_NUM(h_supervisor_pid(), supervisor);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "priority", NULL, NULL));
  h_await_answer(peer, 200, "priority");
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "supervisor_rt_priority", "9", NULL, 0));
  WAIT(priority_of(supervisor) == 9, "the priority is %d", priority_of(supervisor));
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "supervisor_rt_priority", "unset", NULL, 0));
  WAIT(policy_of(supervisor) == SCHED_OTHER && priority_of(supervisor) == 0, "policy %d", policy_of(supervisor));
  sipwire_log_drain(h_instance);
  CHECK_NUM(0, h_count(EV_LOG, 0, "supervisor_rt_priority"));
  return h_finish();
}
