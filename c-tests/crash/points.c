/* A process of one role is made to end at each point that processes of this role pass, one after the other in one and the
 * same instance, with traffic of all kinds going on; after each death all must be as if it had not been there. With --panic
 * it meets a bug of the library there instead, lives, and takes part again: for all others that is the same. */
#include "crash.h"
#include <signal.h>

enum { TRIES = 5, TRIES_FULL = 25, REFERENCE = 4, SOME = 10, BUGS = 20 };
static const aim nowhere;
static uint32_t role;
static pid_t supervisor, workers[2], sender, victim;
static uint64_t base_participants;
static int base_fds = 1 << 20, rounds;
static bool variant;
static uint64_t ends_before;
static aim goal;

static uint64_t closed_by_death(void) {
  sipwire_stats stats = h_stats();
  return stats.closed_by_reason[SIPWIRE_REASON_WORKER_DIED] + stats.closed_by_reason[SIPWIRE_REASON_SENDER_DIED];
}

/* The supervisor has come to its point. */
static bool fallen(void) { return h_gone(victim) || (panics && goal.times && sipwire_crash_ends(goal.point, role) > ends_before); }

/* Waits with what has come looked at; a supervisor that is to die ends the wait. */
#define UNTIL(condition, ...) WAIT((traffic_look(), (condition) || (role == SUPERVISOR && fallen())), __VA_ARGS__)

static void kill_one(pid_t pid) {
  h_expect_exit(h_gone(pid) ? 0 : pid);
  kill(pid, SIGKILL);
  WAIT(h_gone(pid), "process %d ends", pid);
}

static void fork_all(void) {
  supervisor = fork_supervisor(nowhere);
  h_runs_loop(supervisor);
  for (int w = 0; w < 2; w++) h_runs_loop(workers[w] = fork_worker(w, nowhere));
}

/* Some point that processes of this role pass. */
static aim random_aim(uint32_t of) {
  uint32_t points = sipwire_crash_points(), first = (uint32_t)random() % points;
  for (uint32_t i = 0; i < points; i++)
    if (sipwire_crash_hits((first + i) % points, of)) return (aim){(first + i) % points, 1 + (uint64_t)random() % 3};
  return nowhere;
}

/* A round's traffic from the beginning to the end. */
static void talk_all(aim at) {
  traffic_open(variant, role == SUPERVISOR && variant);
  sender = fork_sender(at);
  h_expect_exit(sender);
  if (role == SENDER) victim = sender;
  UNTIL(shared->done || h_gone(sender), "the sender does not come to the end of its work");
  traffic_go_on();
  UNTIL(!traffic_waits(), "%s", traffic_waits());
  UNTIL(traffic_idle(), "a silent connection is not given back");
  traffic_again();
  UNTIL(!traffic_waits(), "%s", traffic_waits());
}

static void let_sender_go(void) {
  shared->begin = shared->leave = true;
  WAIT(h_gone(sender), "the sender does not end");
}

/* All is written or reported, and the reports are told. What a living sender keeps for its next message is no stray. */
static const char *state(void) {
  static char text[200];
  sipwire_stats s = h_stats();
  uint32_t strays[4];
  sipwire_crash_strays(h_instance, strays);
  snprintf(text, sizeof text, "%llu bytes queued, strays: %u blocks, %u hidden, %u log records, %u blacklist entries; %llu connections",
           (unsigned long long)s.queued_bytes, strays[0], strays[1], strays[2], strays[3], (unsigned long long)s.connections);
  return text;
}
static bool nothing_queued(void) {
  uint32_t strays[4];
  return STAT(queued_bytes) == 0 && sipwire_crash_strays(h_instance, strays) && !(strays[0] | strays[1] | strays[2] | strays[3]);
}

/* What a sender has added and did not live to remove. */
static void remove_listeners(void) {
  for (int i = LISTENERS; i < sipwire_listener_count(h_instance); i++) { /* the first are those of the test */
    sipwire_listener_remove(h_instance, i);
    WAIT(sipwire_listener_state(h_instance, i, NULL, 0) != SIPWIRE_LISTENER_PENDING, "listener %d is not closed", i);
    CHECK(sipwire_listener_state(h_instance, i, NULL, 0) != SIPWIRE_LISTENER_OPEN, "listener %d is open", i);
  }
}

