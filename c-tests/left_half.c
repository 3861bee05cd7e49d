/* modes: processes */
/* A worker that is leaving dies when it has given back its place and not yet its number. Its successor has the place:
 * what the successor was lent stays its own, and the death is seen all the same. */
#include "harness.h"
#include <signal.h>
#include <sys/syscall.h>

enum { AT_THE_POINT, GO_ON, CLIENTS = 20 };

/* The library asks for its pid between the two steps; this answers. */
static volatile int calls_to_come;
pid_t getpid(void) {
  if (calls_to_come && --calls_to_come == 0) {
    *h_word(AT_THE_POINT) = 1;
    for (;;) pause();
  }
  return (pid_t)syscall(SYS_getpid);
}

static void leave_half(void *unused) {
  (void)unused;
  sipwire_loop *loop;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 0, &loop));
  while (h_total(EV_WORKER_START) < 2) {
    sipwire_loop_step(loop);
    h_sleep_ms(2);
  }
  calls_to_come = 2;
  sipwire_loop_free(loop);
  _exit(3);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_stall", "60s"); /* nothing is taken back for another reason */
  h_start(1);
  h_expect_exit(h_worker_pid(0));
  kill(h_worker_pid(0), SIGKILL);
  WAIT(STAT(participants_died) == 1 && !h_worker(0).running, "the first one's place is free");
  pid_t leaving = h_fork(leave_half, NULL);
  h_expect_exit(leaving);
  WAIT(*h_word(AT_THE_POINT), "it is between the two steps");
  h_fork_worker(0);
  h_peer *busy = h_client(), *peer[CLIENTS];
  h_write_text(busy, h_request("OPTIONS", "busy", "X-Wait: 1\r\n", NULL));
  WAIT(STAT(callbacks_running) == 1, "the successor is busy");
  uint64_t before = STAT(handoffs);
  for (int i = 0; i < CLIENTS; i++) {
    peer[i] = h_client();
    h_write_text(peer[i], h_request("OPTIONS", "lent", NULL, NULL));
  }
  WAIT(STAT(handoffs) == before + CLIENTS, "all are in its ring");
  kill(leaving, SIGKILL);
  WAIT(STAT(participants_died) == 2, "the death is seen"); /* by the kernel, or when the parent has waited for it */
  *h_word(GO_ON) = 1;
  h_await_answer(busy, 200, "busy");
  for (int i = 0; i < CLIENTS; i++) h_await_answer(peer[i], 200, "lent");
  return h_finish();
}
