/* modes: threads processes */
/* conn_wq_max with queue_full=close (the default): the message that would exceed it is refused, the connection is
 * closed, what it had queued is reported once. The destination is blacklisted if we dialled it, not if it dialled us.
 * Other connections do not notice. */
#include "queue.h"

enum { SIZE = 8000, LIMIT = 65536 };

/* Returns how many messages were sent; the last of them was refused. */
static uint32_t fill_up(h_peer *peer, uint32_t id, const sipwire_target *target, uint32_t tag, uint32_t n) {
  sipwire_conn_info info;
  uint64_t most = 0, refused = STAT(sends_refused);
  int32_t rc;
  peer->paused = true;
  n += h_fill(target, tag, n, SIZE, 2); /* nothing moves any more: what comes now stays in the queue */
  for (; (rc = h_send_numbered_here(target, tag, n, SIZE)) >= 0; n++) {
    WAIT_REST();
    if (h_info(id, &info) && info.queued_bytes > most) most = info.queued_bytes;
    CHECK(n < 4000, "no limit");
  }
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, rc);
  CHECK(most <= LIMIT, "%llu bytes were queued, conn_wq_max is %d", (unsigned long long)most, LIMIT);
  CHECK(most + SIZE > LIMIT, "refused with %llu bytes queued: %d more fit into %d", (unsigned long long)most, SIZE, LIMIT);
  WAIT(h_find(EV_CLOSE, id, NULL), "the connection is closed");
  CHECK_NUM(SIPWIRE_REASON_CONN_QUEUE_FULL, h_find(EV_CLOSE, id, NULL)->reason);
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  h_tail_failed(tag, n, SIZE, SIPWIRE_REASON_CONN_QUEUE_FULL);
  CHECK(h_ledger_failed(tag) >= most / SIZE, "%u reports for %llu queued bytes", h_ledger_failed(tag), (unsigned long long)most);
  CHECK(!h_failure((uint64_t)tag << 32 | n), "the refused message is reported as well");
  CHECK(STAT(sends_refused) > refused, "the refusal is not counted");
  return n + 1;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "64k");
  h_setting("send_timeout", "10m");
  h_start(2);
  sipwire_addr addr, listener = h_listener(0);
  int fd = h_listener_small(8, 8192, &addr);
  h_peer *other = h_client();
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, SIZE) >= 0, "first message");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "first message at the peer");
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  uint32_t n = fill_up(peer, id, &target, 1, 1);
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 1, n, SIZE));
  WAIT_NUM(1, STAT(closed_by_reason)[SIPWIRE_REASON_CONN_QUEUE_FULL]);

  h_peer *client = h_connect_small(&listener, 8192);
  id = h_conn_of(client);
  target = h_to_conn(id);
  n = fill_up(client, id, &target, 2, 0);
  CHECK(sipwire_blacklist_check(h_instance, &client->local) == 0, "a peer that dialled us is blacklisted");
  CHECK_NUM(1, STAT(blacklist_entries));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 2, n, SIZE));
  WAIT_NUM(2, STAT(closed_by_reason)[SIPWIRE_REASON_CONN_QUEUE_FULL]);

  h_write_text(other, h_request("OPTIONS", "other", NULL, NULL));
  h_await_answer(other, 200, "other");
  close(fd);
  return h_finish();
}
