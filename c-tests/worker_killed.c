/* modes: processes */
/* SIGKILL of a worker: connections it only held go on with another worker; the one whose message is in the script is
 * closed with WORKER_DIED and its message is not delivered a second time; a replacement takes the place. */
#include "harness.h"
#include <signal.h>
#include <string.h>

enum { PEERS = 10 };
static h_peer *peer[PEERS];

static int ask(h_peer *p, const char *id) {
  char value[16];
  h_write_text(p, h_request("OPTIONS", id, NULL, NULL));
  h_frame frame = h_await_answer(p, 200, id);
  h_header(frame.data, frame.header_length, "X-Worker", value, sizeof value);
  return atoi(value);
}

static void kill_worker(int worker) {
  pid_t pid = h_worker_pid(worker);
  h_expect_exit(pid);
  kill(pid, SIGKILL);
  WAIT(h_gone(pid), "worker %d is dead", worker);
}

static void replace(int worker) {
  pid_t pid = h_fork_worker(worker);
  WAIT(h_worker(worker).running && h_worker(worker).pid == (uint64_t)pid, "the replacement of worker %d runs", worker);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_stall", "60s"); /* only death may move connections here */
  h_setting("worker_hold", "60s");
  h_start(2);
  for (int i = 0; i < PEERS; i++) {
    peer[i] = h_client();
    ask(peer[i], "before");
  }
  h_text partial = h_request("OPTIONS", "partial", NULL, NULL);
  char kept[4096]; /* h_request uses its buffers again */
  memcpy(kept, partial.data, partial.length);
  partial.data = kept;
  h_peer *half = h_client();
  uint32_t half_id = h_conn_of(half);
  h_write(half, partial.data, partial.length / 2);
  sipwire_conn_info info;
  WAIT(h_info(half_id, &info) && info.partial_bytes == partial.length / 2 && info.owner == SIPWIRE_OWNER_HELD, "half a message is held");

  /* idle in its poll, holding half of the connections */
  kill_worker(0);
  WAIT(STAT(participants_died) == 1, "counted");
  for (int i = 0; i < PEERS; i++) CHECK_NUM(1, ask(peer[i], "after"));
  h_write(half, partial.data + partial.length / 2, partial.length - partial.length / 2);
  h_await_answer(half, 200, "partial"); /* what was received of it is not lost */
  CHECK_NUM(0, h_total(EV_CLOSE));
  replace(0);
  h_peer *fresh[4];
  bool seen[2] = {false, false};
  for (int i = 0; i < 4; i++) seen[ask(fresh[i] = h_client(), "fresh")] = true;
  CHECK(seen[0] && seen[1], "the replacement gets no connections");

  /* in the script, with other connections held beside it */
  int worker = ask(fresh[0], "which");
  uint32_t id = h_conn_of(fresh[0]);
  uint64_t messages = h_total(EV_MESSAGE);
  h_write_text(fresh[0], h_request("OPTIONS", "stuck", "X-Wait: 5\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, id, "Call-ID: stuck"), "the message is in the script");
  kill_worker(worker);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close of the connection that was read");
  CHECK_NUM(SIPWIRE_REASON_WORKER_DIED, h_find(EV_CLOSE, id, NULL)->reason);
  h_await_end(fresh[0], "the peer's side");
  CHECK_NUM(1, h_count(EV_MESSAGE, 0, "Call-ID: stuck"));
  CHECK_NUM(messages + 1, h_total(EV_MESSAGE));
  for (int i = 1; i < 4; i++) ask(fresh[i], "others");
  for (int i = 0; i < PEERS; i++) ask(peer[i], "others");
  CHECK_NUM(1, h_total(EV_CLOSE)); /* nobody else lost anything */
  WAIT_NUM(1, STAT(closed_by_reason)[SIPWIRE_REASON_WORKER_DIED]);
  replace(worker);
  *h_word(5) = 1;

  /* again and again, while traffic goes on */
  for (int round = 0; round < 6; round++) {
    uint64_t closed = h_total(EV_CLOSE);
    for (int i = 0; i < PEERS; i++)
      if (peer[i]->fd >= 0) h_write_text(peer[i], h_request("OPTIONS", "round", NULL, "some body"));
    h_sleep_ms(round);
    kill_worker(round % 2);
    replace(round % 2);
    for (int i = 0; i < PEERS; i++) {
      h_frame frame = {0};
      WAIT(h_next(peer[i], &frame) || h_ended(peer[i]), "round %d: peer %d is answered or closed", round, i);
      if (h_ended(peer[i])) {
        h_close(peer[i]);
        ask(peer[i] = h_client(), "again");
      }
    }
    CHECK(h_total(EV_CLOSE) <= closed + 2, "round %d: %llu connections were closed by one death", round, (unsigned long long)(h_total(EV_CLOSE) - closed));
  }
  return h_finish();
}
