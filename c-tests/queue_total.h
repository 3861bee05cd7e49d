/* wq_max, the limit of all queues together, under both policies of queue_full. Four connections that are being
 * dialled hold what is queued. close: the connection whose queue would exceed it is closed and reported; reject:
 * only the new message is refused. In both the others deliver all they accepted. */
#include "harness.h"

enum { CONNS = 4, SIZE = 8000, LIMIT = 200000 };

static int queue_total(int argc, char **argv, const char *policy) {
  bool close_policy = strcmp(policy, "close") == 0;
  h_init(argc, argv);
  h_setting("conn_wq_max", "100000");
  h_setting("wq_max", "200000");
  h_setting("queue_full", policy);
  h_setting("connect_timeout", "60s");
  h_start(2);
  sipwire_addr addr[CONNS];
  h_full_listener full[CONNS];
  sipwire_target target[CONNS];
  for (int i = 0; i < CONNS; i++) {
    full[i] = h_full_listener_open(&addr[i]);
    target[i] = h_to_addr(&addr[i]);
  }
  uint32_t n = 0;
  int32_t rc = SIPWIRE_QUEUED;
  int victim = 0;
  for (; rc >= 0 && n < 4096; n++) {
    victim = (int)(n % CONNS);
    rc = h_send_numbered_here(&target[victim], (uint32_t)victim + 1, n / CONNS, SIZE);
  }
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
  uint32_t accepted = 0, queued_by_victim = h_ledger_accepted((uint32_t)victim + 1);
  for (uint32_t tag = 1; tag <= CONNS; tag++) accepted += h_ledger_accepted(tag);
  CHECK_NUM(LIMIT / SIZE, accepted);

  if (close_policy) {
    WAIT(h_ledger_failed((uint32_t)victim + 1) == queued_by_victim, "%u of %u messages of the closed connection are reported",
         h_ledger_failed((uint32_t)victim + 1), queued_by_victim);
    h_event *e = h_nth(EV_FAILED, 0);
    CHECK(e->reason == SIPWIRE_REASON_TOTAL_QUEUE_FULL, "reason is %s", sipwire_reason_text(e->reason));
    WAIT(STAT(closed_by_reason)[SIPWIRE_REASON_TOTAL_QUEUE_FULL] == 1, "closed_by_reason counts it");
    CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr[victim]));
    WAIT(STAT(queued_bytes) == (accepted - queued_by_victim) * SIZE, "queued_bytes is %llu", (unsigned long long)STAT(queued_bytes));
  } else {
    CHECK_NUM(accepted * SIZE, STAT(queued_bytes));
    CHECK_NUM(0, h_total(EV_FAILED));
    CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr[victim]));
  }

  h_peer *peer[CONNS] = {0};
  for (int i = 0; i < CONNS; i++)
    for (int k = 0; k < full[i].fillers; k++) h_close(h_accept(full[i].fd));
  for (int i = 0; i < CONNS; i++) {
    if (close_policy && i == victim) continue;
    peer[i] = h_accept(full[i].fd);
    WAIT((h_ledger_receive(peer[i]), h_ledger_received((uint32_t)i + 1) == h_ledger_accepted((uint32_t)i + 1)), "connection %d delivers", i);
  }
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  h_ledger_check();
  int other = (victim + 1) % CONNS; /* room again */
  CHECK(h_send_numbered_here(&target[other], (uint32_t)other + 1, 2000, SIZE) >= 0, "send after the queues are empty");
  WAIT((h_ledger_receive(peer[other]), h_ledger_settled()), "it arrives");
  CHECK_NUM(0, STAT(queued_bytes));
  for (int i = 0; i < CONNS; i++) close(full[i].fd);
  return h_finish();
}
