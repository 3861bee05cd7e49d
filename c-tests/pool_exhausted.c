/* modes: threads processes */
/* All blocks for messages are taken, by many small ones that wait for peers who do not read: the next is refused as one too
 * many in all, under either policy, and nothing but what waits itself is closed. Who has a block in reserve is answered
 * and sends directly all the same. When the peers read, all that was accepted arrives and everything goes on. */
#include "deadline.h"

enum { STUCK = 4, SIZE = 400, HEALTHY = 6, MOST = 8000 };
static h_peer *stuck[STUCK], *healthy[HEALTHY];
static sipwire_target to[STUCK];
static uint32_t sent[STUCK + 1];

static void served(const char *id) {
  for (int i = 0; i < HEALTHY; i++) h_write_text(healthy[i], h_request("OPTIONS", id, NULL, NULL));
  for (int i = 0; i < HEALTHY; i++) h_await_answer(healthy[i], 200, id);
}

static void connect_stuck(int i) {
  sipwire_addr listener = h_listener(0);
  stuck[i] = h_connect_small(&listener, 4096);
  stuck[i]->paused = true;
  to[i] = h_to_conn(h_conn_of(stuck[i]));
  sent[i] += h_fill(&to[i], (uint32_t)i, sent[i], SIZE, 3);
}

/* Until the pool has no block left. */
static void exhaust(void) {
  int32_t rc = 0;
  for (int n = 0; rc >= 0; n++) {
    CHECK(n < MOST, "%d messages, %llu of %llu blocks, and no end", n, (unsigned long long)STAT(blocks_used), (unsigned long long)STAT(blocks_total));
    int i = 1 + n % (STUCK - 1);
    rc = h_send_numbered_here(&to[i], (uint32_t)i, sent[i]++, SIZE);
  }
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
  CHECK(STAT(queued_bytes) < 1 << 20, "wq_max refused first");
}

static void reads(int i) {
  stuck[i]->paused = false;
  WAIT((h_ledger_receive(stuck[i]), h_ledger_received((uint32_t)i) == h_ledger_accepted((uint32_t)i)), "peer %d: %u of %u messages", i,
       h_ledger_received((uint32_t)i), h_ledger_accepted((uint32_t)i));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("wq_max", "64k"); /* this sizes the pool */
  h_setting("max_message_size", "1k");
  h_setting("participants", "16");
  h_setting("send_timeout", "10m");
  h_setting("queue_full", "reject");
  h_start(2);
  set_live("max_message_size", "64k");
  set_live("wq_max", "1g");
  set_live("conn_wq_max", "1g");
  for (int i = 0; i < HEALTHY; i++) healthy[i] = h_client();
  served("before");
  for (int i = 1; i < STUCK; i++) connect_stuck(i);
  exhaust();
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, h_send_numbered_here(&to[1], 1, sent[1]++, 60000));
  sipwire_addr nowhere;
  int fd = h_listener_open(4, &nowhere);
  sipwire_target dial = h_to_addr(&nowhere);
  int32_t rc = h_send_numbered_here(&dial, 9, 0, 60000); /* a dial needs blocks too */
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
  set_live("queue_full", "close"); /* what others queued is no reason to close one on which nothing waits */
  sipwire_target to_healthy = h_to_conn(h_conn_of(healthy[0]));
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, h_send_numbered_here(&to_healthy, 8, 0, 60000));
  set_live("queue_full", "reject");
  served("meanwhile");
  STAYS(200, h_total(EV_CLOSE) == 0, "closed under queue_full=reject");
  CHECK_NUM(0, h_total(EV_FAILED));
  for (int i = 1; i < STUCK; i++) reads(i);
  h_ledger_check();
  WAIT(STAT(queued_bytes) == 0, "%llu bytes are queued", (unsigned long long)STAT(queued_bytes));
  WAIT(h_total(EV_WRITABLE) > 0, "on_writable");
  CHECK(h_send_numbered_here(&to[1], 1, sent[1]++, 60000) > 0, "the next one");
  reads(1);

  set_live("queue_full", "close");
  for (int i = 1; i < STUCK; i++) h_close(stuck[i]);
  WAIT_NUM(HEALTHY, STAT(connections));
  uint64_t closed = h_total(EV_CLOSE);
  for (int i = 1; i < STUCK; i++) connect_stuck(i);
  exhaust();
  WAIT(h_total(EV_CLOSE) > closed, "the one whose message was refused is closed");
  served("after");
  for (size_t n = closed; h_nth(EV_CLOSE, n); n++) CHECK_NUM(SIPWIRE_REASON_TOTAL_QUEUE_FULL, h_nth(EV_CLOSE, n)->reason);
  CHECK_NUM(closed + 1, h_total(EV_CLOSE));
  WAIT(h_total(EV_FAILED) > 0, "what it had accepted is reported");
  close(fd);
  return h_finish();
}
