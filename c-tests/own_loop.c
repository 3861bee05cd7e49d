/* modes: threads processes */
/* A host with its own event loop. Threads: this one poll() drives the supervisor and two workers, no thread is started.
 * Processes: each of the three is driven by the poll() of a forked child of its own. */
#include "harness.h"
#include <dirent.h>
#include <poll.h>

enum { LOOPS = 3, PEERS = 10, ROUNDS = 5 };
enum { MADE, GO_ON }; /* words */
static sipwire_loop *loop[LOOPS];
static pid_t child[LOOPS];
static int own; /* how many this process drives */

static int thread_count(void) {
  DIR *dir = opendir("/proc/self/task");
  int n = 0;
  for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
  closedir(dir);
  return n;
}

/* 0 is the supervisor. */
static sipwire_loop *make(int number) {
  sipwire_loop *made = NULL;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, number ? SIPWIRE_ROLE_WORKER : SIPWIRE_ROLE_SUPERVISOR, number ? number - 1 : 0, &made));
  return made;
}

/* One turn of the host: waits as long as the loops allow, at most 5 ms. False: a loop is to be freed. */
static bool turn(void) {
  struct pollfd fds[LOOPS];
  int64_t timeout = 5;
  bool on = true;
  for (int i = 0; i < own; i++) {
    fds[i] = (struct pollfd){.fd = sipwire_loop_fd(loop[i]), .events = POLLIN};
    CHECK(fds[i].fd >= 0, "sipwire_loop_fd: %d", fds[i].fd);
    int64_t wish = sipwire_loop_timeout_ms(loop[i]);
    CHECK(wish >= -1, "sipwire_loop_timeout_ms: %lld", (long long)wish);
    if (wish >= 0 && wish < timeout) timeout = wish;
  }
  if (own) poll(fds, (nfds_t)own, (int)timeout);
  for (int i = 0; i < own; i++) {
    int32_t rc;
    int steps = 0;
    while ((rc = sipwire_loop_step(loop[i])) == 1) CHECK(++steps < 100000, "step always says that more is ready");
    CHECK(rc == SIPWIRE_OK || rc == SIPWIRE_E_SHUTTING_DOWN, "sipwire_loop_step: %d (%s)", rc, sipwire_strerror(rc));
    on = on && rc == SIPWIRE_OK;
  }
  return on;
}

static void go_on(void) { CHECK(turn(), "a loop ends before the stop"); }
#define TURN_UNTIL(condition, ...) WAIT((go_on(), condition), __VA_ARGS__)

/* A host may poll before its first step: what came earlier makes the descriptor readable. */
static void check_readable(void) {
  for (int i = 0; i < own; i++) {
    struct pollfd fd = {.fd = sipwire_loop_fd(loop[i]), .events = POLLIN};
    CHECK(poll(&fd, 1, 20000) == 1, "loop %d: nothing tells the host to step", i);
  }
}

/* The host that a child of the processes mode is: nothing but its poll(). */
static void drive(void *number) {
  loop[0] = make(*(int *)number);
  own = 1;
  ++*h_word(MADE);
  while (!*h_word(GO_ON)) h_sleep_ms(1);
  check_readable();
  while (turn()) {}
  CHECK_NUM(1, thread_count());
  sipwire_loop_free(loop[0]);
}

/* A child that was forked has copies of the loops: it can neither drive nor end its parent's. */
static void child_with_copies(void *unused) {
  (void)unused;
  for (int i = 0; i < LOOPS; i++) CHECK_RC(SIPWIRE_E_NOT_ATTACHED, sipwire_loop_step(loop[i]));
  for (int i = LOOPS - 1; i >= 0; i--) sipwire_loop_free(loop[i]);
}

/* In a callback of one loop no other one takes its turn or ends: the thread takes part as the one that runs. */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  for (int i = 0; i < own; i++) {
    CHECK_RC(SIPWIRE_E_REENTRANT, sipwire_loop_step(loop[i]));
    sipwire_loop_free(loop[i]); /* does nothing: they all go on */
  }
  CHECK_RC(SIPWIRE_E_REENTRANT, sipwire_loop_new(instance, SIPWIRE_ROLE_WORKER, 0, &(sipwire_loop *){NULL}));
  return h_default_script(instance, m);
}

static void begin(void) {
  h_script = script;
  h_create(2);
  if (h_mode == H_PROCESSES) {
    for (int i = 0; i < LOOPS; i++) child[i] = h_fork(drive, &i);
    WAIT(*h_word(MADE) == LOOPS, "every child has its loop");
    CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  } else {
    for (; own < LOOPS; own++) loop[own] = make(own);
  }
  sipwire_loop *second = NULL;
  CHECK(sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 1, &second) < 0, "worker 1 twice");
  CHECK(sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 2, &second) < 0, "worker 2 of 2");
  CHECK(sipwire_loop_new(h_instance, 77, 0, &second) < 0, "a role that does not exist");
  CHECK(second == NULL, "an out-parameter was written on failure");
  CHECK_NUM(1, thread_count());

  h_peer *early = h_client();
  h_write_text(early, h_request("OPTIONS", "early", NULL, NULL));
  check_readable();
  *h_word(GO_ON) = 1;
  h_frame frame;
  TURN_UNTIL(h_next(early, &frame), "the answer to the early one");
  h_close(early);
}

static void end(void) {
  CHECK_NUM(1, thread_count());
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  if (h_mode == H_PROCESSES) {
    for (int i = 0; i < LOOPS; i++) WAIT(h_gone(child[i]), "child %d does not end after sipwire_stop", i);
    CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
    return;
  }
  bool over[LOOPS] = {false};
  uint64_t until = h_deadline_ms(20);
  while (!(over[0] && over[1] && over[2])) {
    for (int i = 0; i < LOOPS; i++)
      if (!over[i]) over[i] = sipwire_loop_step(loop[i]) < 0;
    CHECK(h_now_ms() < until, "after sipwire_stop a loop does not say that it is to be freed");
    h_tick();
  }
  for (int i = LOOPS - 1; i >= 0; i--) sipwire_loop_free(loop[i]);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "300ms");
  h_setting("worker_stall", "60s"); /* threads: a worker is not stalled because the others have their turn */
  begin();

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
  if (h_mode == H_THREADS) {
    pid_t copies = h_fork(child_with_copies, NULL);
    h_expect_code(copies, 0);
    TURN_UNTIL(h_gone(copies), "the child ends");
    for (int i = 0; i < PEERS; i++) h_write_text(peer[i], h_request("OPTIONS", "forked", NULL, NULL));
    for (int i = 0; i < PEERS; i++) TURN_UNTIL(h_next(peer[i], &frame), "answer after the child ended, peer %d", i);
  } else {
    h_event *e;
    for (size_t i = 0; (e = h_nth(EV_MESSAGE, i)); i++) CHECK_NUM(child[1 + e->worker], e->pid);
  }
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
  end();
  return h_finish();
}
