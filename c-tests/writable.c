/* modes: threads processes */
/* on_writable after a refusal with queue_full=reject: also when blocks and not bytes were used up, and never for a
 * connection whose end was told. */
#include "harness.h"

static char large[4000];

static h_peer *slow_client(uint32_t *id) {
  sipwire_addr addr = h_listener(0);
  h_peer *peer = h_connect_small(&addr, 4096);
  h_write_text(peer, h_request("OPTIONS", "slow", "X-Silent: 1\r\n", NULL));
  *id = h_conn_of(peer);
  return peer;
}

static void fill(uint32_t id, const char *text, size_t length, int32_t until) {
  sipwire_target target = h_to_conn(id);
  int32_t rc = SIPWIRE_SENT;
  for (int n = 0; n < 200000 && rc != until; n++) {
    rc = h_send_here(&target, text, length, 1);
    CHECK(rc >= 0 || rc == until, "send: %d (%s)", rc, sipwire_strerror(rc));
  }
  CHECK_RC(until, rc);
}

/* Small messages: a block each, long before wq_max. */
static void out_of_blocks(void) {
  uint32_t id;
  h_peer *peer = slow_client(&id);
  peer->paused = true;
  sipwire_target target = h_to_conn(id);
  h_fill(&target, 1, 0, 4000, 4);
  fill(id, "OPTIONS s", 9, SIPWIRE_E_TOTAL_QUEUE_FULL);
  CHECK(STAT(queued_bytes) < 60000, "%llu bytes are queued: this is not about blocks", (unsigned long long)STAT(queued_bytes));
  /* Who has nothing queued is refused, and not closed for what others queued. */
  h_peer *healthy = h_client();
  h_write_text(healthy, h_request("OPTIONS", "healthy", "X-Silent: 1\r\n", NULL));
  uint32_t healthy_id = h_conn_of(healthy);
  target = h_to_conn(healthy_id);
  int32_t rc = SIPWIRE_SENT;
  for (int i = 0; i < 100 && rc == SIPWIRE_SENT; i++) { /* the kernel may have taken a little more meanwhile */
    fill(id, "OPTIONS s", 9, SIPWIRE_E_TOTAL_QUEUE_FULL);
    CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "queue_full", "close", NULL, 0));
    rc = h_send_here(&target, "OPTIONS s", 9, 1);
    CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "queue_full", "reject", NULL, 0));
  }
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
  sipwire_conn_info info;
  STAYS(100, h_info(healthy_id, &info) && h_find(EV_CLOSE, healthy_id, NULL) == NULL, "it was closed");
  peer->paused = false;
  WAIT(STAT(queued_bytes) == 0, "drained");
  WAIT(h_count(EV_WRITABLE, id, NULL) >= 1, "there is room again");
  WAIT(h_find(EV_WRITABLE, healthy_id, NULL), "and for the other one");
  h_reset(peer); /* not answered: closed by FIN they would wait for half_close_timeout */
  h_reset(healthy);
  WAIT(STAT(slots_used) == 0, "closed");
}

/* Refused because of another's queue; the connection ends while it waits for room. */
static void ended_while_waiting(void) {
  uint32_t full, id;
  h_peer *other = slow_client(&full), *peer = slow_client(&id);
  other->paused = peer->paused = true;
  fill(full, large, sizeof large, SIPWIRE_E_TOTAL_QUEUE_FULL);
  fill(id, large, sizeof large, SIPWIRE_E_TOTAL_QUEUE_FULL);
  sipwire_conn_info info;
  peer->paused = false;
  WAIT(h_info(id, &info) && info.queued_bytes == 0, "its own queue is empty");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id));
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  /* Before it there may be one: when its own queue was empty there may have been room in all together. */
  size_t told = h_count(EV_WRITABLE, id, NULL);
  CHECK(told == 0 || (told == 1 && h_find(EV_WRITABLE, id, NULL) < h_find(EV_CLOSE, id, NULL)), "%zu times on_writable", told);
  other->paused = false;
  WAIT(h_find(EV_WRITABLE, full, NULL), "room for the other one");
  STAYS(200, h_count(EV_WRITABLE, id, NULL) == told, "on_writable after on_close");
  h_reset(peer);
  h_reset(other);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("queue_full", "reject");
  h_setting("conn_wq_max", "1m");
  h_setting("wq_max", "64k");
  h_setting("max_message_size", "4096");
  h_setting("participants", "8");
  h_setting("send_timeout", "60s");
  h_setting("linger", "5s");
  h_start(1);
  memset(large, 'y', sizeof large);
  memcpy(large, "OPTIONS sip:x SIP/2.0\r\n", 23);
  out_of_blocks();
  ended_while_waiting();
  return h_finish();
}
