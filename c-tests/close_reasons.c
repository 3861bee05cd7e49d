/* modes: threads processes */
/* Lifetime, close by the host, close after send, FIN, RST: exactly one on_close each, with the right reason, behind
 * its on_open. Idle connections and connections that a worker holds alike. */
#include "harness.h"

typedef enum { LIFETIME, OWN_LIFETIME, HOST, RETURNED, AFTER_SEND, PEER_FIN, PEER_RST, FIN_IN_MESSAGE, CASES } ending;
static const int reasons[CASES] = {SIPWIRE_REASON_LIFETIME, SIPWIRE_REASON_LIFETIME, SIPWIRE_REASON_HOST, SIPWIRE_REASON_HOST,
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

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "200ms");
  h_setting("connection_lifetime", "6s");
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

  h_peer *peer;
  uint32_t id = begin_one(LIFETIME, true, &peer);
  uint64_t begin = h_now_ms();
  WAIT(h_find(EV_CLOSE, id, NULL), "closed at connection_lifetime");
  CHECK(h_find(EV_CLOSE, id, NULL)->time_ms - begin >= 5000, "closed after %llu ms, connection_lifetime is 6 s",
        (unsigned long long)(h_find(EV_CLOSE, id, NULL)->time_ms - begin));
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, id, NULL)->reason);
  h_await_end(peer, "the peer's side");
  h_close(peer);

  /* A connection with traffic does not reach its lifetime. */
  peer = h_client();
  id = h_conn_of(peer);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_lifetime(h_instance, id, 1500));
  for (int i = 0; i < 10; i++) {
    h_write_text(peer, h_request("OPTIONS", "busy", NULL, NULL));
    h_await_answer(peer, 200, "busy");
    h_sleep_ms(300);
  }
  CHECK(!h_find(EV_CLOSE, id, NULL), "a busy connection was closed");
  h_close(peer);
  WAIT(STAT(connections) == 0, "all closed");
  WAIT_NUM(h_total(EV_OPEN), h_total(EV_CLOSE));
  return h_finish();
}
