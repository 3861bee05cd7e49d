/* modes: threads processes */
/* timeout: 120 */
/* Requests that come in one read: their answers wait for each other and go out together. None is lost or overtaken, whatever
 * comes between: a peer that does not read, another sender, a script that stalls or takes its time, a ping, a FIN, a death.
 * And what waits only for the next answer is no output that the peer does not take: conn_wq_max does not count it. */
#include "deadline.h"
#include <signal.h>

enum { CONN_WQ_MAX = 32768, LARGE = 70000, MOST_QUEUED = 2, REFUSED = 3, QUEUED = 4, GO = 5 };

static char body[100000];

/* X-N: its number; X-Size: of the answer's body; X-Sleep, X-Wait: as in the harness. */
static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  char value[16], n[16];
  if (!h_header(message->data, message->header_length, "X-N", n, sizeof n)) return h_default_script(instance, message);
  if (h_header(message->data, message->header_length, "X-Sleep", value, sizeof value)) h_sleep_ms(atoi(value));
  if (h_header(message->data, message->header_length, "X-Wait", value, sizeof value))
    while (!*h_word(atoi(value))) h_sleep_ms(1);
  if (strncmp(message->data, "ACK ", 4) == 0) return 0;
  int size = h_header(message->data, message->header_length, "X-Size", value, sizeof value) ? atoi(value) : 0;
  char head[200];
  int length = snprintf(head, sizeof head, "SIP/2.0 200 OK\r\nX-N: %s\r\nContent-Length: %d\r\n\r\n", n, size);
  sipwire_iov iov[2] = {{head, (size_t)length}, {body, (size_t)size}};
  sipwire_target target = h_to_conn(message->conn_id);
  int32_t rc = sipwire_send(instance, &target, iov, 2, (uint64_t)atoi(n));
  if (rc < 0) ++*h_word(REFUSED);
  if (rc == SIPWIRE_QUEUED) ++*h_word(QUEUED);
  sipwire_conn_info info = {.struct_size = sizeof info};
  if (sipwire_conn_info_get(instance, message->conn_id, &info) == SIPWIRE_OK && info.queued_bytes > *h_word(MOST_QUEUED))
    *h_word(MOST_QUEUED) = info.queued_bytes;
  return 0;
}

/* What the peer writes at once. */
typedef struct batch { char text[65536]; size_t length; int asked; } batch;

static void ask_as(batch *b, const char *method, int size, const char *more) {
  int n = snprintf(b->text + b->length, sizeof b->text - b->length, "%s sip:test SIP/2.0\r\nX-N: %d\r\nX-Size: %d\r\n%sContent-Length: 0\r\n\r\n", method, b->asked, size, more);
  b->length += (size_t)n;
  CHECK(b->length < sizeof b->text, "too much for one write");
  b->asked += strcmp(method, "ACK") != 0;
}
static void ask(batch *b, int size) { ask_as(b, "OPTIONS", size, ""); }

static void answered(h_peer *peer, int number, int size) {
  h_frame frame = h_await(peer, "an answer");
  char n[16];
  CHECK(h_header(frame.data, frame.header_length, "X-N", n, sizeof n), "no answer of ours: %.60s", frame.data);
  CHECK_NUM(number, atoi(n));
  CHECK(frame.body_length == (size_t)size, "answer %d has a body of %zu", number, frame.body_length);
  CHECK(memcmp(frame.body, body, (size_t)size) == 0, "answer %d was damaged", number);
}

static h_peer *asked(const batch *b) {
  h_peer *peer = h_client();
  h_conn_of(peer);
  h_write(peer, b->text, b->length);
  return peer;
}

static void over(h_peer *peer) {
  h_close(peer);
  WAIT(STAT(slots_used) == 0 && STAT(queued_bytes) == 0, "all is given back");
  CHECK_NUM(0, *h_word(REFUSED));
}

static void all_fit(void) {
  batch b = {.asked = 0};
  for (int i = 0; i < 50; i++) ask(&b, 10);
  h_peer *peer = asked(&b);
  for (int i = 0; i < b.asked; i++) answered(peer, i, 10);
  CHECK(*h_word(QUEUED) > 0, "no answer waited for the next one");
  over(peer);
}

static void much(void) {
  batch b = {.asked = 0};
  for (int i = 0; i < 60; i++) ask(&b, 8000);
  h_peer *peer = asked(&b);
  for (int i = 0; i < b.asked; i++) answered(peer, i, 8000);
  CHECK(*h_word(MOST_QUEUED) <= CONN_WQ_MAX, "%llu bytes waited", (unsigned long long)*h_word(MOST_QUEUED));
  over(peer);

  /* One that no batch takes, behind others. */
  memset(&b, 0, sizeof b);
  for (int i = 0; i < 21; i++) ask(&b, i == 10 ? LARGE : 500);
  peer = asked(&b);
  for (int i = 0; i < b.asked; i++) answered(peer, i, i == 10 ? LARGE : 500);
  over(peer);
}

