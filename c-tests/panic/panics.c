/* A bug of the library, met in a worker, in a sender, in a callback's call and in the supervisor: the host gets a code and
 * lives, who met it takes part again, the connection that it had in hand ends and is reported, all others go on, the
 * log says where it was, and nothing is printed. What is met where: c-tests/crash/crash.h. */
#include "../crash/crash.h"
#include <sys/mman.h>
#include <sys/stat.h>

enum { ARM = 10, FIRST_RC, SECOND_RC, DONE };

static uint64_t passed[4096];

static void count_passed(void) {
  CHECK(sipwire_crash_points() <= sizeof passed / sizeof *passed, "room for all points");
  for (uint32_t point = 0; point < sipwire_crash_points(); point++) passed[point] = sipwire_crash_hits(point, NOBODY);
}

/* A place in this file of the sources that somebody has passed since `count_passed`: any, or the one that was passed most. */
static uint32_t point_in(const char *file, bool often) {
  char place[200];
  uint32_t found = 0;
  uint64_t most = 0;
  for (uint32_t point = 0; point < sipwire_crash_points(); point++) {
    sipwire_crash_point(point, place, sizeof place);
    uint64_t times = strstr(place, file) ? sipwire_crash_hits(point, NOBODY) - passed[point] : 0;
    if (times > most && (often || !most)) found = point, most = times;
  }
  if (!most) h_fail(__FILE__, __LINE__, "nothing of %s was passed", file);
  return found;
}

/* X-Bug: from now on, when this process passes the point. Then two sends, the first to the connection that it says. */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  char value[16];
  if (!h_header(m->data, m->header_length, "X-Bug", value, sizeof value)) return h_default_script(instance, m);
  uint32_t to = (uint32_t)strtoul(value, NULL, 10);
  sipwire_target target = h_to_conn(to);
  sipwire_crash_at((uint32_t)*h_word(ARM), 1, true);
  *h_word(FIRST_RC) = (uint64_t)(int64_t)(to ? h_send_here(&target, "\r\n", 2, 0) : h_reply(instance, m, 200, 0, 0));
  *h_word(SECOND_RC) = (uint64_t)(int64_t)h_reply(instance, m, 200, 0, 0);
  *h_word(DONE) = 1;
  return 0;
}

static void ask(h_peer *peer, const char *id, const char *extra) { h_write_text(peer, h_request("OPTIONS", id, extra, NULL)); }
static void served(h_peer *peer, const char *id) {
  ask(peer, id, NULL);
  h_await_answer(peer, 200, id);
}

/* How often the log has said it of them. */
static unsigned told(const char *who) {
  unsigned count = 0;
  for (size_t i = 0; h_nth(EV_LOG, i); i++)
    count += strstr(h_nth(EV_LOG, i)->text, "a bug of sipwire, please report it: panicked at src/") && strstr(h_nth(EV_LOG, i)->text, who);
  return count;
}

/* Its connection ends and is told; the worker comes again, and serves what it held. */
static void in_a_worker(h_peer *other, const char *file, int32_t first, int32_t second) {
  uint64_t starts = h_total(EV_WORKER_START);
  unsigned before = told("worker 0 (process");
  h_peer *peer = h_client();
  served(peer, "before");
  uint32_t id = h_conn_of(peer);
  count_passed();
  served(peer, "again");
  *h_word(ARM) = point_in(file, false);
  *h_word(DONE) = 0;
  ask(peer, "bug", "X-Bug: 0\r\n");
  WAIT(*h_word(DONE), "the callback comes to its end");
  CHECK_NUM(first, *h_word(FIRST_RC));
  CHECK_NUM(second, *h_word(SECOND_RC));
  h_text more = h_request("OPTIONS", "more", NULL, NULL); /* now at the latest the point is passed */
  h_try_write(peer, more.data, more.length);
  h_await_end(peer, "the connection that was in hand");
  WAIT(h_find(EV_CLOSE, id, NULL), "its end is told");
  int32_t reason = h_find(EV_CLOSE, id, NULL)->reason;
  CHECK(reason == SIPWIRE_REASON_WORKER_DIED || reason == SIPWIRE_REASON_SENDER_DIED, "its reason is %s", sipwire_reason_text(reason));
  served(other, "goes on");
  WAIT_NUM(starts + 1, h_total(EV_WORKER_START));
  WAIT_NUM(starts, h_total(EV_WORKER_STOP));
  WAIT_NUM(before + 1, told("worker 0 (process"));
  h_close(peer);
}

