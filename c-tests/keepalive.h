/* For tests of keep-alive (RFC 5626): what a peer makes of pings. */
#ifndef SIPWIRE_TEST_KEEPALIVE_H
#define SIPWIRE_TEST_KEEPALIVE_H
#include "deadline.h"

enum { FOUR_HOURS = 4 * 3600 * 1000 };

/* CRLFs between messages that the peer has received: two for each ping of ours, one for each pong. */
static inline size_t crlfs(h_peer *peer) {
  h_frame frame;
  while (h_next(peer, &frame)) {}
  return peer->pongs;
}
static inline size_t pings(h_peer *peer) { return crlfs(peer) / 2; }

static inline void pong(h_peer *peer) { h_write(peer, "\r\n", 2); }

static inline void keepalive(uint32_t id, int64_t interval_ms) {
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_keepalive(h_instance, id, interval_ms));
}

static inline sipwire_conn_info info_of(uint32_t id) {
  sipwire_conn_info info;
  CHECK(h_info(id, &info), "connection %#x is gone", id);
  return info;
}

static inline void ask(h_peer *peer, const char *id) {
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_await_answer(peer, 200, id);
}

/* Ended for this reason, not before `limit_ms` after `before_ms`. */
#define CHECK_CLOSED(row, id, want, before_ms, after_ms, limit_ms)                                                     \
  do {                                                                                                                 \
    WAIT(h_find(EV_CLOSE, id, NULL), row ": the connection is closed");                                                \
    h_event *close_ = h_find(EV_CLOSE, id, NULL);                                                                      \
    CHECK(close_->reason == (want), row ": closed for \"%s\"", sipwire_reason_text(close_->reason));                   \
    CHECK_ACTED(row, before_ms, after_ms, limit_ms, close_->time_ms);                                                  \
  } while (0)
#endif
