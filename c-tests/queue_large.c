/* modes: threads processes */
/* An empty queue admits one message above conn_wq_max, up to max_message_size and no more, under both policies of
 * queue_full: of a connection that is being dialled, and of one that this process cannot write to by itself yet. What
 * comes behind it is refused. */
#include "queue.h"

enum { LARGE = 69632 };
static uint32_t tag;

/* It is the whole queue of the connection now. */
static void queued(uint32_t id) {
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.queued_bytes == LARGE, "the large message is queued");
  CHECK(!(info.flags & SIPWIRE_CONN_CLOSING), "the connection is closed for it");
  WAIT_REST();
}

static void dialled(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  tag++;
  CHECK_RC(SIPWIRE_E_TOO_LARGE, h_send_numbered_here(&target, tag, 0, LARGE + 1));
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 1, LARGE));
  uint32_t id = 0;
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK, "the dial");
  queued(id);
  for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
  h_peer *peer = h_accept(full.fd);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "the large message arrives whole");
  CHECK_NUM(1, h_ledger_received(tag));
  close(full.fd);
  h_close(peer);
}

/* Each new sender's first message to a connection goes through the supervisor; where it shares the supervisor's
 * descriptors it is written directly, as far as the kernel takes it. */
static void established(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  h_sender *sender = h_sender_new();
  sipwire_target target = h_to_conn(h_conn_of(peer));
  tag++;
  for (uint32_t n = 0; n < 4; n++) {
    h_send_numbered(sender, &target, tag, n, 1, LARGE);
    h_sender_wait(sender);
    CHECK(sender->job.result > 0, "message %u: %d (%s)", n, sender->job.result, sipwire_strerror(sender->job.result));
    WAIT((h_ledger_receive(peer), h_ledger_received(tag) == n + 1), "it arrives whole");
    WAIT_NUM(0, STAT(queued_bytes));
  }
  h_sender_end(sender);
  h_close(peer);
}

/* One by one: with something queued the limit counts. */
static void not_two(bool closes) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  tag++;
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 0, LARGE));
  uint32_t id = 0;
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK, "the dial");
  queued(id);
  sipwire_target by_id = h_to_conn(id);
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, h_send_numbered_here(&by_id, tag, 1, 400));
  if (closes) {
    WAIT(h_find(EV_CLOSE, id, NULL), "closed");
    CHECK_NUM(SIPWIRE_REASON_CONN_QUEUE_FULL, h_find(EV_CLOSE, id, NULL)->reason);
    CHECK_NUM(1, h_ledger_failed(tag));
    CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  } else {
    queued(id);
    for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
    h_peer *peer = h_accept(full.fd);
    WAIT((h_ledger_receive(peer), h_ledger_received(tag) == 1), "it arrives");
    h_close(peer);
  }
  close(full.fd);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "32k");
  h_setting("max_message_size", "69632");
  h_setting("send_timeout", "10m");
  h_setting("connect_timeout", "10m");
  h_start(2);
  for (int closes = 1; closes >= 0; closes--) { /* close is the default, and then changed while running */
    set_live("queue_full", closes ? "close" : "reject");
    dialled();
    established();
    not_two(closes);
  }
  h_ledger_check();
  return h_finish();
}
