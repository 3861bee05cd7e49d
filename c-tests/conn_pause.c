/* modes: threads processes */
/* timeout: 90 */
/* sipwire_conn_pause and sipwire_conn_resume: after a pause in on_message nothing more of that connection is delivered,
 * whatever was read with it; after a resume from anywhere all of it is, in order, once. A paused connection ends in time
 * whatever its peer, the host or a time limit does, and outlives its worker and whoever paused it. */
#include "deadline.h"
#include <signal.h>

static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  char value[8];
  if (h_header(message->data, message->header_length, "X-Pause", value, sizeof value))
    for (int n = atoi(value); n > 0; n--) CHECK_RC(SIPWIRE_OK, sipwire_conn_pause(instance, message->conn_id));
  return h_default_script(instance, message);
}

static void pause_here(uint32_t id) { CHECK_RC(SIPWIRE_OK, sipwire_conn_pause(h_instance, id)); }
static void resume(uint32_t id) { CHECK_RC(SIPWIRE_OK, sipwire_conn_resume(h_instance, id)); }

/* Requests to be written at once. */
static char batch[300000];
static size_t batched;
static void add(const char *call_id, const char *extra) {
  h_text request = h_request("OPTIONS", call_id, extra, NULL);
  CHECK(batched + request.length <= sizeof batch, "too much");
  memcpy(batch + batched, request.data, request.length);
  batched += request.length;
}
static void write_batch(h_peer *peer) {
  h_write(peer, batch, batched);
  batched = 0;
}

static size_t delivered(uint32_t id) { return h_count(EV_MESSAGE, id, NULL); }
static const char *const PAUSE = "X-Pause: 1\r\n";

/* Paused by its first message, with a second one kept. */
static h_peer *with_kept_input(uint32_t *id) {
  h_peer *peer = h_client();
  *id = h_conn_of(peer);
  add("pauses", PAUSE);
  add("kept", NULL);
  write_batch(peer);
  h_await_answer(peer, 200, "pauses");
  sipwire_conn_info info;
  WAIT(h_info(*id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
  CHECK(info.flags & SIPWIRE_CONN_PAUSED, "flags %u", info.flags);
  CHECK(!(info.flags & SIPWIRE_CONN_SLOWED), "flags %u", info.flags);
  CHECK(info.partial_bytes > 0, "nothing is kept");
  CHECK_NUM(1, delivered(*id));
  return peer;
}

/* Paused while idle, and its peer has sent a request since. */
static h_peer *with_unread_input(uint32_t *id) {
  h_peer *peer = h_client();
  *id = h_conn_of(peer);
  pause_here(*id);
  h_write_text(peer, h_request("OPTIONS", "unread", NULL, NULL));
  return peer;
}

static void ends(h_peer *peer, uint32_t id, int reason, size_t messages) {
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(reason, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(messages, delivered(id));
  WAIT(sipwire_conn_pause(h_instance, id) == SIPWIRE_E_NO_CONNECTION, "the slot is not free after on_close");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_resume(h_instance, id));
  h_close(peer);
}

static void exact(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  add("a", NULL);
  add("b", PAUSE);
  add("c", NULL);
  memcpy(batch + batched, "\r\n\r\n", 4); /* a ping among them */
  batched += 4;
  add("d", PAUSE);
  size_t whole = batched;
  add("e", NULL);
  size_t half = whole + (batched - whole) / 2, all = batched;
  h_write(peer, batch, half); /* half of the last one comes during the pause */
  h_await_answer(peer, 200, "a");
  h_await_answer(peer, 200, "b");
  h_write(peer, batch + half, all - half);
  batched = 0;
  STAYS(200, delivered(id) == 2, "delivered after the pause");
  CHECK_NUM(0, peer->pongs);
  resume(id);
  h_await_answer(peer, 200, "c");
  h_await_answer(peer, 200, "d");
  CHECK_NUM(1, peer->pongs);
  STAYS(200, delivered(id) == 4, "delivered after the second pause");
  resume(id);
  h_await_answer(peer, 200, "e");
  CHECK_NUM(0, h_conn_flags(id) & SIPWIRE_CONN_PAUSED);

  /* each pauses: each resume delivers one */
  enum { MANY = 20 };
  char name[16];
  for (int i = 0; i < MANY; i++) snprintf(name, sizeof name, "many %d", i), add(name, "X-Pause: 2\r\n");
  write_batch(peer);
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "many %d", i);
    h_await_answer(peer, 200, name);
    STAYS(20, delivered(id) == (size_t)(5 + i + 1), "more than one for a resume");
    resume(id);
  }
  h_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_PEER_CLOSED, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(5 + MANY, delivered(id));
}

