/* modes: processes */
/* A worker leaves in order with an on_close in its ring. Its successor in the same place, another participant, dies in
 * that callback: the connection's slot is free again, whoever of the two the supervisor had it told by. */
#include "queue.h"
#include <signal.h>

enum { STEP, DONE, ATTACHED, END }; /* words: what the leaving worker is to do and has done, and the other's */

static void die(const sipwire_conn_info *info) {
  (void)info;
  kill(getpid(), SIGKILL);
}

static void leave_and_come_back(void *unused) {
  (void)unused;
  sipwire_loop *loop;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 0, &loop));
  while (*h_word(STEP) < 1) sipwire_loop_step(loop), h_sleep_ms(2);
  for (*h_word(DONE) = 1; *h_word(STEP) < 2;) h_sleep_ms(1); /* what comes now stays in the ring */
  sipwire_loop_free(loop);
  for (*h_word(DONE) = 2; *h_word(STEP) < 3;) h_sleep_ms(1);
  h_closed_hook = die;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 0, &loop));
  for (int steps = 0;; steps++) {
    sipwire_loop_step(loop);
    if (steps == 20) *h_word(DONE) = 3;
    h_sleep_ms(1);
  }
}

/* Takes the number that the leaving worker gave back. */
static void attach(void *unused) {
  (void)unused;
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  for (*h_word(ATTACHED) = 1; !*h_word(END);) h_sleep_ms(1);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_stall", "60s"); /* nothing is taken back for another reason */
  h_setting("connection_lifetime", "2s");
  h_setting("worker_hold", "10ms");
  h_start(1);
  h_expect_exit(h_worker_pid(0));
  kill(h_worker_pid(0), SIGKILL);
  WAIT(STAT(participants_died) == 1 && !h_worker(0).running, "the first one's place is free");
  pid_t leaving = h_fork(leave_and_come_back, NULL);
  h_expect_signal(leaving, SIGKILL);
  WAIT_NUM(2, h_total(EV_WORKER_START));
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  WAIT(h_find(EV_OPEN, id, NULL) && h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
  int fds = h_count_fds(h_supervisor_pid());
  *h_word(STEP) = 1;
  WAIT_NUM(1, *h_word(DONE));
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_RETIRING, "its lifetime ends");
  h_close(peer);
  WAIT_NUM(fds - 1, h_count_fds(h_supervisor_pid()));
  WAIT_REST(); /* the worker has been asked to tell it */
  CHECK_NUM(1, STAT(slots_used));
  kill(h_supervisor_pid(), SIGSTOP); /* it does not see the change of workers before the new one has looked */
  *h_word(STEP) = 2;
  WAIT_NUM(2, *h_word(DONE));
  h_expect_code(h_fork(attach, NULL), 0);
  WAIT_NUM(1, *h_word(ATTACHED));
  *h_word(STEP) = 3;
  WAIT(*h_word(DONE) == 3 || h_gone(leaving), "the successor has looked");
  kill(h_supervisor_pid(), SIGCONT);
  WAIT(h_gone(leaving), "it dies in on_close");
  h_fork_worker(0);
  WAIT_NUM(0, STAT(slots_used));
  *h_word(END) = 1;
  return h_finish();
}
