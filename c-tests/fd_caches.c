/* modes: processes */
/* worker_fd_cache and fd_cache: how many descriptors of connections a worker keeps that holds none of them, and a
 * sender. Who has none for a connection is served all the same. Both can be changed while running. */
#include "deadline.h"
#include <signal.h>

enum { PEERS = 8, WORKERS = 2, SENDERS = 3 }; /* what each may keep */
static h_peer *peer[PEERS];
static uint32_t id[PEERS], sent;

static void ask(int i) {
  h_write_text(peer[i], h_request("OPTIONS", "ask", NULL, NULL));
  h_await_answer(peer[i], 200, "ask");
}

/* Its worker is in a callback and holds them too long: the supervisor takes them, and the worker finds that out later. */
static void taken(void) {
  sipwire_conn_info info;
  for (int i = 1; i < PEERS; i++) ask(i);
  h_write_text(peer[0], h_request("OPTIONS", "blocked", "X-Wait: 1\r\n", NULL));
  for (int i = 1; i < PEERS; i++) WAIT(h_info(id[i], &info) && info.owner == SIPWIRE_OWNER_IDLE, "taken");
  *h_word(1) = 1;
  h_await_answer(peer[0], 200, "blocked");
}

static void await_given_back(int i) {
  sipwire_conn_info info;
  WAIT(h_info(id[i], &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
}

/* Twice to each, without a call in between that would take what was passed. */
static void burst(h_sender *self) {
  sipwire_iov iov = {self->job.text, self->job.length};
  for (int i = 0; i < 2 * PEERS; i++) {
    sipwire_target target = h_to_conn(id[i % PEERS]);
    CHECK_RC(SIPWIRE_QUEUED, sipwire_send(h_instance, &target, &iov, 1, 1));
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "300ms");
  h_setting("worker_fd_cache", "2");
  h_setting("fd_cache", "3");
  h_start(1);
  int before = h_count_fds(h_worker_pid(0)), mine;
  for (int i = 0; i < PEERS; i++) {
    peer[i] = h_client();
    id[i] = h_conn_of(peer[i]);
  }
  for (int round = 0; round < 3; round++) {
    if (round == 0) { /* held all at once: more than it may keep, until they are given back */
      for (int i = 0; i < PEERS; i++) ask(i);
      for (int i = 0; i < PEERS; i++) await_given_back(i);
      set_live("worker_hold", "10ms");
    } else {
      for (int i = 0; i < PEERS; i++) {
        ask(i);
        await_given_back(i);
      }
    }
    int now = h_count_fds(h_worker_pid(0));
    CHECK(now <= before + WORKERS, "round %d: the worker keeps %d descriptors, worker_fd_cache is %d", round, now - before, WORKERS);
    CHECK(now > before, "round %d: it keeps none", round);
  }

  set_live("worker_hold", "300ms");
  set_live("worker_stall", "100ms");
  taken();
  WAIT(h_count_fds(h_worker_pid(0)) <= before + WORKERS, "the worker keeps %d descriptors", h_count_fds(h_worker_pid(0)) - before);

  CHECK_RC(SIPWIRE_OK, sipwire_refresh(h_instance)); /* what every sender has is there */
  mine = h_count_fds(getpid());
  int32_t rc[PEERS] = {0};
  for (int round = 0; round < 4; round++)
    for (int i = 0; i < PEERS; i++) {
      sipwire_target target = h_to_conn(id[i]);
      rc[i] = h_send_numbered_here(&target, 1, sent++, 400);
      CHECK(rc[i] > 0, "refused: %d (%s)", rc[i], sipwire_strerror(rc[i]));
      WAIT((h_ledger_receive(peer[i]), h_ledger_received(1) == sent), "it arrives");
      CHECK(h_count_fds(getpid()) <= mine + SENDERS, "a sender keeps %d descriptors, fd_cache is %d", h_count_fds(getpid()) - mine, SENDERS);
    }
  CHECK(h_count_fds(getpid()) > mine, "it keeps none");

  /* Nor are more on their way to one that does not take them. */
  h_sender *sender = h_sender_new();
  h_text text = h_request("OPTIONS", "burst", NULL, NULL);
  for (int i = 0; i < 2; i++) { /* after the second the supervisor knows of it */
    sipwire_target target = h_to_conn(id[i]);
    uint64_t out = STAT(messages_out);
    h_send_text(sender, &target, text.data, text.length, 0);
    h_sender_wait(sender);
    h_await(peer[i], "a message of the sender");
    WAIT_NUM(out + 1, STAT(messages_out));
  }
  memcpy(sender->job.text, text.data, text.length);
  sender->job.length = text.length;
  uint64_t passed = STAT(fds_passed), queued = STAT(messages_out);
  kill(h_supervisor_pid(), SIGSTOP);
  h_sender_run(sender, burst);
  h_sender_wait(sender);
  kill(h_supervisor_pid(), SIGCONT);
  WAIT_NUM(queued + 2 * PEERS, STAT(messages_out));
  CHECK_NUM(passed + SENDERS, STAT(fds_passed));
  for (int i = 0; i < 2 * PEERS; i++) h_await(peer[i % PEERS], "the burst");

  set_live("fd_cache", "1");
  WAIT((sipwire_refresh(h_instance), h_count_fds(getpid()) <= mine + 1), "the sender keeps %d descriptors, fd_cache is 1", h_count_fds(getpid()) - mine);
  CHECK(h_count_fds(getpid()) == mine + 1, "it keeps none");
  set_live("fd_cache", "0");
  WAIT((sipwire_refresh(h_instance), h_count_fds(getpid()) <= mine), "the sender keeps %d descriptors, fd_cache is 0", h_count_fds(getpid()) - mine);
  set_live("worker_hold", "10ms");
  set_live("worker_fd_cache", "4");
  for (int i = 0; i < PEERS; i++) ask(i), await_given_back(i);
  WAIT(h_count_fds(h_worker_pid(0)) == before + 4, "the worker keeps %d descriptors, worker_fd_cache is 4", h_count_fds(h_worker_pid(0)) - before);
  set_live("worker_fd_cache", "1");
  ask(PEERS - 1); /* the one it has; nothing is passed */
  await_given_back(PEERS - 1);
  WAIT(h_count_fds(h_worker_pid(0)) == before + 1, "the worker keeps %d descriptors, worker_fd_cache is 1", h_count_fds(h_worker_pid(0)) - before);
  return h_finish();
}
