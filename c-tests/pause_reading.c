/* modes: threads processes */
/* timeout: 120 */
/* A client that sends requests and does not read its answers is slowed, not fed, and not closed either: above queue_high it
 * is not read, until its queue is down to queue_low. Then all its answers come, in order. Others notice nothing, memory is
 * bounded, and whatever happens to it meanwhile ends it in time. pause_reading=no: it is closed at conn_wq_max. */
#include "deadline.h"
#include <sys/socket.h>

enum { TOTAL = 6000, BODY = 1500, CROWD = 20, CONN_WQ_MAX = 32768, READ_BUFFER = 65536 };

/* Answers with 1,500 bytes. */
static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  char number[16];
  if (!h_header(message->data, message->header_length, "X-Flood", number, sizeof number)) return h_default_script(instance, message);
  char answer[BODY + 200];
  int head = snprintf(answer, sizeof answer, "SIP/2.0 200 OK\r\nX-Flood: %s\r\nContent-Length: %d\r\n\r\n", number, BODY);
  memset(answer + head, 'y', BODY);
  sipwire_iov iov = {answer, (size_t)head + BODY};
  sipwire_target target = h_to_conn(message->conn_id);
  int32_t rc = sipwire_send(instance, &target, &iov, 1, 0);
  *h_word(2) += rc == SIPWIRE_E_CONN_QUEUE_FULL;
  *h_word(3) += rc == SIPWIRE_E_TOTAL_QUEUE_FULL;
  return 0;
}

typedef struct flood {
  h_peer *peer;
  uint32_t id;
  int total, written, answered;
  size_t part; /* of the next one that is written */
} flood;

/* Writes as much as goes. */
static bool pump(flood *f) {
  bool some = false;
  while (f->written < f->total) {
    char text[200];
    size_t length = (size_t)snprintf(text, sizeof text, "OPTIONS sip:test SIP/2.0\r\nX-Flood: %d\r\nContent-Length: 0\r\n\r\n", f->written);
    ssize_t n = send(f->peer->fd, text + f->part, length - f->part, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0) break;
    some = true;
    f->part += (size_t)n;
    if (f->part == length) f->part = 0, f->written++;
  }
  return some;
}

static flood begin(void) {
  sipwire_addr listener = h_listener(0);
  flood f = {.peer = h_connect_small(&listener, 65536), .total = TOTAL};
  f.peer->paused = true;
  f.id = h_conn_of(f.peer);
  return f;
}

/* Until nothing moves any more. */
static flood flooded(void) {
  flood f = begin();
  uint64_t messages = 0;
  for (uint64_t since = h_now_ms(); h_now_ms() < since + 500; h_tick()) {
    uint64_t now = STAT(messages_in);
    if (pump(&f) || now != messages) since = h_now_ms(), messages = now;
  }
  return f;
}

/* Now and then the kernel takes a little more, so that it is read a little more. */
static void check_slowed(const flood *f) {
  sipwire_conn_info info;
  bool known;
  WAIT(!(known = h_info(f->id, &info)) || (info.flags & SIPWIRE_CONN_SLOWED && info.owner == SIPWIRE_OWNER_IDLE), "flags %u, owner %d, %llu bytes queued", info.flags,
       info.owner, (unsigned long long)info.queued_bytes);
  CHECK(known, "it was closed: %s", sipwire_reason_text(h_find(EV_CLOSE, f->id, NULL) ? h_find(EV_CLOSE, f->id, NULL)->reason : 0));
  CHECK(!(info.flags & SIPWIRE_CONN_PAUSED), "flags %u", info.flags);
  CHECK(info.queued_bytes > CONN_WQ_MAX / 4 && info.queued_bytes <= CONN_WQ_MAX, "%llu bytes queued", (unsigned long long)info.queued_bytes);
  CHECK(info.partial_bytes <= READ_BUFFER, "%llu bytes kept", (unsigned long long)info.partial_bytes);
  CHECK(info.messages_in < TOTAL, "all its requests were served");
}

