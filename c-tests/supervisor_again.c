/* modes: threads */
/* A supervisor's loop is freed and made again in one process while a worker thread beside it is in a callback: the
 * connection ends, its descriptor is closed, the worker comes back to the new one. */
#include "harness.h"
#include <pthread.h>

enum { GO_ON, QUIT, ROUNDS = 5 };

static void *work(void *unused) {
  (void)unused;
  sipwire_loop *loop = NULL;
  while (!*h_word(QUIT)) {
    h_sleep_ms(1);
    if (!loop && sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 0, &loop) != SIPWIRE_OK) loop = NULL;
    if (loop && sipwire_loop_step(loop) < 0) {
      sipwire_loop_free(loop);
      loop = NULL;
    }
  }
  if (loop) sipwire_loop_free(loop);
  return NULL;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_create(1);
  sipwire_loop *supervisor;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &supervisor));
  pthread_t worker;
  CHECK(pthread_create(&worker, NULL, work, NULL) == 0, "pthread_create");
#define STEP_UNTIL(condition, ...) WAIT((sipwire_loop_step(supervisor), condition), __VA_ARGS__)
  int fds = 0;
  for (int round = 0; round < ROUNDS; round++) {
    *h_word(GO_ON) = 0;
    h_peer *peer = h_client();
    h_write_text(peer, h_request("OPTIONS", "wait", "X-Wait: 0\r\nX-Silent: 1\r\n", NULL));
    STEP_UNTIL(STAT(callbacks_running) == 1, "the callback runs");
    sipwire_loop_free(supervisor);
    CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &supervisor));
    *h_word(GO_ON) = 1;
    STEP_UNTIL(h_total(EV_CLOSE) == (uint64_t)round + 1 && STAT(slots_used) == 0, "round %d: the connection ends", round);
    CHECK(h_ended(peer) || (h_tick(), h_ended(peer)), "round %d: its peer does not see it", round);
    h_close(peer);
    STEP_UNTIL(h_worker(0).running, "the worker is back");
    if (round == 0) fds = h_count_fds(getpid());
    STEP_UNTIL(h_count_fds(getpid()) <= fds, "round %d: %d descriptors, %d after the first round", round, h_count_fds(getpid()), fds);
  }
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "served", NULL, NULL));
  h_frame frame;
  STEP_UNTIL(h_next(peer, &frame), "the answer");
  h_close(peer);
  STEP_UNTIL(STAT(slots_used) == 0, "closed");
  *h_word(QUIT) = 1;
  pthread_join(worker, NULL);
  sipwire_loop_free(supervisor);
  return h_finish();
}
