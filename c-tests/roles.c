/* modes: none */
/* One supervisor, one worker of each number: whoever comes second is told so, and nothing of the attempt is left. */
#include "harness.h"
#include <sys/wait.h>

enum { ROUNDS = 20 };

/* In a child of its own; an exit code says what became of it. */
static pid_t run_in_child(int32_t (*run)(void)) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  alarm(60);
  int32_t rc = run();
  _exit(rc == SIPWIRE_OK ? 0 : rc == SIPWIRE_E_ROLE ? 7 : 1);
}
static int32_t supervise(void) { return sipwire_run_supervisor(h_instance); }

/* Waits for the one, then again as the other one that the first attempt must not have spoilt. */
static int32_t stand_by(void) {
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_run_supervisor(h_instance));
  *h_word(0) = 1;
  while (!*h_word(1)) h_sleep_ms(1);
  return sipwire_run_supervisor(h_instance);
}

static int ended_with(pid_t pid) {
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
  CHECK(WIFEXITED(status) || WTERMSIG(status) == SIGKILL, "ended by signal %d", WTERMSIG(status));
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void fresh_instance(void) {
  if (h_instance) sipwire_free(h_instance);
  h_instance = NULL;
  h_create(2);
  h_no_listener = true; /* the configuration has one now */
}

static void two_processes_at_once(void) {
  for (int round = 0; round < ROUNDS; round++) {
    fresh_instance();
    pid_t one = run_in_child(supervise), two = run_in_child(supervise);
    int status;
    pid_t loser = 0; /* who does not get the place ends at once */
    WAIT((loser = waitpid(-1, &status, WNOHANG)) > 0, "two supervisors run");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the second one ended with status %x", status);
    WAIT(STAT(supervisor_pid) == (uint64_t)(loser == one ? two : one), "the other one serves");
    CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
    CHECK_NUM(0, ended_with(loser == one ? two : one));
  }
}

static void a_stand_by_takes_over(void) {
  fresh_instance();
  pid_t first = run_in_child(supervise);
  WAIT(STAT(supervisor_pid) == (uint64_t)first, "the supervisor serves");
  pid_t second = run_in_child(stand_by);
  WAIT(*h_word(0), "the second one was refused");
  kill(first, SIGKILL);
  CHECK_NUM(-1, ended_with(first));
  CHECK_RC(SIPWIRE_OK, sipwire_process_died(h_instance, first));
  *h_word(1) = 1;
  WAIT(STAT(supervisor_pid) == (uint64_t)second, "the stand-by serves");
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  CHECK_NUM(0, ended_with(second));
}

static void failed_and_ended_roles_leave_nothing(void) {
  sipwire_loop *loop = NULL, *second = NULL;
  fresh_instance();
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 77, &loop));
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &loop));
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &second));
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_start(h_instance));
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_detach(h_instance));
  sipwire_loop_free(loop);
  CHECK_RC(SIPWIRE_E_NOT_ATTACHED, sipwire_detach(h_instance));
  CHECK_RC(SIPWIRE_OK, sipwire_start(h_instance));
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "served", NULL, NULL));
  h_await_answer(peer, 200, "served");
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 1, &loop));
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_start(h_instance));
}

/* Nobody supervises: workers that wait for a supervisor end all the same. */
static int32_t work(void) { return sipwire_run_worker(h_instance, 0); }
static void a_stop_without_a_supervisor(void) {
  fresh_instance();
  pid_t worker = run_in_child(work);
  WAIT(h_worker(0).running, "the worker waits for a supervisor");
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  CHECK_NUM(0, ended_with(worker));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  two_processes_at_once();
  a_stand_by_takes_over();
  a_stop_without_a_supervisor();
  failed_and_ended_roles_leave_nothing();
  return h_finish();
}