static void from_outside(void) {
  h_peer *peer = h_client(), *other = h_client();
  uint32_t id = h_conn_of(peer);
  pause_here(id);
  resume(id); /* before it took effect */
  h_write_text(peer, h_request("OPTIONS", "first", NULL, NULL));
  h_await_answer(peer, 200, "first"); /* held by a worker now */
  pause_here(id);
  pause_here(id);
  h_write_text(peer, h_request("OPTIONS", "second", NULL, NULL));
  STAYS(300, delivered(id) == 1, "read while paused");
  sipwire_target target = h_to_conn(id);
  CHECK(h_send_here(&target, "SIP/2.0 100 Trying\r\nCall-ID: out\r\nContent-Length: 0\r\n\r\n", 55, 1) > 0, "a send to a paused connection");
  h_await_answer(peer, 100, "out");
  h_write_text(other, h_request("OPTIONS", "other", NULL, NULL));
  h_await_answer(other, 200, "other");
  resume(id);
  h_await_answer(peer, 200, "second");
  resume(id); /* of what is not paused */
  h_close(peer);
  h_close(other);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_pause(h_instance, 1));
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
}

static void how_it_ends(void) {
  uint32_t id;
  h_peer *peer = with_kept_input(&id);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id));
  h_await_end(peer, "closed by the host");
  ends(peer, id, SIPWIRE_REASON_HOST, 1);
  peer = with_unread_input(&id);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id));
  h_await_end(peer, "closed by the host");
  CHECK(peer->eof, "reset (errno %d)", peer->error);
  ends(peer, id, SIPWIRE_REASON_HOST, 0);

  peer = with_kept_input(&id); /* half_close_timeout is a minute: nobody waits for it */
  h_reset(peer);
  ends(peer, id, SIPWIRE_REASON_PEER_RESET, 1);
  CHECK_NUM(ECONNRESET, h_find(EV_CLOSE, id, NULL)->error);
  peer = with_unread_input(&id);
  STAYS(100, delivered(id) == 0, "read while paused");
  h_reset(peer);
  ends(peer, id, SIPWIRE_REASON_PEER_RESET, 0);
  peer = h_client();
  id = h_conn_of(peer);
  pause_here(id);
  h_reset(peer); /* nothing was sent */
  ends(peer, id, SIPWIRE_REASON_PEER_RESET, 0);

  for (int kept = 0; kept < 2; kept++) { /* FIN, and then a resume */
    peer = kept ? with_kept_input(&id) : with_unread_input(&id);
    h_half_close(peer);
    STAYS(200, !h_ended(peer), "closed although something waits");
    resume(id);
    h_await_answer(peer, 200, kept ? "kept" : "unread");
    h_await_end(peer, "answered");
    ends(peer, id, SIPWIRE_REASON_PEER_CLOSED, kept ? 2 : 1);
  }
  set_live("half_close_timeout", "1s");
  for (int kept = 0; kept < 2; kept++) { /* FIN, and no resume */
    peer = kept ? with_kept_input(&id) : with_unread_input(&id);
    if (kept) h_sleep_ms(50); /* the FIN comes alone, to one that is armed for nothing else */
    uint64_t before = h_now_ms();
    h_half_close(peer);
    uint64_t after = h_now_ms();
    WAIT(h_find(EV_CLOSE, id, NULL), "it ends without a resume");
    CHECK_ACTED("half_close_timeout", before, after, 1000, h_find(EV_CLOSE, id, NULL)->time_ms);
    ends(peer, id, SIPWIRE_REASON_HALF_CLOSE_TIMEOUT, kept ? 1 : 0);
  }
  set_live("half_close_timeout", "1m");
}