/* The kernel takes a part of a batch, and nothing of others. `slowed`: the connection is not read meanwhile; else answers are
 * refused at conn_wq_max, as they are one by one. */
static void peer_reads_late(bool slowed) {
  enum { EACH = 500, SIZE = 3000 };
  set_live("pause_reading", slowed ? "yes" : "no");
  *h_word(MOST_QUEUED) = 0;
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 65536);
  peer->paused = true;
  uint32_t id = h_conn_of(peer);
  static batch b;
  memset(&b, 0, sizeof b);
  sipwire_conn_info info;
  int written = 0;
  for (uint64_t since = h_now_ms(), heard = 0; h_now_ms() < since + 300; h_tick()) {
    CHECK(h_info(id, &info), "it was closed");
    if (info.messages_in != heard) heard = info.messages_in, since = h_now_ms();
    if ((int)info.messages_in < written || info.queued_bytes || written >= 8000) continue;
    b.length = 0;
    for (int i = 0; i < EACH; i++) ask(&b, SIZE);
    h_write(peer, b.text, b.length);
    written = b.asked;
  }
  CHECK(h_info(id, &info) && info.queued_bytes > 0, "the kernel takes %d answers", written);
  CHECK(*h_word(MOST_QUEUED) <= CONN_WQ_MAX, "%llu bytes were queued", (unsigned long long)*h_word(MOST_QUEUED));
  peer->paused = false;
  int refused = (int)*h_word(REFUSED);
  CHECK(!slowed || refused == 0, "%d refused", refused);
  for (int i = 0; i < written - refused; i++) answered(peer, i, SIZE);
  h_reset(peer); /* a FIN would wait for the answers that were refused */
  WAIT(STAT(slots_used) == 0 && STAT(queued_bytes) == 0, "all is given back");
  *h_word(REFUSED) = 0;
  set_live("pause_reading", "yes");
}

/* Somebody else writes to the connection while answers wait. */
static void beside_another(uint32_t tag, int others, size_t size) {
  enum { BEFORE = 20, BEHIND = 20, SIZE = 600 };
  batch b = {.asked = 0};
  *h_word(GO) = 0;
  for (int i = 0; i < BEFORE; i++) ask(&b, SIZE);
  ask_as(&b, "OPTIONS", SIZE, "X-Wait: 5\r\n");
  for (int i = 0; i < BEHIND; i++) ask(&b, SIZE);
  h_peer *peer = asked(&b);
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.messages_in == BEFORE + 1, "%u messages", (unsigned)info.messages_in);
  h_sender *other = h_sender_new();
  sipwire_target target = h_to_conn(id);
  h_send_numbered(other, &target, tag, 0, (uint32_t)others, size);
  h_sender_wait(other);
  CHECK_NUM(0, other->job.refused);
  /* What is no batch any more counts: the answers behind it are refused until it is written. */
  if ((size_t)others * size > CONN_WQ_MAX / 2) WAIT(h_info(id, &info) && info.queued_bytes == 0, "%llu bytes wait", (unsigned long long)info.queued_bytes);
  *h_word(GO) = 1;
  int mine = 0, theirs = 0;
  while (mine < b.asked || theirs < others) {
    h_frame frame = h_await(peer, "what two have sent");
    char n[16];
    if (h_header(frame.data, frame.header_length, "X-N", n, sizeof n)) CHECK_NUM(mine++, atoi(n));
    else h_ledger_take(&frame), theirs++;
  }
  h_sender_end(other);
  over(peer);
}

/* A message to the peer of a batch that goes by the dial list, as its sender has something there already. */
static void behind_a_dial(void) {
  enum { BEFORE = 20, SIZE = 1000, BESIDE = 15000 };
  batch b = {.asked = 0};
  *h_word(GO) = 0;
  for (int i = 0; i < BEFORE; i++) ask(&b, SIZE);
  ask_as(&b, "OPTIONS", SIZE, "X-Wait: 5\r\n");
  h_peer *peer = asked(&b);
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.messages_in == BEFORE + 1, "%u messages", (unsigned)info.messages_in);
  CHECK(info.queued_bytes > CONN_WQ_MAX - BESIDE, "%llu bytes are a batch", (unsigned long long)info.queued_bytes);
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target dial = h_to_addr(&addr), target = h_to_addr(&info.remote);
  h_sender *other = h_sender_new();
  kill(h_supervisor_pid(), SIGSTOP);
  h_send_numbered(other, &dial, 3, 0, 1, 400);
  h_sender_wait(other);
  h_send_numbered(other, &target, 4, 0, 1, BESIDE);
  h_sender_wait(other);
  kill(h_supervisor_pid(), SIGCONT);
  CHECK_NUM(0, other->job.refused);
  h_peer *dialled = h_accept(fd);
  WAIT((h_ledger_receive(dialled), h_ledger_received(3) == 1), "the first message goes to whom it is for");
  for (int i = 0; i < BEFORE; i++) answered(peer, i, SIZE);
  h_frame frame = h_await(peer, "the message beside the batch");
  h_ledger_take(&frame);
  CHECK_NUM(1, h_ledger_received(4));
  *h_word(GO) = 1;
  answered(peer, BEFORE, SIZE);
  h_sender_end(other);
  h_close(dialled);
  close(fd);
  over(peer);
}