/* Reads on: everything is answered, in order. */
static void read_all(flood *f) {
  f->peer->paused = false;
  h_frame frame;
  char number[16];
  while (f->answered < TOTAL) {
    int before = f->answered;
    WAIT(pump(f) || h_next(f->peer, &frame) || h_ended(f->peer), "answer %d", f->answered);
    for (; frame.data; f->answered += 1, frame.data = NULL) {
      CHECK(h_header(frame.data, frame.header_length, "X-Flood", number, sizeof number), "not an answer of ours");
      CHECK_NUM(f->answered, atoi(number));
    }
    CHECK(before != f->answered || !h_ended(f->peer), "it ended after %d answers", f->answered);
  }
}

static void slowed_and_served(void) {
  flood f = flooded();
  check_slowed(&f);
  h_peer *other = h_client();
  for (int i = 0; i < 20; i++) {
    h_write_text(other, h_request("OPTIONS", "other", NULL, NULL));
    h_await_answer(other, 200, "other");
  }
  STAYS(300, STAT(messages_in) < TOTAL, "it is read on");
  read_all(&f);
  CHECK_NUM(0, *h_word(2));
  sipwire_conn_info info;
  WAIT(h_info(f.id, &info) && !(info.flags & SIPWIRE_CONN_SLOWED) && info.messages_in == TOTAL, "it is a connection like others again");
  h_close(f.peer);
  h_close(other);
  WAIT(STAT(slots_used) == 0, "closed");
}

static void ended_with(flood *f, int reason) {
  WAIT(h_find(EV_CLOSE, f->id, NULL), "on_close");
  CHECK_NUM(reason, h_find(EV_CLOSE, f->id, NULL)->reason);
  h_reset(f->peer);
  WAIT(STAT(slots_used) == 0 && STAT(queued_bytes) == 0 && STAT(partial_bytes) == 0, "all is given back");
}

static void how_it_ends(void) {
  /* RST: at once. */
  flood f = flooded();
  check_slowed(&f);
  h_reset(f.peer);
  WAIT(h_find(EV_CLOSE, f.id, NULL), "a reset while it is slowed"); /* send_timeout is longer than that waits */
  ended_with(&f, SIPWIRE_REASON_PEER_RESET);

  /* FIN, and it reads on: it gets what it asked for. */
  f = flooded();
  check_slowed(&f);
  int asked = f.written;
  h_half_close(f.peer);
  STAYS(200, h_find(EV_CLOSE, f.id, NULL) == NULL, "closed by a FIN although answers wait");
  f.peer->paused = false;
  h_await_end(f.peer, "after the answers");
  CHECK(f.peer->eof, "reset (errno %d)", f.peer->error);
  int answers = 0;
  for (h_frame frame; h_next(f.peer, &frame);) answers++;
  CHECK_NUM(asked, answers);
  ended_with(&f, f.part ? SIPWIRE_REASON_EOF_IN_MESSAGE : SIPWIRE_REASON_PEER_CLOSED);

  /* It never reads: send_timeout. With a FIN, too. */
  for (int fin = 0; fin < 2; fin++) {
    f = flooded();
    check_slowed(&f);
    if (fin) h_half_close(f.peer);
    set_live("send_timeout", "1s");
    ended_with(&f, SIPWIRE_REASON_SEND_TIMEOUT);
    set_live("send_timeout", "1m");
  }

  /* It has a little more to ask, so that its FIN comes through. */
  f = begin();
  f.total = 0;
  for (uint64_t since = h_now_ms(); h_now_ms() < since + 500; h_tick())
    if (!(h_conn_flags(f.id) & SIPWIRE_CONN_SLOWED)) f.total += 20, pump(&f), since = h_now_ms();
  f.total += 100;
  pump(&f);
  h_half_close(f.peer);
  set_live("half_close_timeout", "1s");
  WAIT(h_conn_flags(f.id) & SIPWIRE_CONN_CLOSING, "half_close_timeout");
  f.peer->paused = false; /* what is queued is written first */
  set_live("half_close_timeout", "1m");
  ended_with(&f, SIPWIRE_REASON_HALF_CLOSE_TIMEOUT);

  /* The lifetime does not run while requests wait; the host's close does what it says. */
  set_live("connection_lifetime", "500ms");
  f = flooded();
  STAYS(1500, h_find(EV_CLOSE, f.id, NULL) == NULL, "it ended although requests wait");
  check_slowed(&f);
  set_live("connection_lifetime", "10m");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, f.id));
  f.peer->paused = false;
  h_await_end(f.peer, "closed by the host");
  CHECK(f.peer->eof, "reset (errno %d)", f.peer->error);
  ended_with(&f, SIPWIRE_REASON_HOST);
}

