/* modes: threads processes */
/* rows: C6 */
/* connections_per_destination: one unless more are wanted; a hash keeps to its connection, in order, while that lives;
 * without a hash the least loaded is used, and a further one is dialled when all have something queued. */
#include "deadline.h"

enum { SENDERS = 4, LANES = 3, HASHES = 6, EACH = 200 };
static h_sender *senders[SENDERS];

static sipwire_target hashed(const sipwire_addr *addr, uint32_t hash) {
  sipwire_target target = h_to_addr(addr);
  target.hash = hash;
  return target;
}

/* Takes what the peer has, and notes over which peer each sender's (tag's) messages came: one and the same. */
static h_peer *came_over[64];
static void take(h_peer *peer) {
  h_frame frame;
  char value[64];
  while (peer && peer->fd >= 0 && h_next(peer, &frame)) {
    CHECK(h_header(frame.data, frame.header_length, "X-Number", value, sizeof value), "a numbered message");
    uint32_t tag = (uint32_t)atoi(value);
    h_ledger_take(&frame); /* in order, or it fails */
    CHECK(!came_over[tag] || came_over[tag] == peer, "the messages of hash %u came over two connections", tag);
    came_over[tag] = peer;
  }
}
static bool take_all(h_peer **peers, int count) {
  for (int i = 0; i < count; i++) take(peers[i]);
  return h_ledger_settled();
}

/* Tag and hash are one number here; hash 1 and 4, 2 and 5, 3 and 6 share a lane of three. */
static void by_hash(void) {
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  h_peer *peer[LANES + 1] = {0};
  uint64_t dialled = STAT(dialled);
  set_live("connections_per_destination", "3");
  for (uint32_t round = 0; round < 2; round++) {
    for (uint32_t hash = 1; hash <= HASHES; hash += SENDERS) {
      for (uint32_t i = 0; i < SENDERS && hash + i <= HASHES; i++) {
        sipwire_target target = hashed(&addr, hash + i);
        h_hold(senders[i]);
        h_send_numbered(senders[i], &target, hash + i, round * EACH, EACH, 400);
      }
      h_release();
      for (uint32_t i = 0; i < SENDERS && hash + i <= HASHES; i++) h_sender_wait(senders[i]);
    }
    for (int i = 0; i < LANES && !round; i++) peer[i] = h_accept(fd);
    WAIT(take_all(peer, LANES), "round %u: every message, each hash's over one connection", round);
    CHECK(STAT(dialled) == dialled + LANES && !h_accept_now(fd), "%llu were dialled", (unsigned long long)(STAT(dialled) - dialled));
  }
  for (uint32_t hash = 1; hash <= 3; hash++) {
    CHECK(came_over[hash] == came_over[hash + 3], "hash %u and %u have one lane", hash, hash + 3);
    CHECK(came_over[hash] != came_over[hash % 3 + 1], "hash %u and %u have two lanes", hash, hash % 3 + 1);
  }

  /* One of them ends: its hashes get a new one, the others keep theirs. */
  h_peer *gone = came_over[2];
  h_close(gone);
  WAIT(STAT(connections) == LANES - 1, "closed");
  for (int i = 0; i < LANES; i++)
    if (peer[i] == gone) peer[i] = NULL;
  came_over[2] = came_over[5] = NULL;
  for (uint32_t hash = 1; hash <= HASHES; hash++) {
    sipwire_target target = hashed(&addr, hash);
    CHECK(h_send_numbered_here(&target, hash, 2 * EACH, 400) > 0, "hash %u", hash);
  }
  peer[LANES] = h_accept(fd);
  WAIT(take_all(peer, LANES + 1), "the messages behind the end of one");
  CHECK(came_over[2] == peer[LANES] && came_over[5] == peer[LANES], "the hashes of the one that ended have the new one");
  CHECK_NUM(dialled + LANES + 1, STAT(dialled));

  /* One that may not be dialled: another open one serves. */
  h_close(peer[LANES]);
  WAIT(STAT(connections) == LANES - 1, "closed");
  came_over[2] = NULL;
  sipwire_target target = hashed(&addr, 2);
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK(h_send_numbered_here(&target, 2, 2 * EACH + 1, 400) > 0, "NO_CONNECT uses an open one of another lane");
  CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &addr, 60000));
  target.flags = 0;
  CHECK(h_send_numbered_here(&target, 2, 2 * EACH + 2, 400) > 0, "blacklisted: an open one of another lane");
  WAIT(take_all(peer, LANES), "both over an open one");
  CHECK(STAT(dialled) == dialled + LANES + 1 && !h_accept_now(fd), "dialled although that was forbidden");
  for (int i = 0; i < LANES; i++)
    if (peer[i]) h_close(peer[i]);
  WAIT(STAT(connections) == 0, "closed");
  set_live("connections_per_destination", "1");
  close(fd);
}

