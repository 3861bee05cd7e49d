/* modes: threads processes */
/* Small messages have used up the blocks but for a few. Who is refused for a larger message hears on_writable when there
 * is room again for such messages, and not while the next one would be refused like the first. */
#include "deadline.h"

static char large[60000];

static int32_t send_large(uint32_t id) {
  sipwire_target target = h_to_conn(id);
  return h_send_here(&target, large, sizeof large, 1);
}

static void refused_until_drained(const char *policy, uint32_t tag) {
  sipwire_conn_info info;
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "queue_full", policy, NULL, 0));
  sipwire_addr listener = h_listener(0);
  h_peer *slow = h_connect_small(&listener, 4096), *healthy = h_client();
  uint32_t slow_id = h_conn_of(slow), id = h_conn_of(healthy);
  sipwire_target target = h_to_conn(slow_id);
  slow->paused = true;
  h_fill(&target, tag, 0, 4000, 4);
  int32_t rc = SIPWIRE_SENT;
  for (int n = 0; rc >= 0; n++) {
    CHECK(n < 10000, "no limit");
    for (int i = 0; i < 10; i++) CHECK(h_send_here(&target, "OPTIONS s", 9, 1) > 0, "a small one is refused, too few blocks are left");
    rc = send_large(id);
    WAIT(h_info(id, &info) && info.queued_bytes == 0, "the healthy peer takes it");
  }
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
  STAYS(300, h_count(EV_WRITABLE, id, NULL) == 0, "told that there is room when there is none");
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, send_large(id));
  slow->paused = false;
  WAIT(h_find(EV_WRITABLE, id, NULL), "there is room again");
  CHECK(send_large(id) > 0, "refused although there is room");
  h_reset(slow); /* not answered: closed by FIN they would wait for half_close_timeout */
  h_reset(healthy);
  WAIT(STAT(slots_used) == 0, "closed");
}

/* Bytes, not blocks: what one other connection has queued leaves no room for a large message, though little is queued. */
static void no_room_for_a_large_one(void) {
  set_live("queue_full", "reject");
  set_live("max_message_size", "64k");
  set_live("wq_max", "64k");
  sipwire_addr listener = h_listener(0);
  h_peer *slow = h_connect_small(&listener, 4096), *healthy = h_client();
  uint32_t slow_id = h_conn_of(slow), id = h_conn_of(healthy);
  sipwire_target target = h_to_conn(slow_id);
  slow->paused = true;
  h_fill(&target, 3, 0, 4000, 4); /* to less than 3/4 of wq_max */
  h_sender *sender = h_sender_new(); /* a process has no descriptor of the healthy one: it queues, or is refused */
  target = h_to_conn(id);
  h_send_text(sender, &target, large, sizeof large, 1);
  h_sender_wait(sender);
  if (h_mode == H_PROCESSES) {
    CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, sender->job.result);
    STAYS(300, h_count(EV_WRITABLE, id, NULL) == 0, "told that there is room when there is none");
    slow->paused = false;
    WAIT(h_find(EV_WRITABLE, id, NULL), "there is room again");
  }
  h_reset(slow);
  h_reset(healthy);
  h_sender_end(sender);
  WAIT(STAT(slots_used) == 0, "closed");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("wq_max", "1m");
  h_setting("participants", "8");
  h_setting("send_timeout", "10m");
  h_start(1);
  memset(large, 'y', sizeof large);
  memcpy(large, "OPTIONS sip:x SIP/2.0\r\n", 23);
  refused_until_drained("reject", 1);
  refused_until_drained("close", 2);
  no_room_for_a_large_one();
  return h_finish();
}