/* The setting is live, both ways. */
static void live(void) {
  flood f = flooded();
  check_slowed(&f);
  set_live("pause_reading", "no");
  WAIT(h_find(EV_CLOSE, f.id, NULL), "fed until conn_wq_max");
  CHECK(*h_word(2) > 0, "no answer was refused");
  ended_with(&f, SIPWIRE_REASON_CONN_QUEUE_FULL);
  *h_word(2) = 0;
  set_live("pause_reading", "yes");
}

static void flood_all(flood *f) {
  for (int i = 0; i < CROWD; i++) f[i] = begin();
  uint64_t messages = 0;
  for (uint64_t since = h_now_ms(); h_now_ms() < since + 500; h_tick()) {
    bool some = false;
    for (int i = 0; i < CROWD; i++) some |= pump(&f[i]);
    uint64_t now = STAT(messages_in);
    if (some || now != messages) since = h_now_ms(), messages = now;
  }
}


static void crowd(void) {
  static flood f[CROWD];
  flood_all(f);
  for (int i = 0; i < CROWD; i++) check_slowed(&f[i]);
  CHECK(STAT(queued_bytes) <= CROWD * CONN_WQ_MAX, "%llu bytes queued", (unsigned long long)STAT(queued_bytes));
  CHECK(STAT(partial_bytes) <= CROWD * READ_BUFFER, "%llu bytes kept", (unsigned long long)STAT(partial_bytes));
  h_peer *other = h_client();
  h_write_text(other, h_request("OPTIONS", "among the crowd", NULL, NULL));
  h_await_answer(other, 200, "among the crowd");
  read_all(&f[CROWD / 2]);
  h_close(other);
  for (int i = 0; i < CROWD; i++) h_reset(f[i].peer);
  WAIT(STAT(slots_used) == 0 && STAT(queued_bytes) == 0 && STAT(partial_bytes) == 0, "all is given back");

  /* More than there is room for in all queues together: nobody is closed, and room goes to who is left. */
  enum { LEFT = 4, WQ_MAX = 256 * 1024 };
  set_live("wq_max", "256k");
  flood_all(f);
  sipwire_conn_info info;
  for (int i = 0; i < CROWD; i++) /* the kernel may take a little more just now */
    WAIT(!h_info(f[i].id, &info) || info.flags & SIPWIRE_CONN_SLOWED, "connection %d: flags %u", i, info.flags);
  for (int i = 0; i < CROWD; i++) CHECK(h_info(f[i].id, &info), "connection %d was closed", i);
  CHECK(STAT(queued_bytes) <= WQ_MAX, "%llu bytes queued", (unsigned long long)STAT(queued_bytes));
  CHECK_NUM(0, *h_word(3));
  flood *left[LEFT];
  int n = 0;
  for (int i = 0; i < CROWD; i++)
    if (n < LEFT && h_info(f[i].id, &info) && info.queued_bytes <= CONN_WQ_MAX / 4 * 3) left[n++] = &f[i];
    else h_reset(f[i].peer);
  CHECK_NUM(LEFT, n);
  for (int i = 0; i < LEFT; i++)
    WAIT(h_info(left[i]->id, &info) && info.queued_bytes > CONN_WQ_MAX / 4 * 3, "%llu bytes queued, though others made room", (unsigned long long)info.queued_bytes);
  for (int i = 0; i < LEFT; i++) {
    read_all(left[i]);
    h_close(left[i]->peer);
  }
  WAIT_NUM(0, STAT(slots_used));
  set_live("wq_max", "10m");
}

