/* modes: processes */
/* rows: K8 K9 */
/* A worker that holds a pinged connection dies, with the pong unread: another one reads it. The supervisor dies while pongs
 * are awaited: its successor reports those connections like all others, and pings on new ones. A sender that set the
 * times dies: they stay. */
#include "keepalive.h"
#include <signal.h>

static void die(pid_t pid) {
  h_expect_exit(pid);
  kill(pid, SIGKILL);
  WAIT(h_gone(pid), "process %d is dead", pid);
}

static void worker_dies(void) {
  h_peer *peer = h_client();
  ask(peer, "held");
  uint32_t id = h_conn_of(peer);
  WAIT(info_of(id).owner == SIPWIRE_OWNER_HELD, "held");
  int worker = info_of(id).worker;
  keepalive(id, 10);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_flow_timer(h_instance, id, FOUR_HOURS));
  WAIT(pings(peer) == 1, "K8: a ping");
  pid_t pid = h_worker_pid(worker);
  kill(pid, SIGSTOP);
  keepalive(id, FOUR_HOURS);
  pong(peer);
  set_live("pong_timeout", "300ms");
  keepalive(id, FOUR_HOURS); /* looks at the time */
  STAYS(1000, !h_ended(peer), "K8: failed, its pong unread");
  die(pid);
  WAIT_NUM(1, STAT(pongs_heard));
  ask(peer, "with another one");
  CHECK_NUM(0, h_total(EV_CLOSE));
  CHECK_NUM(FOUR_HOURS, info_of(id).keepalive_ms);
  CHECK_NUM(FOUR_HOURS, info_of(id).flow_timer_ms);
  set_live("pong_timeout", "10m");
  pid_t next = h_fork_worker(worker);
  WAIT(h_worker(worker).running && h_worker(worker).pid == (uint64_t)next, "the replacement runs");
}

static uint32_t of_sender;
static void sets_times(h_sender *self) {
  (void)self;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_keepalive(h_instance, of_sender, 20));
}

static void sender_dies(void) {
  h_peer *peer = h_client();
  of_sender = h_conn_of(peer);
  h_sender *sender = h_sender_new();
  h_sender_run(sender, sets_times);
  h_sender_wait(sender);
  h_sender_kill(sender);
  for (size_t n = 1; n <= 3; n++) {
    WAIT(pings(peer) == n, "K8: ping %zu", n);
    pong(peer);
  }
  CHECK_NUM(0, h_total(EV_CLOSE));
}

static void supervisor_dies(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  keepalive(id, 10);
  WAIT(pings(peer) == 1, "K8: a ping");
  pid_t workers[2] = {h_worker_pid(0), h_worker_pid(1)};
  for (int w = 0; w < 2; w++) h_expect_exit(workers[w]);
  die(h_supervisor_pid());
  WAIT(h_gone(workers[0]) && h_gone(workers[1]), "workers end");
  pid_t supervisor = h_fork_supervisor();
  for (int w = 0; w < 2; w++) h_fork_worker(w);
  WAIT(STAT(supervisor_pid) == (uint64_t)supervisor, "a new supervisor");
  WAIT(h_find(EV_CLOSE, id, NULL), "the old connection is reported");
  CHECK_NUM(SIPWIRE_REASON_SUPERVISOR_GONE, h_find(EV_CLOSE, id, NULL)->reason);
  h_peer *next = h_client();
  uint32_t next_id = h_conn_of(next);
  CHECK_NUM(0, info_of(next_id).keepalive_ms);
  CHECK_NUM(0, info_of(next_id).pong_wait_ms);
  keepalive(next_id, 20);
  for (size_t n = 1; n <= 3; n++) {
    WAIT(pings(next) == n, "K8: ping %zu of the new supervisor", n);
    pong(next);
  }
  set_live("pong_timeout", "300ms");
  keepalive(next_id, 20); /* looks at the time */
  WAIT(h_find(EV_CLOSE, next_id, NULL), "K8: the next ones are not answered");
  CHECK_NUM(SIPWIRE_REASON_FLOW_FAILED, h_find(EV_CLOSE, next_id, NULL)->reason);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_setting("worker_stall", "60s"); /* only the death moves connections */
  h_setting("pong_timeout", "10m");
  h_setting("connection_lifetime", "10m");
  h_start(2);
  worker_dies();
  sender_dies();
  supervisor_dies();
  return h_finish();
}
