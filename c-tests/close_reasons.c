/* modes: threads processes */
/* Lifetime, close by the host, close after send, FIN, RST: exactly one on_close each, with the right reason, behind
 * its on_open. Idle connections and connections that a worker holds alike. */
#include "deadline.h"

typedef enum { OWN_LIFETIME, HOST, RETURNED, AFTER_SEND, PEER_FIN, PEER_RST, FIN_IN_MESSAGE, CASES } ending;
static const int reasons[CASES] = {SIPWIRE_REASON_LIFETIME, SIPWIRE_REASON_HOST, SIPWIRE_REASON_HOST,
                                   SIPWIRE_REASON_CLOSE_AFTER_SEND, SIPWIRE_REASON_PEER_CLOSED, SIPWIRE_REASON_PEER_RESET,
                                   SIPWIRE_REASON_EOF_IN_MESSAGE};

/* idle: given back to the supervisor before the end comes. */
static uint32_t begin_one(ending how, bool idle, h_peer **out) {
  h_peer *peer = *out = h_client();
  char id_text[32];
  snprintf(id_text, sizeof id_text, "case%d-%d", how, idle);
  h_write_text(peer, h_request("OPTIONS", id_text, NULL, NULL));
  h_await_answer(peer, 200, id_text);
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  if (idle) WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
  return id;
}

static void end_one(ending how, h_peer *peer, uint32_t id) {
  sipwire_target target = h_to_conn(id);
  target.flags = SIPWIRE_SEND_CLOSE_AFTER;
  switch (how) {
    case OWN_LIFETIME: CHECK_RC(SIPWIRE_OK, sipwire_conn_set_lifetime(h_instance, id, 300)); break;
    case HOST: CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id)); break;
    case RETURNED: h_write_text(peer, h_request("OPTIONS", "returned", "X-Return: -1\r\n", NULL)); break;
    case AFTER_SEND: CHECK(h_send_here(&target, "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", 37, 7) > 0, "last message"); break;
    case PEER_FIN: h_close(peer); break;
    case PEER_RST: h_reset(peer); break;
    case FIN_IN_MESSAGE: h_write(peer, "OPTIONS sip:x SIP/2.0\r\nVia: ", 28); h_half_close(peer); break;
    default: break;
  }
}

/* Nobody sends anything: it ends connection_lifetime after its last activity, here its return from the worker. */
static void lifetime(void) {
  set_live("connection_lifetime", "3s");
  uint64_t before = h_now_ms(), opened = h_total(EV_OPEN);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "lifetime", NULL, NULL));
  h_await_answer(peer, 200, "lifetime");
  uint32_t id = h_nth(EV_OPEN, opened)->conn_id;
  sipwire_conn_info info;
  WAIT(!h_info(id, &info) || info.owner == SIPWIRE_OWNER_IDLE || info.owner == SIPWIRE_OWNER_RETIRING, "given back");
  uint64_t after = h_now_ms();
  WAIT(h_find(EV_CLOSE, id, NULL), "closed at connection_lifetime");
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("connection_lifetime", before, after, 3000, h_find(EV_CLOSE, id, NULL)->time_ms);
  h_await_end(peer, "the peer's side");
  CHECK(peer->eof, "reset (errno %d) instead of FIN", peer->error);
  h_close(peer);
  set_live("connection_lifetime", "10m");
}

enum { BUSY_MS = 1000 };
typedef struct busy { h_peer *peer; uint32_t id; uint64_t last; } busy;

static busy busy_new(void) {
  busy it = {.last = h_now_ms()};
  it.peer = h_client();
  it.id = h_conn_of(it.peer);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_lifetime(h_instance, it.id, BUSY_MS));
  return it;
}

/* It may have ended only because of a pause of this test: its lifetime after what kept it busy. */
static bool ended_rightly(const busy *it, const char *what) {
  h_event *e = h_find(EV_CLOSE, it->id, NULL);
  if (!e) return false;
  CHECK(e->time_ms >= it->last + BUSY_MS * 95 / 100, "%s: it ended %llu ms after that", what, (unsigned long long)(e->time_ms - it->last));
  return true;
}

/* A connection with traffic does not reach its lifetime: requests that nobody answers keep it, and messages that we send. */
static void traffic(void) {
  static const char ours[] = "OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n", theirs[] = "ACK sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n";
  set_live("worker_hold", "20ms"); /* only with the supervisor does the lifetime run */
  for (int attempt = 0;; attempt++) {
    CHECK(attempt < 10, "this test is paused for a second again and again");
    busy in = busy_new(), out = busy_new();
    sipwire_target target = h_to_conn(out.id);
    bool ended = false;
    for (uint64_t until = h_now_ms() + BUSY_MS * 5 / 2, turn = 1; h_now_ms() < until && !ended; turn++) {
      h_sleep_ms(BUSY_MS / 5);
      uint64_t now = h_now_ms();
      bool sent = h_send_here(&target, ours, sizeof ours - 1, 1) > 0;
      if (sent) out.last = now;
      now = h_now_ms();
      h_try_write(in.peer, theirs, sizeof theirs - 1);
      WAIT(h_count(EV_MESSAGE, in.id, NULL) == turn || h_find(EV_CLOSE, in.id, NULL), "delivered");
      if (h_count(EV_MESSAGE, in.id, NULL) == turn) in.last = now;
      if (!sent) WAIT(h_find(EV_CLOSE, out.id, NULL), "a send was refused: on_close");
      bool one = ended_rightly(&in, "a request"), two = ended_rightly(&out, "a message we sent");
      ended = one || two;
    }
    h_close(in.peer);
    h_close(out.peer);
    if (!ended) return;
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "200ms");
  h_setting("connection_lifetime", "10m");
  h_start(2);
  for (int idle = 0; idle < 2; idle++)
    for (ending how = OWN_LIFETIME; how < CASES; how++) {
      h_peer *peer;
      uint64_t counted = STAT(closed_by_reason)[reasons[how]], closed = STAT(closed);
      uint32_t id = begin_one(how, idle, &peer);
      end_one(how, peer, id);
      WAIT(h_find(EV_CLOSE, id, NULL), "case %d idle %d: on_close", how, idle);
      h_event *e = h_find(EV_CLOSE, id, NULL);
      CHECK(e->reason == reasons[how], "case %d idle %d: reason %s, expected %s", how, idle, sipwire_reason_text(e->reason),
            sipwire_reason_text(reasons[how]));
      CHECK_NUM(1, h_count(EV_OPEN, id, NULL));
      if (peer->fd >= 0) h_await_end(peer, "the peer's side");
      h_close(peer);
      STAYS(20, h_count(EV_CLOSE, id, NULL) == 1, "case %d: a second on_close", how);
      WAIT_NUM(counted + 1, STAT(closed_by_reason)[reasons[how]]);
      WAIT_NUM(closed + 1, STAT(closed));
    }
  lifetime();
  traffic();
  WAIT(STAT(connections) == 0, "all closed");
  WAIT_NUM(h_total(EV_OPEN), h_total(EV_CLOSE));
  return h_finish();
}
