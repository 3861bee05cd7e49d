/* modes: processes */
/* The supervisor dies: the next one serves the listeners that were added (on the same ports), those that the instance was made
 * with, and not the removed ones; what was asked for while there was none is done. An asker that dies leaves nothing half
 * done. */
#include "harness.h"

enum { ROUNDS = 60 };
static char line[300];
static int state(int index) { return sipwire_listener_state(h_instance, index, line, sizeof line); }

static void served(const sipwire_addr *to, int index, const char *name) {
  h_peer *peer = h_connect(to);
  CHECK(peer, "connect to %s: %s", h_addr_text(to), strerror(errno));
  h_write_text(peer, h_request("OPTIONS", name, NULL, NULL));
  h_await_answer(peer, 200, name);
  CHECK_NUM(index, h_find(EV_MESSAGE, 0, name)->listener);
}

static void refused(const sipwire_addr *to) { CHECK(!h_connect(to) && errno == ECONNREFUSED, "%s is served: %s", h_addr_text(to), strerror(errno)); }

/* Adds and removes until it is killed. */
static void asker(void *unused) {
  (void)unused;
  for (;;) {
    int index = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", NULL, 0);
    if (index >= 0) sipwire_listener_remove(h_instance, index);
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_listen("tcp:127.0.0.1:0");
  h_listen("tcp:127.0.0.1:0");
  h_start(2);
  sipwire_addr kept = h_listener(0), gone = h_listener(1), last = h_listener(2);
  int added = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line);
  int closed = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line);
  WAIT(state(added) == SIPWIRE_LISTENER_OPEN && state(closed) == SIPWIRE_LISTENER_OPEN, "%s", line);
  sipwire_addr there = h_listener(added), was = h_listener(closed);
  CHECK_RC(SIPWIRE_OK, sipwire_listener_remove(h_instance, closed));
  CHECK_RC(SIPWIRE_OK, sipwire_listener_remove(h_instance, 1));
  WAIT(state(closed) == SIPWIRE_LISTENER_CLOSED && state(1) == SIPWIRE_LISTENER_CLOSED, "%s", line);
  served(&there, added, "before");

  h_expect_exit(h_worker_pid(0)), h_expect_exit(h_worker_pid(1));
  h_kill(h_supervisor_pid());
  int meanwhile = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line);
  CHECK(meanwhile >= 0, "%s", line);
  CHECK_NUM(SIPWIRE_LISTENER_PENDING, state(meanwhile));
  CHECK_RC(SIPWIRE_OK, sipwire_listener_remove(h_instance, 2)); /* every process has its socket */
  CHECK_RC(SIPWIRE_OK, sipwire_listener_remove(h_instance, 2));
  state(meanwhile);
  CHECK(strstr(line, "supervisor"), "the line is: %s", line);
  WAIT(h_gone(h_worker_pid(0)) && h_gone(h_worker_pid(1)), "the workers end");
  h_fork_supervisor();
  h_fork_worker(0), h_fork_worker(1);
  WAIT(state(meanwhile) == SIPWIRE_LISTENER_OPEN && state(added) == SIPWIRE_LISTENER_OPEN, "%s", line);
  sipwire_addr again = h_listener(added), new_one = h_listener(meanwhile);
  CHECK(h_addr_equal(&again, &there), "%s became %s", h_addr_text(&there), h_addr_text(&again));
  WAIT(STAT(supervisor_pid) == (uint64_t)h_supervisor_pid(), "the new supervisor");
  served(&kept, 0, "kept");
  served(&there, added, "added");
  served(&new_one, meanwhile, "asked for without a supervisor");
  refused(&gone);
  WAIT(state(2) == SIPWIRE_LISTENER_CLOSED, "%s", line);
  refused(&last);
  refused(&was);

  /* Killed anywhere: no number is lost, no listener stays that nobody wants. */
  int most = sipwire_listener_count(h_instance) + 64;
  for (int i = 0; i < ROUNDS; i++) {
    pid_t pid = h_fork(asker, NULL);
    h_expect_exit(pid);
    for (int tick = i % 4; tick >= 0; tick--) h_tick();
    h_kill(pid);
  }
  CHECK(sipwire_listener_count(h_instance) <= most, "%d numbers", sipwire_listener_count(h_instance));
  for (int i = 0; i < sipwire_listener_count(h_instance); i++) {
    if (i == 0 || i == added || i == meanwhile || state(i) < 0) continue;
    if (state(i) != SIPWIRE_LISTENER_CLOSED) sipwire_listener_remove(h_instance, i); /* it died before it did that */
    WAIT(state(i) != SIPWIRE_LISTENER_PENDING, "listener %d: %s", i, line);
    CHECK_NUM(SIPWIRE_LISTENER_CLOSED, state(i));
  }
  int n = 0, index;
  while (n < 200 && (index = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line)) >= 0) {
    WAIT(state(index) == SIPWIRE_LISTENER_OPEN, "listener %d: %s", index, line);
    n++;
  }
  CHECK_NUM(64, n); /* of 64 beside the three at the start two are in use, and two of those three are free */
  served(&there, added, "at last");
  return h_finish();
}
