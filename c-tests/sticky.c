/* modes: threads processes */
/* timeout: 90 */
/* handoff=sticky: a connection goes to the worker that had it last, though it is given back after each message; to
 * another one while that is stalled, dead or has markedly more waiting, and stays there. A worker process is passed a
 * descriptor once. The setting is live. */
#include "deadline.h"
#include <signal.h>

enum { WORKERS = 3, PEERS = 12, ROUNDS = 20, CROWD = 60 };
static h_peer *peer[PEERS];
static int at[PEERS]; /* the worker that had it last */

static int answered_by(h_peer *p, const char *id) {
  char value[16];
  h_frame frame = h_await_answer(p, 200, id);
  CHECK(h_header(frame.data, frame.header_length, "X-Worker", value, sizeof value), "no X-Worker in the answer");
  return atoi(value);
}

static int ask(h_peer *p, const char *id) {
  h_write_text(p, h_request("OPTIONS", id, NULL, NULL));
  int worker = answered_by(p, id);
  WAIT_NUM(STAT(handoffs), STAT(givebacks)); /* with the supervisor again */
  return worker;
}

static void same_worker_again(void) {
  int of[WORKERS] = {0};
  for (int i = 0; i < PEERS; i++) of[at[i] = ask(peer[i], "first")]++;
  for (int w = 0; w < WORKERS; w++) CHECK_NUM(PEERS / WORKERS, of[w]); /* new ones in turn */
  uint64_t passed = STAT(fds_passed), handoffs = STAT(handoffs);
  CHECK_NUM(h_mode == H_PROCESSES ? PEERS : 0, passed);
  for (int round = 0; round < ROUNDS; round++)
    for (int n = 0; n < PEERS; n++) { /* in another order each time: not as their turns would come */
      int i = (n * 5 + round) % PEERS;
      CHECK_NUM(at[i], ask(peer[i], "again"));
    }
  CHECK_NUM(handoffs + PEERS * ROUNDS, STAT(handoffs));
  CHECK_NUM(passed, STAT(fds_passed));
}

static void live(void) {
  set_live("handoff", "round_robin");
  int previous = ask(peer[0], "turn");
  for (int i = 0; i < 2 * WORKERS; i++) {
    int now = ask(peer[0], "turn");
    CHECK_NUM((previous + 1) % WORKERS, now);
    previous = now;
  }
  set_live("handoff", "sticky");
  at[0] = ask(peer[0], "back");
  for (int i = 0; i < 2 * WORKERS; i++) CHECK_NUM(at[0], ask(peer[0], "back"));
}

static h_peer *block(int worker) {
  for (int i = 0; i < PEERS; i++)
    if (at[i] == worker) {
      h_write_text(peer[i], h_request("OPTIONS", "blocked", "X-Wait: 1\r\n", NULL));
      WAIT(h_worker(worker).stalled, "worker %d stalls", worker);
      return peer[i];
    }
  h_fail(__FILE__, __LINE__, "no connection with worker %d", worker);
}

/* Workers 1 and 2 block: their connections go to worker 0 meanwhile, and stay there afterwards. */
static void another_while_stalled(void) {
  set_live("worker_stall", "500ms"); /* on a busy machine no worker passes for stalled before it is */
  h_peer *blocked[] = {block(1), block(2)};
  for (int i = 0; i < PEERS; i++)
    if (peer[i] != blocked[0] && peer[i] != blocked[1]) {
      h_write_text(peer[i], h_request("OPTIONS", "meanwhile", NULL, NULL));
      CHECK_NUM(0, at[i] = answered_by(peer[i], "meanwhile"));
    }
  static h_peer *crowd[CROWD];
  for (int i = 0; i < CROWD; i++) {
    crowd[i] = h_client();
    h_write_text(crowd[i], h_request("OPTIONS", "crowd", NULL, NULL));
    CHECK_NUM(0, answered_by(crowd[i], "crowd"));
  }
  *h_word(1) = 1;
  for (int w = 1; w < WORKERS; w++) WAIT(!h_worker(w).stalled, "recovered");
  for (int b = 0; b < 2; b++) CHECK_NUM(b + 1, answered_by(blocked[b], "blocked"));
  WAIT_NUM(STAT(handoffs), STAT(givebacks));
  for (int i = 0; i < PEERS; i++) CHECK_NUM(at[i], ask(peer[i], "stays"));

  /* All of the crowd sticks to worker 0, which takes a while for each: nobody starves there while others rest. */
  set_live("worker_stall", "60s");
  int of[WORKERS] = {0};
  for (int i = 0; i < CROWD; i++) h_write_text(crowd[i], h_request("OPTIONS", "slowly", "X-Sleep: 30\r\n", NULL));
  for (int i = 0; i < CROWD; i++) of[answered_by(crowd[i], "slowly")]++;
  CHECK(of[1] > 0 && of[2] > 0, "of %d connections worker 0 served %d, 1 %d, 2 %d", CROWD, of[0], of[1], of[2]);
  CHECK(of[0] > 0, "none stayed with its worker");
  for (int i = 0; i < CROWD; i++) h_close(crowd[i]);
  WAIT_NUM(PEERS, STAT(connections));
}

static void another_when_dead(void) {
  int dead = at[PEERS - 1];
  uint64_t passed = STAT(fds_passed);
  pid_t pid = h_worker_pid(dead);
  h_expect_exit(pid);
  h_kill(pid);
  WAIT(STAT(participants_died) == 1, "its death is known");
  for (int i = 0; i < PEERS; i++) {
    int now = ask(peer[i], "after its death");
    CHECK(now != dead, "asked a dead worker");
    if (at[i] != dead) CHECK_NUM(at[i], now);
    at[i] = now;
  }
  CHECK(STAT(fds_passed) <= passed + PEERS, "%llu descriptors passed for %d connections", (unsigned long long)(STAT(fds_passed) - passed), PEERS);
  h_fork_worker(dead);
  WAIT(h_worker(dead).running, "the replacement runs");
  for (int i = 0; i < PEERS; i++) CHECK_NUM(at[i], ask(peer[i], "replaced"));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("handoff", "sticky");
  h_setting("worker_hold", "0");
  h_setting("worker_stall", "60s");
  h_start(WORKERS);
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  same_worker_again();
  live();
  another_while_stalled();
  if (h_mode == H_PROCESSES) another_when_dead();
  return h_finish();
}
