/* modes: threads processes */
/* wq_max is used up by others when a message is written directly. If the kernel takes nothing of it, it is refused, and
 * does not begin a queue. If the kernel takes a part, the rest is admitted whatever the limit says: half a message would
 * be worth nothing, and end the connection. */
#include "queue.h"

enum { LIMIT = 200000, SIZE = 8000, LARGE = 60000 };
static sipwire_addr elsewhere;
static h_full_listener full;

/* Not one byte more: a connection that is being dialled holds all that may be queued. */
static void use_up(uint32_t tag) {
  full = h_full_listener_open(&elsewhere);
  sipwire_target target = h_to_addr(&elsewhere);
  for (uint32_t n = 0; n < LIMIT / SIZE; n++) CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, n, SIZE));
  WAIT(STAT(queued_bytes) == LIMIT, "%llu bytes are queued", (unsigned long long)STAT(queued_bytes));
}

/* A peer that reads nothing, and to which this process writes by itself. */
static h_peer *writable_client(uint32_t *id, uint32_t tag, uint32_t *next) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  *id = h_conn_of(peer);
  sipwire_target target = h_to_conn(*id);
  int32_t rc = 0;
  WAIT((rc = h_send_numbered_here(&target, tag, (*next)++, 400)) != SIPWIRE_QUEUED, "direct writes begin");
  CHECK_RC(SIPWIRE_SENT, rc);
  WAIT((h_ledger_receive(peer), h_ledger_received(tag) == *next), "received");
  peer->paused = true;
  return peer;
}

/* Single bytes, since the kernel takes those whole or not at all. */
static int32_t send_bytes(uint32_t id) {
  sipwire_target target = h_to_conn(id);
  int32_t rc = SIPWIRE_SENT;
  for (int n = 0; n < 10000000 && rc == SIPWIRE_SENT; n++) rc = h_send_here(&target, "x", 1, 1);
  return rc;
}

static void nothing_taken(h_peer *peer, uint32_t id) {
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, send_bytes(id));
  CHECK_NUM(LIMIT, STAT(queued_bytes));
  sipwire_conn_info info;
  CHECK(h_info(id, &info) && !(info.flags & SIPWIRE_CONN_CLOSING), "the connection is closed");
  CHECK_NUM(0, info.queued_bytes);
  /* With queue_full=close it ends, and its peer dialled us: that is nothing to be blacklisted for. */
  set_live("queue_full", "close");
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, send_bytes(id));
  WAIT(h_find(EV_CLOSE, id, NULL), "closed");
  CHECK_NUM(SIPWIRE_REASON_TOTAL_QUEUE_FULL, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &peer->local));
  CHECK_NUM(0, STAT(blacklist_entries));
  CHECK_NUM(0, h_total(EV_FAILED)); /* those that fill the queues stay there */
  CHECK_NUM(LIMIT, STAT(queued_bytes));
  set_live("queue_full", "reject");
  h_close(peer);
}

static void a_part_taken(h_peer *peer, uint32_t id, uint32_t next) {
  sipwire_target target = h_to_conn(id);
  sipwire_conn_info info;
  int32_t rc;
  do { /* when the kernel happens to be full at the end of one, the next is refused: then the peer makes a little room */
    rc = h_send_numbered_here(&target, 3, next++, LARGE);
    CHECK(rc > 0 || rc == SIPWIRE_E_TOTAL_QUEUE_FULL, "message %u: %d (%s)", next - 1, rc, sipwire_strerror(rc));
    CHECK(next < 4000, "the kernel takes everything");
    peer->paused = rc > 0;
    h_tick();
    peer->paused = true;
  } while (rc != SIPWIRE_QUEUED);
  CHECK(h_info(id, &info) && info.queued_bytes < LARGE, "%llu bytes are queued: no part of it was taken", (unsigned long long)info.queued_bytes);
  CHECK(STAT(queued_bytes) >= LIMIT, "there was room");
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, h_send_numbered_here(&target, 3, next++, LARGE)); /* but not for another one */
  CHECK_NUM(0, h_conn_flags(id) & SIPWIRE_CONN_CLOSING);
  peer->paused = false;
  WAIT((h_ledger_receive(peer), h_ledger_received(3) == h_ledger_accepted(3)), "every accepted message arrives whole");
  CHECK(!h_ended(peer), "the connection ended");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("wq_max", "200000");
  h_setting("queue_full", "reject");
  h_setting("send_timeout", "10m");
  h_setting("connect_timeout", "10m");
  h_start(2);
  uint32_t id[2], next[2] = {0, 0};
  h_peer *client[2] = {writable_client(&id[0], 1, &next[0]), writable_client(&id[1], 3, &next[1])};
  use_up(2);
  nothing_taken(client[0], id[0]);
  a_part_taken(client[1], id[1], next[1]);
  for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
  h_peer *peer = h_accept(full.fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(2) == h_ledger_accepted(2)), "what was dialled for arrives");
  h_ledger_check();
  close(full.fd);
  return h_finish();
}
