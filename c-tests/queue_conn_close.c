/* modes: threads processes */
/* conn_wq_max with queue_full=close (the default): the message that would exceed it is refused, the connection is
 * closed, what it had queued is reported once, the destination is blacklisted. Other connections do not notice. */
#include "harness.h"

enum { SIZE = 8000, LIMIT = 65536 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "64k");
  h_setting("send_timeout", "90s");
  h_start(2);
  sipwire_addr addr;
  int fd = h_listener_small(8, 8192, &addr);
  h_peer *other = h_client();
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, SIZE) >= 0, "first message");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "first message at the peer");
  uint32_t id = 0, n = 1;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  peer->paused = true;

  sipwire_conn_info info;
  uint64_t most = 0;
  int32_t rc;
  n += h_fill(&target, 1, 1, SIZE, 2); /* nothing moves any more: what comes now stays in the queue */
  for (; (rc = h_send_numbered_here(&target, 1, n, SIZE)) >= 0; n++) {
    if (h_info(id, &info) && info.queued_bytes > most) most = info.queued_bytes;
    CHECK(n < 4000, "no limit");
  }
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, rc);
  CHECK(most <= LIMIT, "%llu bytes were queued, conn_wq_max is %d", (unsigned long long)most, LIMIT);
  CHECK(most + SIZE > LIMIT, "refused with %llu bytes queued: %d more fit into %d", (unsigned long long)most, SIZE, LIMIT);
  WAIT(h_find(EV_CLOSE, id, NULL), "the connection is closed");
  CHECK_NUM(SIPWIRE_REASON_CONN_QUEUE_FULL, h_find(EV_CLOSE, id, NULL)->reason);
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  h_tail_failed(1, n, SIZE, SIPWIRE_REASON_CONN_QUEUE_FULL);
  CHECK(h_ledger_failed(1) >= most / SIZE, "%u reports for %llu queued bytes", h_ledger_failed(1), (unsigned long long)most);
  CHECK(!h_failure((uint64_t)1 << 32 | n), "the refused message is reported as well");
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 1, n + 1, SIZE));
  WAIT_NUM(1, STAT(closed_by_reason)[SIPWIRE_REASON_CONN_QUEUE_FULL]);
  CHECK(STAT(sends_refused) >= 2, "sends_refused is %llu", (unsigned long long)STAT(sends_refused));

  h_write_text(other, h_request("OPTIONS", "other", NULL, NULL));
  h_await_answer(other, 200, "other");
  close(fd);
  return h_finish();
}
