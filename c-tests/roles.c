/* modes: none */
/* One supervisor, one worker of each number: whoever comes second is told so, and nothing of the attempt is left. */
#include "harness.h"

enum { ROUNDS = 20, FIRST_RC = 10, WAITING = 20, GO_ON };

/* Children end with 0; what the library said they leave in a word. */
static void note(int word, int32_t rc) { *h_word(word) = (uint64_t)(int64_t)rc; }
static int32_t noted(int word) { return (int32_t)*h_word(word); }
static void supervise(void *word) { note(*(int *)word, sipwire_run_supervisor(h_instance)); }

/* Waits for the one, then again as the other one that the first attempt must not have spoilt. */
static void stand_by(void *word) {
  CHECK_RC(SIPWIRE_E_ROLE, sipwire_run_supervisor(h_instance));
  *h_word(WAITING) = 1;
  while (!*h_word(GO_ON)) h_sleep_ms(1);
  supervise(word);
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
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
      int word = FIRST_RC + i;
      pid[i] = h_fork(supervise, &word);
    }
    WAIT(h_gone(pid[0]) || h_gone(pid[1]), "two supervisors run"); /* who does not get the place ends at once */
    int loser = h_gone(pid[0]) ? 0 : 1, winner = !loser;
    CHECK_RC(SIPWIRE_E_ROLE, noted(FIRST_RC + loser));
    WAIT(STAT(supervisor_pid) == (uint64_t)pid[winner], "the other one serves");
    CHECK(!h_gone(pid[winner]), "the other one has ended too");
    CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
    WAIT(h_gone(pid[winner]), "the other one ends when told");
    CHECK_RC(SIPWIRE_OK, noted(FIRST_RC + winner));
  }
}

static void a_stand_by_takes_over(void) {
  fresh_instance();
  int word = FIRST_RC;
  pid_t first = h_fork(supervise, &word);
  WAIT(STAT(supervisor_pid) == (uint64_t)first, "the supervisor serves");
  note(word, 1);
  pid_t second = h_fork(stand_by, &word);
  WAIT(*h_word(WAITING), "the second one was refused");
  h_kill(first);
  CHECK_RC(SIPWIRE_OK, sipwire_process_died(h_instance, first));
  *h_word(GO_ON) = 1;
  WAIT(STAT(supervisor_pid) == (uint64_t)second, "the stand-by serves");
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  WAIT(h_gone(second), "the stand-by ends");
  CHECK_RC(SIPWIRE_OK, noted(word));
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
static void work(void *unused) {
  (void)unused;
  CHECK_RC(SIPWIRE_OK, sipwire_run_worker(h_instance, 0));
}
static void a_stop_without_a_supervisor(void) {
  fresh_instance();
  pid_t worker = h_fork(work, NULL);
  WAIT(h_worker(0).running, "the worker waits for a supervisor");
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  WAIT(h_gone(worker), "the worker ends");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  two_processes_at_once();
  a_stand_by_takes_over();
  a_stop_without_a_supervisor();
  failed_and_ended_roles_leave_nothing();
  return h_finish();
}
