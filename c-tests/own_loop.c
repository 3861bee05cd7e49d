/* modes: threads */
/* A host with its own event loop: this one poll() drives the supervisor and two workers, no thread is started. */
#include "harness.h"
#include <dirent.h>
#include <poll.h>

enum { LOOPS = 3 };
static sipwire_loop *loop[LOOPS];

/* One turn of the host: waits as long as the loops allow, at most 5 ms. */
static void turn(void) {
  struct pollfd fds[LOOPS];
  int64_t timeout = 5;
  for (int i = 0; i < LOOPS; i++) {
    fds[i] = (struct pollfd){.fd = sipwire_loop_fd(loop[i]), .events = POLLIN};
    CHECK(fds[i].fd >= 0, "sipwire_loop_fd: %d", fds[i].fd);
    int64_t wish = sipwire_loop_timeout_ms(loop[i]);
    CHECK(wish >= -1, "sipwire_loop_timeout_ms: %lld", (long long)wish);
    if (wish >= 0 && wish < timeout) timeout = wish;
  }
  poll(fds, LOOPS, (int)timeout);
  for (int i = 0; i < LOOPS; i++) {
    int32_t rc;
    int steps = 0;
    while ((rc = sipwire_loop_step(loop[i])) == 1) CHECK(++steps < 100000, "step always says that more is ready");
    CHECK(rc == SIPWIRE_OK, "sipwire_loop_step: %d (%s)", rc, sipwire_strerror(rc));
  }
}

/* A host may poll before its first step: what came earlier makes the descriptor readable. */
static void readable_before_the_first_step(void) {
  h_peer *early = h_client();
  h_write_text(early, h_request("OPTIONS", "early", NULL, NULL));
  for (int i = 0; i < LOOPS; i++) {
    struct pollfd fd = {.fd = sipwire_loop_fd(loop[i]), .events = POLLIN};
    CHECK(poll(&fd, 1, 20000) == 1, "loop %d: nothing tells the host to step", i);
  }
  h_frame frame;
  WAIT((turn(), h_next(early, &frame)), "the answer");
  h_close(early);
}

/* A child that was forked has copies of the loops: it can neither drive nor end its parent's. */
static void child_with_copies(void *unused) {
  (void)unused;
  for (int i = 0; i < LOOPS; i++) CHECK_RC(SIPWIRE_E_NOT_ATTACHED, sipwire_loop_step(loop[i]));
  for (int i = LOOPS - 1; i >= 0; i--) sipwire_loop_free(loop[i]);
}

#define TURN_UNTIL(condition, ...) WAIT((turn(), condition), __VA_ARGS__)

static int thread_count(void) {
  DIR *dir = opendir("/proc/self/task");
  int n = 0;
  for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
  closedir(dir);
  return n;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "300ms");
  h_create(2);
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &loop[0]));
  for (int w = 0; w < 2; w++) CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, w, &loop[w + 1]));
  sipwire_loop *second = NULL;
  CHECK(sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 1, &second) < 0, "worker 1 twice");
  CHECK(sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 2, &second) < 0, "worker 2 of 2");
  CHECK(sipwire_loop_new(h_instance, 77, 0, &second) < 0, "a role that does not exist");
  CHECK(second == NULL, "an out-parameter was written on failure");
  CHECK_NUM(1, thread_count());

  readable_before_the_first_step();

  enum { PEERS = 10, ROUNDS = 5 };
  h_peer *peer[PEERS];
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  h_frame frame;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < PEERS; i++) h_write_text(peer[i], h_request("OPTIONS", "loop", NULL, "body"));
    for (int i = 0; i < PEERS; i++) {
      TURN_UNTIL(h_next(peer[i], &frame), "answer %d of peer %d", round, i);
      CHECK_NUM(200, frame.code);
    }
  }
  CHECK(h_worker(0).messages > 0 && h_worker(1).messages > 0, "worker 0 had %llu messages, worker 1 %llu", (unsigned long long)h_worker(0).messages,
        (unsigned long long)h_worker(1).messages);
  pid_t child = h_fork(child_with_copies, NULL);
  h_expect_exit(child);
  TURN_UNTIL(h_gone(child), "the child ends");
  for (int i = 0; i < PEERS; i++) h_write_text(peer[i], h_request("OPTIONS", "forked", NULL, NULL));
  for (int i = 0; i < PEERS; i++) TURN_UNTIL(h_next(peer[i], &frame), "answer after the child ended, peer %d", i);
  TURN_UNTIL(STAT(connections_idle) == PEERS, "given back by timers of the host's loop");

  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, 2000) >= 0, "the host sends from its loop");
  h_peer *dialled = NULL;
  TURN_UNTIL((dialled = h_accept_now(fd)) != NULL, "the dial");
  TURN_UNTIL((h_ledger_receive(dialled), h_ledger_settled()), "the message");
  close(fd);

  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
  h_close(dialled);
  TURN_UNTIL(STAT(slots_used) == 0, "all slots are free");
  TURN_UNTIL(h_total(EV_OPEN) == h_total(EV_CLOSE), "every on_open has its on_close");
  CHECK_NUM(1, thread_count());
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  bool over[LOOPS] = {false};
  uint64_t until = h_deadline_ms(20);
  while (!(over[0] && over[1] && over[2])) {
    for (int i = 0; i < LOOPS; i++)
      if (!over[i]) over[i] = sipwire_loop_step(loop[i]) < 0;
    CHECK(h_now_ms() < until, "after sipwire_stop a loop does not say that it is to be freed");
    h_tick();
  }
  for (int i = LOOPS - 1; i >= 0; i--) sipwire_loop_free(loop[i]);
  return h_finish();
}