/* What one connection does not take does not hold up the next message. */
static void by_load(void) {
  enum { FIRST = 20, SECOND, BOTH };
  sipwire_addr addr;
  int fd = h_listener_small(8, 4096, &addr);
  sipwire_target target = h_to_addr(&addr);
  uint64_t dialled = STAT(dialled);
  CHECK(h_send_numbered_here(&target, FIRST, 0, 1000) > 0, "the first message");
  h_peer *one = h_accept(fd);
  WAIT((h_ledger_receive(one), h_ledger_received(FIRST) == 1), "the first message");
  one->paused = true;
  uint32_t sent = h_fill(&target, FIRST, 1, 1000, 12);
  CHECK_NUM(dialled + 1, STAT(dialled)); /* C6: one, as by default */
  uint32_t first = 0, second = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &first));
  sipwire_conn_info info;

  set_live("connections_per_destination", "2");
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, FIRST, sent + 1, 1000)); /* behind the others: the further one is not connected yet */
  h_peer *two = h_accept(fd);
  WAIT((sipwire_conn_find(h_instance, &addr, NULL, &second), second != first), "the second");
  WAIT(h_info(second, &info) && !(info.flags & (SIPWIRE_CONN_CONNECTING | SIPWIRE_CONN_ASYNC)), "the second is connected");
  for (uint32_t n = 0; n < 10; n++) CHECK(h_send_numbered_here(&target, SECOND, n, 1000) > 0, "message %u", n);
  WAIT((take(two), h_ledger_received(SECOND) == 10), "what follows goes over the one with nothing queued");

  /* Both have something queued, and there are two: the one with less. */
  two->paused = true;
  sipwire_target by_id = h_to_conn(second);
  uint32_t more = h_fill(&by_id, SECOND, 10, 1000, 40);
  sipwire_conn_info a, b;
  CHECK(h_info(first, &a) && h_info(second, &b) && a.queued_bytes < b.queued_bytes, "%llu and %llu are queued", (unsigned long long)a.queued_bytes,
        (unsigned long long)b.queued_bytes);
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, BOTH, 0, 1000));
  CHECK(STAT(dialled) == dialled + 2 && !h_accept_now(fd), "a third was dialled");
  one->paused = two->paused = false;
  WAIT((take(one), take(two), h_ledger_settled()), "everything arrives");
  CHECK(came_over[FIRST] == one, "the message that made it dial waits on the first, and does not depend on the further one");
  CHECK(came_over[SECOND] == two && came_over[BOTH] == one, "of two queues the shorter one is taken");
  CHECK_NUM(sent + 2, h_ledger_received(FIRST));
  CHECK_NUM(more + 10, h_ledger_received(SECOND));
  h_close(one), h_close(two);
  close(fd);
  set_live("connections_per_destination", "1");
}

/* Beside a connection that the peer opened none is dialled: nobody listens at its port. */
static void beside_the_peers(void) {
  enum { TAG = 30 };
  h_peer *peer = h_client();
  h_conn_of(peer);
  uint64_t dialled = STAT(dialled);
  set_live("connections_per_destination", "4");
  for (uint32_t hash = 0; hash < 5; hash++) {
    sipwire_target target = hashed(&peer->local, hash);
    CHECK(h_send_numbered_here(&target, TAG, hash, 400) > 0, "hash %u to a peer's own connection", hash);
  }
  WAIT((h_ledger_receive(peer), h_ledger_received(TAG) == 5), "all over it");
  CHECK_NUM(dialled, STAT(dialled));
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_start(2);
  char value[16];
  CHECK(sipwire_get(h_instance, "connections_per_destination", value, sizeof value) == 1 && *value == '1', "the default is %s", value);
  for (int i = 0; i < SENDERS; i++) senders[i] = h_sender_new();
  by_hash();
  by_load();
  beside_the_peers();
  CHECK_NUM(0, h_total(EV_FAILED));
  return h_finish();
}