/* What was read together with the message whose callback met it is not delivered: nothing goes on behind it. */
static void with_one_behind(h_peer *other) {
  char both[2000], extra[40];
  unsigned before = told("worker 0 (process");
  h_peer *peer = h_client(), *third = h_client();
  served(peer, "before");
  count_passed();
  served(third, "before");
  uint32_t id = h_conn_of(peer);
  *h_word(ARM) = point_in("src/roles/sender.rs", false);
  *h_word(DONE) = 0;
  snprintf(extra, sizeof extra, "X-Bug: %u\r\n", h_conn_of(third));
  h_text first = h_request("OPTIONS", "bug", extra, NULL), second = h_request("OPTIONS", "behind", NULL, NULL);
  memcpy(both, first.data, first.length);
  memcpy(both + first.length, second.data, second.length);
  h_write(peer, both, first.length + second.length);
  WAIT(*h_word(DONE), "the callback comes to its end");
  CHECK_NUM(SIPWIRE_E_PANIC, *h_word(FIRST_RC));
  h_await_end(peer, "the connection that was in hand");
  WAIT(h_find(EV_CLOSE, id, NULL), "its end is told");
  CHECK_NUM(SIPWIRE_REASON_WORKER_DIED, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(0, h_count(EV_MESSAGE, 0, "Call-ID: behind"));
  served(other, "goes on");
  WAIT_NUM(before + 1, told("worker 0 (process"));
  h_close(peer);
  h_close(third);
}

/* A thread of the host: its next send is another participant's. */
static void in_a_sender(h_peer *other) {
  h_peer *peer = h_client();
  served(peer, "before");
  sipwire_target target = h_to_conn(h_conn_of(peer)), to_other = h_to_conn(h_conn_of(other));
  sipwire_conn_info info; /* the answers are out, but their worker may be a step behind that: only our send is to pass the point */
  WAIT(h_info(h_conn_of(peer), &info) && info.owner != SIPWIRE_OWNER_READING, "the worker is done");
  WAIT(h_info(h_conn_of(other), &info) && info.owner != SIPWIRE_OWNER_READING, "the worker is done");
  count_passed();
  CHECK(h_send_here(&target, "x", 1, 1) >= 0, "a send");
  uint64_t participants = STAT(participants);
  sipwire_crash_at(point_in("src/roles/sender.rs", false), 1, true);
  CHECK_RC(SIPWIRE_E_PANIC, h_send_here(&target, "x", 1, 2));
  CHECK(h_send_here(&to_other, "\r\n", 2, 3) >= 0, "the next send");
  WAIT_NUM(1, told("a sender (process"));
  WAIT_NUM(participants, STAT(participants));
  served(other, "goes on");
  h_close(peer);
}

enum { FILES = 200 };
static pid_t other_supervisor; /* processes: the one that is no more the harness's */

/* The numbers of what the dead supervisor had open are, in this process, something else's. */
static void supervise_with_files(void *point) {
  struct stat mine, now;
  int file = memfd_create("a file of the host", MFD_CLOEXEC), files[FILES];
  fstat(file, &mine);
  for (int i = 0; i < FILES; i++) files[i] = dup(file);
  sipwire_crash_at(*(uint32_t *)point, 1, true);
  CHECK_RC(SIPWIRE_OK, sipwire_run_supervisor(h_instance));
  CHECK_NUM(1, sipwire_crash_ends(*(uint32_t *)point, NOBODY));
  for (int i = 0; i < FILES; i++)
    CHECK(fstat(files[i], &now) == 0 && now.st_ino == mine.st_ino, "file %d of the host is closed: another supervisor had that number", files[i]);
}

enum { HELD = 50 };

static void with_connections(h_peer *peers[HELD]) {
  for (int i = 0; i < HELD; i++) served(peers[i] = h_client(), "before");
}

static void supervisor_dies(pid_t pid) {
  h_expect_exit(h_worker_pid(0));
  h_kill(pid);
  WAIT(h_gone(h_worker_pid(0)), "its worker ends with SIPWIRE_E_SUPERVISOR_GONE");
}

/* While it sets right what a dead one left: what it begins anew with is as before, not its own. */
static void in_a_successor(void) {
  h_peer *peers[HELD], *peer;
  char place[200];
  uint32_t point = 0, count = sipwire_crash_points();
  with_connections(peers);
  h_expect_exit(other_supervisor);
  supervisor_dies(other_supervisor);
  count_passed();
  h_fork_supervisor(), h_fork_worker(0);
  for (int i = 0; i < HELD; i++) h_await_end(peers[i], "a connection of the dead one");
  served(peer = h_client(), "with the first one behind");
  for (uint32_t i = 0; i < count && !point; i++) { /* passed for each connection of the dead one */
    sipwire_crash_point(i, place, sizeof place);
    if (strstr(place, "src/roles/supervisor/death.rs") && sipwire_crash_hits(i, NOBODY) >= passed[i] + HELD) point = i;
  }
  CHECK(point, "a successor sets nothing right");
  h_close(peer);
  with_connections(peers);
  supervisor_dies(h_supervisor_pid());
  h_runs_loop(h_fork(supervise_with_files, &point));
  h_fork_worker(0);
  for (int i = 0; i < HELD; i++) h_await_end(peers[i], "a connection of the dead one");
  WAIT(sipwire_crash_ends(point, NOBODY) == 1, "it does not come there");
  served(peer = h_client(), "with the second one behind");
  h_close(peer);
}

static void supervise_and_meet(void *point) {
  sipwire_crash_at(*(uint32_t *)point, 1, true);
  CHECK_RC(SIPWIRE_OK, sipwire_run_supervisor(h_instance));
}

/* All its connections end, as by its death; the next one serves the same listeners. */
static void in_the_supervisor(h_peer *other) {
  memset(passed, 0, sizeof passed); /* since the beginning */
  uint32_t point = point_in("src/roles/supervisor/handoff.rs", true), id = h_conn_of(other);
  if (h_mode == H_PROCESSES) {
    h_expect_exit(h_worker_pid(0));
    h_kill(h_supervisor_pid());
    h_runs_loop(other_supervisor = h_fork(supervise_and_meet, &point));
    WAIT(h_gone(h_worker_pid(0)), "its worker ends with SIPWIRE_E_SUPERVISOR_GONE");
    h_expect_exit(h_fork_worker(0));
    WAIT(h_workers_running() == 1 || sipwire_crash_ends(point, NOBODY), "its worker");
  } else {
    sipwire_crash_at(point, 1, true);
  }
  h_peer *peer = h_client();
  WAIT((h_close(peer), peer = h_client(), sipwire_crash_ends(point, NOBODY)), "it does not come there");
  h_await_end(other, "a connection that it had");
  if (h_mode == H_PROCESSES) {
    WAIT(h_gone(h_worker_pid(0)), "its worker ends with SIPWIRE_E_SUPERVISOR_GONE");
    h_fork_worker(0);
  }
  h_close(peer);
  served(peer = h_client(), "with the next one");
  WAIT(h_find(EV_CLOSE, id, NULL), "its end is told");
  CHECK_NUM(SIPWIRE_REASON_SUPERVISOR_GONE, h_find(EV_CLOSE, id, NULL)->reason);
  WAIT_NUM(1, told("the supervisor (process"));
  h_close(peer);
}

int main(int argc, char **argv) {
  int sink = memfd_create("output", MFD_CLOEXEC);
  h_stderr = dup(2);
  dup2(sink, 1);
  dup2(sink, 2);
  sipwire_crash_hits(0, 0); /* makes the table, which stays open */
  h_init(argc, argv);
  h_script = script;
  h_start(1);
  h_peer *other = h_client();
  served(other, "first");
  in_a_worker(other, "src/roles/worker/turn.rs", SIPWIRE_SENT, SIPWIRE_SENT);
  in_a_worker(other, "src/roles/sender.rs", SIPWIRE_E_PANIC, SIPWIRE_E_PANIC);
  with_one_behind(other);
  in_a_sender(other);
  in_the_supervisor(other);
  if (h_mode == H_PROCESSES) in_a_successor();
  int rc = h_finish();
  char text[512] = "";
  CHECK(pread(sink, text, sizeof text - 1, 0) == 0, "printed: %s", text);
  return rc;
}
