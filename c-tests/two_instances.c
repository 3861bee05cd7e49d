/* modes: threads processes */
/* Several instances in one process: one dials the other, each with its own callbacks, user pointer and statistics.
 * Processes: one forked child drives both supervisors, another a worker of each, each by one poll(). */
#include "harness.h"
#include <poll.h>

enum { COUNT = 300, CHILDREN = 3 };
enum { ANSWERED, WRONG_USER, READY, ANSWERED_BY }; /* words */
static sipwire_instance *caller;
static int mark;

static int32_t on_answer(void *user, sipwire_instance *instance, sipwire_message *m) {
  if (user != &mark || instance != caller) ++*h_word(WRONG_USER);
  *h_word(ANSWERED_BY) = (uint64_t)getpid();
  if (strncmp(m->data, "SIP/2.0 200", 11) == 0) ++*h_word(ANSWERED);
  return 0;
}

/* Child 0 supervises both instances, the others are workers of the first; child 1 is the second's worker too. */
static void drive(void *number) {
  int child = *(int *)number, count = child < 2 ? 2 : 1, over = 0;
  sipwire_loop *loop[2] = {NULL, NULL};
  int32_t role = child ? SIPWIRE_ROLE_WORKER : SIPWIRE_ROLE_SUPERVISOR;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, role, child ? child - 1 : 0, &loop[0]));
  if (count > 1) CHECK_RC(SIPWIRE_OK, sipwire_loop_new(caller, role, 0, &loop[1]));
  ++*h_word(READY);
  while (over < count) { /* each ends by itself */
    struct pollfd fds[2];
    int64_t timeout = 1000;
    for (int i = 0; i < 2; i++) {
      fds[i] = (struct pollfd){.fd = loop[i] ? sipwire_loop_fd(loop[i]) : -1, .events = POLLIN};
      int64_t wish = loop[i] ? sipwire_loop_timeout_ms(loop[i]) : -1;
      if (wish >= 0 && wish < timeout) timeout = wish;
    }
    poll(fds, 2, (int)timeout);
    for (int i = 0; i < 2; i++) {
      int32_t rc = SIPWIRE_OK;
      while (loop[i] && (rc = sipwire_loop_step(loop[i])) == 1) {}
      if (rc == SIPWIRE_OK) continue;
      CHECK_RC(SIPWIRE_E_SHUTTING_DOWN, rc);
      sipwire_loop_free(loop[i]);
      loop[i] = NULL;
      over++;
    }
  }
  sipwire_free(caller);
}

static void send_and_count(void) {
  sipwire_addr to = h_listener(0);
  sipwire_target target = h_to_addr(&to);
  for (int i = 0; i < COUNT; i++) {
    char id[32];
    snprintf(id, sizeof id, "two%d", i);
    h_text text = h_request("OPTIONS", id, NULL, NULL);
    sipwire_iov iov = {text.data, text.length};
    CHECK(sipwire_send(caller, &target, &iov, 1, 1) > 0, "send %d", i);
    if (i % 50 == 49) WAIT(*h_word(ANSWERED) == (uint64_t)i + 1, "%d of %d answers", (int)*h_word(ANSWERED), i + 1); /* within conn_wq_max */
  }
  CHECK_NUM(0, *h_word(WRONG_USER));
  CHECK_NUM(COUNT, h_total(EV_MESSAGE));
  sipwire_stats stats = {.struct_size = sizeof stats};
  CHECK_RC(SIPWIRE_OK, sipwire_stats_get(caller, &stats));
  CHECK_NUM(1, stats.dialled);
  CHECK_NUM(0, stats.accepted);
  CHECK_NUM(0, STAT(dialled));
  CHECK_NUM(1, STAT(accepted));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  sipwire_config *config = sipwire_config_new();
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(config, "workers", "1"));
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_answer};
  CHECK(sipwire_new(config, &callbacks, &mark, &caller) == SIPWIRE_OK, "%s", sipwire_config_error(config));
  CHECK_NUM(0, sipwire_listener_count(caller)); /* one that only dials */
  pid_t child[CHILDREN];
  if (h_mode == H_PROCESSES) {
    h_create(2);
    for (int i = 0; i < CHILDREN; i++) child[i] = h_fork(drive, &i);
    WAIT(*h_word(READY) == CHILDREN, "every child has its loops");
    CHECK_RC(SIPWIRE_OK, sipwire_attach(caller));
  } else {
    h_start(2);
    CHECK_RC(SIPWIRE_OK, sipwire_start(caller));
  }
  send_and_count();
  CHECK_NUM(h_mode == H_PROCESSES ? child[1] : getpid(), *h_word(ANSWERED_BY));

  CHECK_RC(SIPWIRE_OK, sipwire_stop(caller));
  WAIT(STAT(connections) == 0, "the stopped one has closed its connection");
  h_peer *peer = h_client(); /* and the other goes on */
  h_write_text(peer, h_request("OPTIONS", "goes on", NULL, NULL));
  h_await_answer(peer, 200, "goes on");
  h_close(peer);
  WAIT(STAT(slots_used) == 0, "closed");
  if (h_mode == H_PROCESSES) {
    CHECK_RC(SIPWIRE_OK, sipwire_detach(caller));
    CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
    for (int i = 0; i < CHILDREN; i++) WAIT(h_gone(child[i]), "child %d does not end after both have stopped", i);
  }
  sipwire_free(caller);
  sipwire_config_free(config);
  return h_finish();
}
