/* A bug met where nobody waits for its end: while sipwire_start opens a role, between two steps of the host's own loop, in a
 * call that on_log makes. One thread is the whole host. See panics.c for the others. */
#include "../crash/crash.h"
#include <poll.h>

static sipwire_loop *supervisor, *worker;
static sipwire_target target;

static sipwire_loop *made(int32_t role) {
  sipwire_loop *loop = NULL;
  int32_t rc = sipwire_loop_new(h_instance, role, 0, &loop);
  CHECK(rc == SIPWIRE_OK || rc == SIPWIRE_E_ROLE, "sipwire_loop_new: %s", sipwire_strerror(rc));
  return loop;
}

static void turn(void) {
  sipwire_loop *loops[] = {supervisor, worker};
  for (int i = 0; i < 2; i++) {
    int32_t rc;
    while (loops[i] && (rc = sipwire_loop_step(loops[i])) != SIPWIRE_OK) CHECK(rc == 1, "sipwire_loop_step: %s", sipwire_strerror(rc));
  }
}
#define TURN_UNTIL(condition, ...) WAIT((turn(), condition), __VA_ARGS__)

static void served(h_peer *peer) {
  h_frame frame;
  h_write_text(peer, h_request("OPTIONS", "served", NULL, NULL));
  TURN_UNTIL(h_next(peer, &frame), "the answer");
}

/* A point of sipwire_send that is passed with the gate of the connection held. */
static uint32_t in_a_send(void) {
  char place[200];
  for (uint32_t point = 0; point < sipwire_crash_points(); point++) {
    sipwire_crash_point(point, place, sizeof place);
    if (strstr(place, "src/roles/sender.rs") && sipwire_crash_hits(point, NOBODY)) return point;
  }
  h_fail(__FILE__, __LINE__, "nobody has sent");
  return 0;
}

static sipwire_target of(const h_peer *peer) {
  h_event *open;
  for (size_t i = 0; (open = h_nth(EV_OPEN, i)); i++)
    if (h_addr_equal(&open->remote, &peer->local)) return h_to_conn(open->conn_id);
  h_fail(__FILE__, __LINE__, "on_open was not called");
  return h_to_conn(0);
}

static void between_two_steps(void) {
  struct pollfd fd = {.fd = sipwire_loop_fd(worker), .events = POLLIN};
  sipwire_crash_at(in_a_send(), 1, true);
  CHECK_RC(SIPWIRE_E_PANIC, h_send_here(&target, "\r\n", 2, 0));
  CHECK_NUM(0, sipwire_loop_timeout_ms(worker));
  CHECK(poll(&fd, 1, 20000) == 1, "nothing tells the host to step");
  CHECK_RC(SIPWIRE_E_PANIC, sipwire_loop_step(worker));
  CHECK_RC(SIPWIRE_E_PANIC, sipwire_loop_fd(worker));
  CHECK_RC(SIPWIRE_E_PANIC, sipwire_loop_step(worker));
  sipwire_loop_free(worker), worker = NULL;
}

static void send_and_meet(const sipwire_log_record *record) {
  (void)record;
  h_log_hook = NULL;
  sipwire_crash_at(in_a_send(), 1, true);
  CHECK_RC(SIPWIRE_E_PANIC, h_send_here(&target, "\r\n", 2, 0));
}

/* The line that the bug before it has left. */
static void in_on_log(h_peer *peer) {
  uint64_t participants = STAT(participants);
  target = of(peer);
  CHECK(h_send_here(&target, "\r\n", 2, 0) >= 0, "the thread takes part");
  CHECK_NUM(participants + 1, STAT(participants));
  h_log_hook = send_and_meet;
  CHECK_RC(SIPWIRE_E_PANIC, sipwire_log_drain(h_instance));
  CHECK(h_log_hook == NULL, "nothing was logged");
  TURN_UNTIL(STAT(participants) == participants, "it is recovered");
  TURN_UNTIL(h_ended(peer), "the connection that was in hand");
}

/* Points that are passed while a worker opens; not those right behind a system call, where what it made has no owner yet. */
static uint32_t opening[4096], openings;

static void open_and_look(void) {
  static uint64_t before[4096];
  char place[200];
  for (uint32_t i = 0; i < sipwire_crash_points(); i++) before[i] = sipwire_crash_hits(i, NOBODY);
  worker = made(SIPWIRE_ROLE_WORKER);
  for (uint32_t i = 0; i < sipwire_crash_points(); i++) {
    sipwire_crash_point(i, place, sizeof place);
    if (sipwire_crash_hits(i, NOBODY) > before[i] && !strstr(place, "src/sys/")) opening[openings++] = i;
  }
}

/* The host gets a code, and may try again. */
static void at_the_start(void) {
  char place[200];
  CHECK(openings > 5, "a worker opens with %u steps", openings);
  for (uint32_t i = 0; i < openings; i++) {
    sipwire_crash_point(opening[i], place, sizeof place);
    uint64_t ends = sipwire_crash_ends(opening[i], NOBODY);
    sipwire_crash_at(opening[i], 1, true);
    int32_t rc;
    WAIT((rc = sipwire_start(h_instance)) != SIPWIRE_E_ROLE, "at %s: what the one before has left does not end", place);
    CHECK(rc == SIPWIRE_E_PANIC && sipwire_crash_ends(opening[i], NOBODY) == ends + 1, "at %s: sipwire_start: %s", place, sipwire_strerror(rc));
  }
  WAIT(sipwire_start(h_instance) == SIPWIRE_OK, "sipwire_start");
}

int main(int argc, char **argv) {
  h_stderr = dup(2);
  sipwire_crash_hits(0, 0); /* makes the table, which stays open */
  h_init(argc, argv);
  h_create(1);
  supervisor = made(SIPWIRE_ROLE_SUPERVISOR), worker = made(SIPWIRE_ROLE_WORKER);
  h_peer *first = h_client(), *second = h_client();
  served(first), served(second);
  target = of(first);
  between_two_steps();
  TURN_UNTIL(STAT(participants) == 1, "the worker is recovered");
  in_on_log(second);
  TURN_UNTIL(h_ended(first), "the connection that was in hand");
  open_and_look();
  served(first = h_client());
  sipwire_loop_free(worker), sipwire_loop_free(supervisor);
  at_the_start();
  h_write_text(second = h_client(), h_request("OPTIONS", "after all", NULL, NULL));
  h_await_answer(second, 200, "after all");
  return h_finish();
}