static void time_limits(void) {
  set_live("worker_hold", "10ms"); /* a lifetime does not run while a worker holds the connection */
  set_live("connection_lifetime", "1s");
  set_live("message_timeout", "1s");
  uint32_t id, silent_id, partial_id;
  h_peer *silent = h_client();
  silent_id = h_conn_of(silent);
  pause_here(silent_id);
  h_peer *peer = with_unread_input(&id), *partial = h_client();
  partial_id = h_conn_of(partial);
  h_text request = h_request("OPTIONS", "partial", NULL, NULL);
  h_write(partial, request.data, request.length / 2);
  sipwire_conn_info info;
  WAIT(h_info(partial_id, &info) && info.partial_bytes == request.length / 2, "half a message");
  pause_here(partial_id);
  h_write(partial, request.data + request.length / 2, request.length - request.length / 2);
  WAIT(h_find(EV_CLOSE, silent_id, NULL), "the lifetime of one that has nothing to read runs");
  ends(silent, silent_id, SIPWIRE_REASON_LIFETIME, 0);
  STAYS(2500, h_info(id, &info) && h_info(partial_id, &info), "a limit ended what has something to read");
  resume(id);
  resume(partial_id);
  h_await_answer(peer, 200, "unread");
  h_await_answer(partial, 200, "partial");
  h_close(peer);
  h_close(partial);
  WAIT(STAT(slots_used) == 0, "closed");
  set_live("worker_hold", "5s");
  set_live("connection_lifetime", "10m");
  set_live("message_timeout", "1m");
}

/* A first message waits as long as it has to: its time does not run out while its connection is not read. */
static void first_message(void) {
  set_live("first_message_timeout", "500ms");
  uint32_t id, half_id;
  h_peer *peer = with_unread_input(&id), *half = h_client();
  half_id = h_conn_of(half);
  pause_here(half_id);
  h_text request = h_request("OPTIONS", "half", NULL, NULL);
  h_write(half, request.data, request.length / 2);
  sipwire_conn_info info;
  STAYS(1200, h_info(id, &info) && h_info(half_id, &info), "a limit ended what has something to read");
  resume(id);
  h_await_answer(peer, 200, "unread");
  h_write(half, request.data + request.length / 2, request.length - request.length / 2);
  resume(half_id);
  h_await_answer(half, 200, "half");
  h_close(peer);
  h_close(half);
  WAIT(STAT(slots_used) == 0, "closed");
  set_live("first_message_timeout", "0");
}

/* The rest of a message came long ago, while the script before it ran and paused. */
static void behind_a_long_script(void) {
  set_live("message_timeout", "300ms");
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  add("long", "X-Sleep: 700\r\nX-Pause: 1\r\n");
  size_t whole = batched;
  add("cut", NULL);
  size_t half = whole + (batched - whole) / 2;
  h_write(peer, batch, half);
  WAIT(delivered(id) == 1, "the long script");
  h_write(peer, batch + half, batched - half);
  batched = 0;
  h_await_answer(peer, 200, "long");
  STAYS(600, !h_ended(peer), "its time ran out though all of it is here");
  resume(id);
  h_await_answer(peer, 200, "cut");
  h_close(peer);
  WAIT(STAT(slots_used) == 0, "closed");
  set_live("message_timeout", "1m");
}