/* Workers stall, die and come again; a supervisor dies. */
static void beside_stalls(void) {
  flood f = flooded();
  check_slowed(&f);
  h_peer *blocked = h_client();
  h_write_text(blocked, h_request("OPTIONS", "blocked", "X-Wait: 1\r\n", NULL));
  WAIT(STAT(callbacks_running) == 1, "a worker is in its script");
  read_all(&f); /* the other one has to do it */
  *h_word(1) = 1;
  h_await_answer(blocked, 200, "blocked");
  h_close(f.peer);
  h_close(blocked);
  WAIT(STAT(slots_used) == 0, "closed");
}

/* False: one of them was reading it, since the kernel had taken a little more, and that costs the connection. */
static bool outlives_workers(flood *f) {
  sipwire_conn_info info;
  bool known;
  uint64_t died = STAT(participants_died);
  for (int w = 0; w < 2; w++) {
    h_expect_exit(h_worker_pid(w));
    h_kill(h_worker_pid(w));
  }
  WAIT_NUM(died + 2, STAT(participants_died));
  for (int w = 0; w < 2; w++) h_fork_worker(w);
  WAIT(h_worker(0).running && h_worker(1).running, "new workers");
  WAIT(!(known = h_info(f->id, &info)) || !(info.flags & SIPWIRE_CONN_CLOSING), "its end");
  if (known) return true;
  ended_with(f, SIPWIRE_REASON_WORKER_DIED);
  return false;
}

static void deaths(void) {
  flood f;
  bool outlived = false;
  for (int i = 0; i < 8 && !outlived; i++) {
    f = flooded();
    check_slowed(&f);
    outlived = outlives_workers(&f);
  }
  CHECK(outlived, "no connection outlives the workers that do not read it");
  check_slowed(&f);
  read_all(&f);
  h_close(f.peer);
  WAIT(STAT(slots_used) == 0, "closed");

  f = flooded();
  check_slowed(&f);
  pid_t workers[2] = {h_worker_pid(0), h_worker_pid(1)};
  for (int w = 0; w < 2; w++) h_expect_exit(workers[w]);
  h_expect_exit(h_supervisor_pid());
  h_kill(h_supervisor_pid());
  WAIT(h_gone(workers[0]) && h_gone(workers[1]), "workers end");
  pid_t supervisor = h_fork_supervisor();
  for (int w = 0; w < 2; w++) h_fork_worker(w);
  WAIT(STAT(supervisor_pid) == (uint64_t)supervisor && h_worker(0).running && h_worker(1).running, "a new supervisor with new workers");
  ended_with(&f, SIPWIRE_REASON_SUPERVISOR_GONE);
  f = flooded();
  check_slowed(&f);
  read_all(&f);
  h_close(f.peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("send_timeout", "1m");
  h_setting("half_close_timeout", "1m");
  h_setting("connection_lifetime", "10m");
  h_setting("worker_hold", "10ms");
  h_setting("worker_stall", "500ms"); /* on a busy machine no worker passes for stalled before it is */
  h_script = script;
  h_time_limit(110);
  h_start(2);
  slowed_and_served();
  how_it_ends();
  live();
  crowd();
  beside_stalls();
  if (h_mode == H_PROCESSES) deaths();
  return h_finish();
}