/* Everything is back to what it was. */
static void check_rest(void) {
  sipwire_refresh(h_instance); /* a new supervisor hears of this process */
  remove_listeners();
  WAIT(STAT(connections) == traffic_steady(), "%llu connections, %u expected", (unsigned long long)STAT(connections), traffic_steady());
  WAIT_NUM(traffic_steady(), STAT(slots_used));
  WAIT_NUM(0, STAT(partial_bytes));
  WAIT_NUM(base_participants, STAT(participants));
  WAIT(nothing_queued(), "at rest: %s", state());
  /* A supervisor watches whom it inherits by number: who comes again under another one, as both workers may, costs it a
   * descriptor until that number is used again. */
  int fds = base_fds + (int)traffic_steady() + (role == SUPERVISOR ? 2 : 0);
  WAIT(h_count_fds(supervisor) <= fds, "the supervisor has %d descriptors open, %d before", h_count_fds(supervisor), fds);
  CHECK_NUM(0, STAT(degraded));
}

/* A worker or a sender ends: at most the connection it wrote and the one it read. */
static void round_beside(aim at) {
  uint64_t before = closed_by_death();
  if (role == WORKER) {
    shared->worker_leaves = false;
    victim = workers[1] = fork_worker(1, at);
    h_expect_exit(victim);
  }
  talk_all(role == SENDER ? at : nowhere);
  let_sender_go();
  shared->worker_leaves = role == WORKER;
  if (role == WORKER) WAIT(h_gone(victim), "the worker does not leave");
  WAIT_NUM(base_participants, STAT(participants));
  /* Counted when the host was told of the end. */
  WAIT((traffic_look(), traffic_lost() <= closed_by_death() - before), "%u connections ended, %llu closed because of the death: %s",
       traffic_lost(), (unsigned long long)(closed_by_death() - before), traffic_lost_text());
  WAIT((traffic_look(), nothing_queued()), "after the death: %s", state());
  traffic_check(1, 0);
  traffic_close(false);
  check_rest();
  CHECK(closed_by_death() - before <= (role == WORKER ? 2 : 1), "one death closed %llu connections",
        (unsigned long long)(closed_by_death() - before));
}

/* The supervisor is killed in the middle of everything; its successor ends while it takes over or later, while it
 * serves traffic and the deaths of others; then one that lives sets all right. */
static void round_of_supervisor(aim at) {
  traffic_open(variant, role == SUPERVISOR && variant);
  sender = fork_sender(nowhere);
  h_expect_exit(sender);
  WAIT((traffic_look(), shared->begin), "the connections are not known");
  for (int i = rounds % 5; i > 0; i--) h_tick();
  kill_one(supervisor);
  traffic_read();
  victim = supervisor = fork_supervisor(at);
  h_expect_exit(victim);
  let_sender_go();
  UNTIL(STAT(supervisor_pid) == (uint64_t)victim && !traffic_stays() && nothing_queued(), "the successor does not end all: %s, %s", traffic_stays(), state());
  if (!fallen()) {
    traffic_check(1, 1);
    traffic_close(true);
    UNTIL(STAT(connections) == 0, "connections stay");
    kill_one(workers[1]);
    workers[1] = fork_worker(1, random_aim(WORKER));
    h_expect_exit(workers[1]);
    talk_all(random_aim(SENDER));
    kill_one(workers[1]);
    kill_one(sender);
    workers[1] = fork_worker(1, nowhere);
    h_expect_exit(workers[1]);
    UNTIL(STAT(participants) == base_participants, "%llu participants", (unsigned long long)STAT(participants));
    h_runs_loop(workers[1]);
  }
  if (panics && !h_gone(victim)) { /* begun anew it sets all right like a successor */
    traffic_read();
    if (!h_gone(sender)) let_sender_go();
    WAIT((traffic_look(), STAT(supervisor_pid) == (uint64_t)victim && !traffic_stays() && !traffic_waits() && nothing_queued()), "begun anew it does not end all: %s, %s, %s", traffic_stays(), traffic_waits(), state());
  }
  kill_one(victim);
  supervisor = fork_supervisor(nowhere);
  h_runs_loop(supervisor);
  traffic_read();
  if (!h_gone(sender)) let_sender_go();
  WAIT((traffic_look(), STAT(supervisor_pid) == (uint64_t)supervisor && !traffic_stays() && !traffic_waits() && nothing_queued()), "the new supervisor does not end all: %s, %s, %s", traffic_stays(), traffic_waits(), state());
  traffic_check(2, 2);
  traffic_close(true);
  check_rest();
}

static void one_round(aim at, bool variant_now) {
  rounds++;
  goal = at;
  ends_before = sipwire_crash_ends(at.point, role);
  variant = variant_now;
  if (role == SUPERVISOR) round_of_supervisor(at);
  else round_beside(at);
}

/* The steps by which a process says that it takes part, and by which a supervisor leaves its place, also after a bug: stores of
 * atomics and nothing else, in which none can be. */
static bool is_only_said(const char *place) {
  return strstr(place, "src/sys/map.rs") || strstr(place, "src/roles/supervisor/place.rs") || strstr(place, "src/shm/header.rs") ||
         strstr(place, "src/roles/context.rs");
}