/* The pong that would show that the peer lives waits with all else. */
static void keep_alive(void) {
  set_live("pong_timeout", "1s");
  uint32_t id[2];
  h_peer *peer[2];
  for (int kept = 0; kept < 2; kept++) {
    peer[kept] = kept ? with_kept_input(&id[kept]) : with_unread_input(&id[kept]);
    CHECK_RC(SIPWIRE_OK, sipwire_conn_set_keepalive(h_instance, id[kept], 200));
    h_frame frame;
    WAIT((h_next(peer[kept], &frame), peer[kept]->pongs >= 2), "our ping"); /* two CRLFs */
  }
  STAYS(1500, !h_ended(peer[0]) && !h_ended(peer[1]), "no pong is read while paused, and it counts as missing");
  sipwire_conn_info info;
  for (int kept = 0; kept < 2; kept++) { /* it may have been blocked in its write: its pong comes when it is read again */
    resume(id[kept]);
    h_await_answer(peer[kept], 200, kept ? "kept" : "unread");
    STAYS(300, h_info(id[kept], &info), "ended for a pong that could not come");
    h_write(peer[kept], "\r\n", 2);
    WAIT_NUM(kept + 1, STAT(pongs_heard));
    CHECK_RC(SIPWIRE_OK, sipwire_conn_set_keepalive(h_instance, id[kept], 0));
    STAYS(1200, h_info(id[kept], &info), "ended for a pong that came");
    h_close(peer[kept]);
  }
  WAIT(STAT(slots_used) == 0, "closed");
  set_live("pong_timeout", "10s");
}

/* A stalled worker holds a paused connection: nobody else reads it either. */
static void beside_a_stall(void) {
  h_peer *held[2] = {h_client(), h_client()};
  uint32_t id[2];
  for (int i = 0; i < 2; i++) {
    h_write_text(held[i], h_request("OPTIONS", "held", NULL, NULL));
    h_await_answer(held[i], 200, "held");
    pause_here(id[i] = h_conn_of(held[i]));
  }
  h_peer *blocked = h_client(), *other = h_client();
  *h_word(1) = 0;
  h_write_text(blocked, h_request("OPTIONS", "blocked", "X-Wait: 1\r\nX-Pause: 1\r\n", NULL));
  h_write_text(blocked, h_request("OPTIONS", "behind", NULL, NULL));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: blocked"), "the script blocks");
  int worker = h_find(EV_MESSAGE, 0, "Call-ID: blocked")->worker;
  WAIT(h_worker(worker).stalled, "the stall is visible");
  for (int i = 0; i < 2; i++) h_write_text(held[i], h_request("OPTIONS", "meanwhile", NULL, NULL));
  h_write_text(other, h_request("OPTIONS", "other", NULL, NULL));
  h_await_answer(other, 200, "other");
  STAYS(300, delivered(id[0]) == 1 && delivered(id[1]) == 1, "read while paused");
  for (int i = 0; i < 2; i++) resume(id[i]);
  for (int i = 0; i < 2; i++) h_await_answer(held[i], 200, "meanwhile"); /* by the other worker if need be */
  *h_word(1) = 1;
  h_await_answer(blocked, 200, "blocked");
  uint32_t blocked_id = h_conn_of(blocked);
  STAYS(100, delivered(blocked_id) == 1, "delivered after the pause");
  resume(blocked_id);
  h_await_answer(blocked, 200, "behind");
  h_close(held[0]), h_close(held[1]), h_close(blocked), h_close(other);
  WAIT(STAT(slots_used) == 0, "closed");
}

