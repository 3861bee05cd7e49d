/* modes: threads processes */
/* conn_wq_max with queue_full=reject: only the new message is refused, everything accepted arrives. */
#include "queue.h"

enum { SIZE = 8000, LIMIT = 65536 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "64k");
  h_setting("queue_full", "reject");
  h_setting("send_timeout", "10m");
  h_start(2);
  sipwire_addr addr;
  int fd = h_listener_small(8, 8192, &addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, SIZE) >= 0, "first message");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "first message at the peer");
  uint32_t id = 0, n = 1;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  peer->paused = true;
  int32_t rc;
  n += h_fill(&target, 1, 1, SIZE, 2); /* nothing moves any more: what comes now stays in the queue */
  while ((rc = h_send_numbered_here(&target, 1, n++, SIZE)) >= 0) {
    CHECK(n < 4000, "no limit");
    WAIT_REST();
  }
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, rc);
  sipwire_conn_info info;
  CHECK(h_info(id, &info), "the connection was closed");
  CHECK(info.queued_bytes <= LIMIT && info.queued_bytes + SIZE > LIMIT, "queued_bytes is %llu", (unsigned long long)info.queued_bytes);
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, h_send_numbered_here(&target, 1, n++, SIZE));
  /* A smaller one that fits is taken. */
  if (info.queued_bytes + 400 <= LIMIT) CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, n++, 400));
  peer->paused = false;
  WAIT_FOR(60, (h_ledger_receive(peer), h_ledger_settled()), "all accepted messages arrive");
  CHECK_NUM(0, h_total(EV_FAILED));
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr));
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  WAIT(!(h_conn_flags(id) & SIPWIRE_CONN_ASYNC), "async mode ends");
  CHECK_RC(SIPWIRE_SENT, h_send_numbered_here(&target, 1, n++, 400));
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "the connection goes on");
  CHECK_NUM(0, h_count(EV_CLOSE, id, NULL));
  close(fd);
  return h_finish();
}
