/* modes: threads processes */
/* rows: K7 K8 */
/* A ping is due while output waits: it goes behind that, never inside a message, and the wait for the pong begins when it
 * is written. A flow that fails reports what it could not write. And a connection that we dialled: crlf_keepalive. */
#include "keepalive.h"

enum { SIZE = 16000 };

static uint64_t accepted_bytes(uint32_t id) {
  sipwire_conn_info info = info_of(id);
  return info.bytes_out + info.queued_bytes;
}

/* All that the peer has: whole messages, and between them the CRLFs of one ping. */
static void behind_the_queue(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 1, 0, SIZE, 4);
  uint64_t bytes = accepted_bytes(id), sent = STAT(pings_sent);
  set_live("pong_timeout", "300ms");
  keepalive(id, 10);
  WAIT(accepted_bytes(id) == bytes + 4, "K8: the ping is in the queue: %llu bytes, before %llu", (unsigned long long)accepted_bytes(id),
       (unsigned long long)bytes);
  for (int i = 0; i < 3; i++) CHECK(h_send_numbered_here(&target, 1, count++, SIZE) == SIPWIRE_QUEUED, "behind the ping");
  STAYS(1000, !h_find(EV_CLOSE, id, NULL) && STAT(pings_sent) == sent, "K8: the wait for the pong began before the ping was written");
  WAIT(accepted_bytes(id) == bytes + 4 + 3 * SIZE, "one ping waits, not more: %llu bytes", (unsigned long long)accepted_bytes(id));
  set_live("pong_timeout", "10m");
  peer->paused = false;
  h_frame frame = {0};
  for (uint32_t n = 0; n < count; n++) {
    WAIT(h_next(peer, &frame), "message %u of %u", n, count);
    CHECK(peer->pongs == (n < count - 3 ? 0 : 2), "K7: %zu CRLFs before message %u of %u, the ping was queued 3 before the end", peer->pongs, n, count);
    h_ledger_take(&frame);
  }
  CHECK_NUM(count, h_ledger_received(1));
  WAIT_NUM(sent + 1, STAT(pings_sent));
  CHECK_NUM(0, h_total(EV_FAILED));
  keepalive(id, FOUR_HOURS);
  uint64_t heard = STAT(pongs_heard);
  pong(peer);
  WAIT_NUM(heard + 1, STAT(pongs_heard));
  h_close(peer);
}

/* The ping went out, then output is stuck; no pong comes. */
static void reports(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  keepalive(id, 10);
  WAIT(pings(peer) == 1, "K8: a ping");
  peer->paused = true;
  uint32_t count = h_fill(&target, 2, 0, SIZE, 4);
  set_live("pong_timeout", "200ms");
  keepalive(id, 20); /* looks at its times */
  WAIT(h_find(EV_CLOSE, id, NULL), "K8: closed");
  CHECK_NUM(SIPWIRE_REASON_FLOW_FAILED, h_find(EV_CLOSE, id, NULL)->reason);
  h_tail_failed(2, count, SIZE, SIPWIRE_REASON_FLOW_FAILED);
  CHECK(h_ledger_failed(2) >= 3, "%u reports", h_ledger_failed(2));
  WAIT_NUM(0, STAT(queued_bytes));
  set_live("pong_timeout", "10m");
  h_close(peer);
}

/* Of connections that we dial; the destination of one that failed is dialled again. */
static void dialled(void) {
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr);
  uint32_t id[2];
  h_peer *peer[2];
  for (int on = 0; on < 2; on++) {
    set_live("crlf_keepalive", on ? "yes" : "no");
    uint64_t opened = h_total(EV_OPEN);
    target.flags = on ? SIPWIRE_SEND_FRESH : 0;
    CHECK(h_send_numbered_here(&target, 3, (uint32_t)on, 400) > 0, "dial");
    peer[on] = h_accept(fd);
    WAIT((h_ledger_receive(peer[on]), h_ledger_received(3) == (uint32_t)on + 1), "a message over the new connection");
    WAIT(h_nth(EV_OPEN, opened), "on_open");
    id[on] = h_nth(EV_OPEN, opened)->conn_id;
    CHECK_NUM(on ? SIPWIRE_KEEPALIVE_DEFAULT : 0, info_of(id[on]).keepalive_ms);
  }
  h_peer *client = h_client();
  CHECK_NUM(0, info_of(h_conn_of(client)).keepalive_ms); /* not of those that we accept */
  set_live("crlf_keepalive", "no");
  CHECK_NUM(SIPWIRE_KEEPALIVE_DEFAULT, info_of(id[1]).keepalive_ms);
  set_live("pong_timeout", "100ms");
  keepalive(id[1], 10);
  WAIT(h_find(EV_CLOSE, id[1], NULL), "K8: closed");
  CHECK_NUM(SIPWIRE_REASON_FLOW_FAILED, h_find(EV_CLOSE, id[1], NULL)->reason);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr));
  set_live("pong_timeout", "10m");
  CHECK(h_send_numbered_here(&target, 3, 2, 400) > 0, "dialled once more");
  peer[1] = h_accept(fd);
  WAIT((h_ledger_receive(peer[1]), h_ledger_received(3) == 3), "a message over the new connection");
  close(fd);
}

/* While it is being dialled nothing can be pinged; when it is open the ping is due. */
static void connecting(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 4, 0, 400) > 0, "dial");
  uint32_t id = 0;
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK, "the connecting connection");
  set_live("pong_timeout", "100ms");
  keepalive(id, 10);
  STAYS(500, h_conn_flags(id) & SIPWIRE_CONN_CONNECTING && !h_find(EV_CLOSE, id, NULL), "K8: failed while it is being dialled");
  set_live("pong_timeout", "10m");
  for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
  h_peer *peer = h_accept(full.fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(4) == 1) && pings(peer) == 1, "K8: message and ping");
  close(full.fd);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "30ms");
  h_setting("pong_timeout", "10m");
  h_setting("connection_lifetime", "10m");
  h_setting("connect_timeout", "10m");
  h_setting("send_timeout", "10m");
  h_setting("conn_wq_max", "8m");
  h_start(2);
  behind_the_queue();
  reports();
  dialled();
  connecting();
  return h_finish();
}