static uint32_t dead_points(void) {
  uint32_t n = 0;
  for (uint32_t point = 0; point < sipwire_crash_points(); point++) n += sipwire_crash_ends(point, role) > 0;
  return n;
}

/* One round for each point of a share of all, `share` of `shares`, that is known and at which nobody ended yet. Returns how
 * many there were. A point's number says nothing of its place, so that a share has something of everything. */
static int every_point(uint64_t times, uint32_t share, uint32_t shares, uint32_t *tried) {
  char place[200];
  int n = 0;
  for (uint32_t point = share; point < sipwire_crash_points(); point += shares) {
    sipwire_crash_point(point, place, sizeof place);
    if (panics && is_only_said(place)) continue;
    if (!place[0] || !sipwire_crash_hits(point, role) || sipwire_crash_ends(point, role) || tried[point] >= (h_full && !panics ? TRIES_FULL : TRIES)) continue;
    tried[point]++;
    n++;
    one_round((aim){point, times}, tried[point] % 2);
  }
  return n;
}

/* Bugs at some of the points: at a tenth, and at another tenth while there were fewer than BUGS. All are met in make check-all. */
static void some_points(uint32_t *tried) {
  for (uint32_t share = 0; share < SOME && dead_points() < BUGS; share++)
    while (every_point(1, share, SOME, tried) > 0) {}
}

/* Each point later in a process's life, too. */
static void every_point_again(void) {
  static const uint64_t times[] = {2, 3, 5, 9, 20};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++)
    for (uint32_t point = 0; point < sipwire_crash_points(); point++)
      if (sipwire_crash_hits(point, role) > 0) one_round((aim){point, times[i]}, (point + i) % 2);
}

static void report(void) {
  static const char *const names[ROLES] = {"nobody", "supervisor", "worker", "sender"};
  char place[200];
  for (uint32_t point = 0; point < sipwire_crash_points(); point++) {
    sipwire_crash_point(point, place, sizeof place);
    if (place[0] && sipwire_crash_hits(point, role))
      printf("%s %s %s\n", sipwire_crash_ends(point, role) ? "died" : "passed", names[role], place);
  }
  printf("%d rounds\n", rounds);
  fflush(stdout);
}

int main(int argc, char **argv) {
  static const char *const names[ROLES] = {"", "supervisor", "worker", "sender"};
  static uint32_t tried[1 << 13];
  for (uint32_t r = 1; r < ROLES && argc > 1; r++) role = strcmp(argv[1], names[r]) == 0 ? r : role;
  if (!role) h_fail(__FILE__, __LINE__, "usage: points supervisor|worker|sender [--panic] [--full]");
  panics = argc > 2 && strcmp(argv[2], "--panic") == 0;
  CHECK(sipwire_crash_points() <= sizeof tried / sizeof *tried, "room for all points");
  actors_begin();
  sipwire_crash_hits(0, 0); /* makes the table, whose memory stays open: before descriptors are counted */
  h_init(argc - 1 - panics, argv + 1 + panics);
  h_time_limit(h_full ? 6000 : 1500);
  h_mode = H_PROCESSES;
  h_unseen = UINT64_MAX / 2; /* workers die inside on_open and on_close */
  traffic_begin();
  h_setting("worker_hold", "5ms");
  h_setting("worker_stall", "20ms");
  h_setting("conn_wq_max", "200k");
  h_setting("partial_max", "66000");
  h_setting("max_message_size", "66000");
  h_setting("half_close_timeout", "10s");
  h_setting("accept_aliases", "yes");
  h_setting("blacklist_ttl", "5ms");
  h_setting("log_level", "info");
  h_record(false);
  h_start(2);
  for (int w = 0; w < 2; w++) kill_one(h_worker_pid(w));
  kill_one(h_supervisor_pid());
  fork_all();
  WAIT(h_workers_running() == 2, "the workers");
  if (role == WORKER) kill_one(workers[1]);
  WAIT_NUM(role == WORKER ? 3 : 4, STAT(participants));
  base_participants = STAT(participants);
  for (int i = 0; i < REFERENCE; i++) one_round(nowhere, i % 2);
  for (int i = 0; i < 100; i++) { /* until the supervisor knows all that take part */
    h_tick();
    sipwire_refresh(h_instance);
    int fds = h_count_fds(supervisor) - (int)traffic_steady();
    base_fds = i == 0 || fds > base_fds ? fds : base_fds;
  }
  if (panics && !h_full) some_points(tried);
  else while (every_point(1, 0, 1, tried) > 0) {}
  if (h_full && !panics) every_point_again();
  report();
  traffic_end();
  return h_finish();
}