/* What is kept is bounded by partial_max; beyond that what is not delivered stays in the kernel. */
static void much_is_kept(void) {
  enum { PEERS = 8, EACH = 200 };
  h_peer *peer[PEERS];
  uint32_t id[PEERS];
  char name[16];
  for (int p = 0; p < PEERS; p++) {
    peer[p] = h_client();
    id[p] = h_conn_of(peer[p]);
    for (int i = 0; i < EACH; i++) snprintf(name, sizeof name, "%d", i), add(name, i % 50 == 0 ? PAUSE : NULL);
    write_batch(peer[p]);
    h_await_answer(peer[p], 200, "0");
    sipwire_conn_info info;
    WAIT(h_info(id[p], &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
  }
  CHECK(STAT(partial_bytes) > 0, "nothing is kept");
  CHECK(STAT(partial_bytes) <= 2 * 65536, "%llu bytes are kept, partial_max is 64k", (unsigned long long)STAT(partial_bytes));
  for (int round = 1; round <= EACH / 50; round++)
    for (int p = 0; p < PEERS; p++) {
      WAIT(delivered(id[p]) == (size_t)(round - 1) * 50 + 1, "paused %d times, %zu delivered", round, delivered(id[p]));
      resume(id[p]);
    }
  for (int p = 0; p < PEERS; p++) {
    for (int i = 1; i < EACH; i++) snprintf(name, sizeof name, "%d", i), h_await_answer(peer[p], 200, name);
    h_close(peer[p]);
  }
  WAIT_NUM(0, STAT(partial_bytes));
  WAIT(STAT(slots_used) == 0, "closed");
}

static void pause_job(h_sender *self) {
  self->job.result = sipwire_conn_pause(h_instance, self->job.target.conn_id);
}

static void deaths(void) {
  /* of who paused */
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  h_sender *sender = h_sender_new();
  sender->job.target = h_to_conn(id);
  h_sender_run(sender, pause_job);
  h_sender_wait(sender);
  CHECK_RC(SIPWIRE_OK, sender->job.result);
  h_sender_kill(sender);
  WAIT_NUM(1, STAT(participants_died));
  h_write_text(peer, h_request("OPTIONS", "paused", NULL, NULL));
  STAYS(200, delivered(id) == 0, "its pause died with it");
  resume(id);
  h_await_answer(peer, 200, "paused");

  /* of the workers: one has kept input that is with the supervisor */
  h_peer *kept = with_kept_input(&id);
  for (int w = 0; w < 2; w++) {
    h_expect_exit(h_worker_pid(w));
    h_kill(h_worker_pid(w));
  }
  WAIT_NUM(3, STAT(participants_died));
  h_fork_worker(1);
  WAIT(h_worker(1).running, "a new worker");
  STAYS(100, delivered(id) == 1, "delivered after the pause");
  resume(id);
  h_await_answer(kept, 200, "kept");
  h_write_text(peer, h_request("OPTIONS", "after", NULL, NULL));
  h_await_answer(peer, 200, "after");

  /* of the supervisor */
  h_peer *gone = with_kept_input(&id);
  pid_t old = h_supervisor_pid(), worker = h_worker_pid(1);
  h_expect_exit(old);
  h_expect_exit(worker);
  h_kill(old);
  WAIT(h_gone(worker), "the worker ends");
  pid_t supervisor = h_fork_supervisor();
  h_fork_worker(0);
  WAIT(STAT(supervisor_pid) == (uint64_t)supervisor && h_worker(0).running, "a new supervisor and a new worker");
  ends(gone, id, SIPWIRE_REASON_SUPERVISOR_GONE, 1);
  WAIT(STAT(slots_used) == 0 && STAT(partial_bytes) == 0, "all is given back");
  h_peer *next = h_client();
  h_write_text(next, h_request("OPTIONS", "next", NULL, NULL));
  h_await_answer(next, 200, "next"); /* the mark is not its */
  h_close(next);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_stall", "500ms"); /* on a busy machine no worker passes for stalled before it is */
  h_setting("half_close_timeout", "1m");
  h_setting("partial_max", "64k");
  h_script = script;
  h_start(2);
  exact();
  from_outside();
  how_it_ends();
  time_limits();
  first_message();
  behind_a_long_script();
  keep_alive();
  beside_a_stall();
  much_is_kept();
  if (h_mode == H_PROCESSES) deaths();
  return h_finish();
}
