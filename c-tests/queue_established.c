/* modes: threads processes */
/* wq_max, the limit of all queues together, on connections that are open and whose peers do not read: all together
 * never pass it, a refusal comes when the next message would. reject: all accepted ones arrive. close: the connection
 * that would pass it ends and is reported, without a word on the blacklist about a peer that dialled us. */
#include "queue.h"

enum { CONNS = 3, SIZE = 8000, LIMIT = 400000 };
static h_peer *peer[CONNS];
static uint32_t id[CONNS], next[CONNS];

/* Returns the number of the connection on which a message was refused. */
static int send_until_refused(void) {
  for (uint32_t n = 0;; n++) {
    int i = (int)(n % CONNS);
    sipwire_target target = h_to_conn(id[i]);
    uint64_t before = STAT(queued_bytes);
    int32_t rc = h_send_numbered_here(&target, (uint32_t)i + 1, next[i]++, SIZE);
    uint64_t after = STAT(queued_bytes);
    CHECK(after <= LIMIT, "%llu bytes are queued, wq_max is %d", (unsigned long long)after, LIMIT);
    if (rc < 0) {
      CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
      CHECK(before + SIZE > LIMIT, "refused with %llu bytes queued", (unsigned long long)before);
      return i;
    }
    CHECK(n < 10000, "no limit");
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("wq_max", "400000");
  h_setting("queue_full", "reject");
  h_setting("send_timeout", "10m");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  for (int i = 0; i < CONNS; i++) {
    peer[i] = h_connect_small(&listener, 8192);
    id[i] = h_conn_of(peer[i]);
    peer[i]->paused = true;
    sipwire_target target = h_to_conn(id[i]);
    next[i] = h_fill(&target, (uint32_t)i + 1, 0, SIZE, 3); /* from now on nothing moves */
  }
  send_until_refused();
  for (int i = 0; i < CONNS; i++) CHECK_NUM(0, h_conn_flags(id[i]) & SIPWIRE_CONN_CLOSING);

  set_live("queue_full", "close");
  int victim = send_until_refused();
  uint32_t tag = (uint32_t)victim + 1;
  WAIT(h_find(EV_CLOSE, id[victim], NULL), "the connection of the refused message is closed");
  CHECK_NUM(SIPWIRE_REASON_TOTAL_QUEUE_FULL, h_find(EV_CLOSE, id[victim], NULL)->reason);
  CHECK(h_ledger_failed(tag) >= 2, "%u reports", h_ledger_failed(tag));
  CHECK_NUM(h_ledger_failed(tag), h_total(EV_FAILED)); /* nobody else's */
  for (size_t n = 0; n < h_total(EV_FAILED); n++) CHECK_NUM(SIPWIRE_REASON_TOTAL_QUEUE_FULL, h_nth(EV_FAILED, n)->reason);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &peer[victim]->local));
  CHECK_NUM(0, STAT(blacklist_entries));
  WAIT_NUM(1, STAT(closed_by_reason)[SIPWIRE_REASON_TOTAL_QUEUE_FULL]);

  for (int i = 0; i < CONNS; i++) {
    if (i == victim) continue;
    peer[i]->paused = false;
    WAIT_FOR(60, (h_ledger_receive(peer[i]), h_ledger_received((uint32_t)i + 1) == h_ledger_accepted((uint32_t)i + 1)), "connection %d delivers", i);
    CHECK_NUM(0, h_ledger_failed((uint32_t)i + 1));
  }
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  return h_finish();
}