static void behind_a_stall(void) {
  batch b = {.asked = 0};
  *h_word(GO) = 0;
  for (int i = 0; i < 10; i++) ask(&b, 100);
  ask_as(&b, "OPTIONS", 100, "X-Wait: 5\r\n");
  h_peer *peer = asked(&b);
  for (int i = 0; i < 10; i++) answered(peer, i, 100);
  *h_word(GO) = 1;
  answered(peer, 10, 100);
  over(peer);
}

/* No script takes as long as worker_stall, but all of them together: nobody waits for the last one. */
static void behind_slow_scripts(void) {
  enum { REQUESTS = 40 };
  batch b = {.asked = 0};
  for (int i = 0; i < REQUESTS; i++) ask_as(&b, "OPTIONS", 100, "X-Sleep: 20\r\n");
  h_peer *peer = asked(&b);
  uint32_t id = h_conn_of(peer);
  answered(peer, 0, 100);
  sipwire_conn_info info;
  CHECK(h_info(id, &info) && info.messages_in < REQUESTS / 2, "the first answer came when %u requests were served", (unsigned)info.messages_in);
  for (int i = 1; i < REQUESTS; i++) answered(peer, i, 100);
  over(peer);
}

static void pings_between(void) {
  batch b = {.asked = 0};
  for (int i = 0; i < 10; i++) {
    ask(&b, 100);
    if (i == 4) b.length += (size_t)snprintf(b.text + b.length, sizeof b.text - b.length, "\r\n\r\n");
  }
  h_peer *peer = asked(&b);
  for (int i = 0; i < 10; i++) {
    CHECK_NUM(i > 5, peer->pongs);
    answered(peer, i, 100);
  }
  CHECK_NUM(1, peer->pongs);
  over(peer);
}

static void half_closed(void) {
  batch b = {.asked = 0};
  for (int i = 0; i < 30; i++) ask(&b, 1000);
  h_peer *peer = asked(&b);
  uint32_t id = h_conn_of(peer);
  h_half_close(peer);
  for (int i = 0; i < b.asked; i++) answered(peer, i, 1000);
  h_await_end(peer, "all is answered");
  CHECK(peer->eof, "reset (errno %d)", peer->error);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_PEER_CLOSED, h_find(EV_CLOSE, id, NULL)->reason);
  over(peer);
}

static void last_is_ack(void) {
  batch b = {.asked = 0};
  for (int i = 0; i < 10; i++) ask(&b, 100);
  ask_as(&b, "ACK", 0, "");
  h_peer *peer = asked(&b);
  for (int i = 0; i < b.asked; i++) answered(peer, i, 100);
  over(peer);
}

/* Its worker dies: the peer has not seen what waited, so all of it is reported. */
static void worker_dies(void) {
  enum { REQUESTS = 10 };
  batch b = {.asked = 0};
  *h_word(GO) = 0;
  for (int i = 0; i < REQUESTS; i++) ask(&b, 100);
  ask_as(&b, "OPTIONS", 100, "X-Wait: 5\r\n");
  h_peer *peer = asked(&b);
  uint32_t id = h_conn_of(peer);
  WAIT(h_count(EV_MESSAGE, id, NULL) == REQUESTS + 1, "the last one is in its script");
  pid_t worker = h_find(EV_MESSAGE, id, NULL)->pid;
  int w = h_worker_pid(0) == worker ? 0 : 1;
  h_expect_exit(worker);
  h_kill(worker);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_WORKER_DIED, h_find(EV_CLOSE, id, NULL)->reason);
  for (uint64_t i = 0; i < REQUESTS; i++) CHECK_NUM(1, h_failure_count(i));
  h_frame frame;
  CHECK(!h_next(peer, &frame), "the peer has an answer that was reported");
  *h_word(GO) = 1;
  h_fork_worker(w);
  over(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  memset(body, 'y', sizeof body);
  h_setting("max_message_size", "100000");
  h_setting("worker_hold", "50ms");
  h_setting("queue_full", "reject");
  h_setting("send_timeout", "1m");
  h_setting("worker_stall", "10s");
  h_script = script;
  h_time_limit(110);
  h_start(2);
  all_fit();
  last_is_ack();
  pings_between();
  half_closed();
  much();
  beside_another(1, 3, 400);
  beside_another(2, 1, 25000);
  peer_reads_late(true);
  peer_reads_late(false);
  if (h_mode == H_PROCESSES) behind_a_dial(), worker_dies();
  behind_slow_scripts();
  set_live("worker_stall", "50ms");
  behind_a_stall();
  return h_finish();
}
