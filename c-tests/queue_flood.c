/* modes: threads processes */
/* Four participants send to one peer that does not read, far more than conn_wq_max. Whatever the policy, every message
 * is either accepted or refused and both are counted, every accepted one is given to the kernel whole or reported once,
 * and when all is over nothing counts as queued. */
#include "deadline.h"

enum { SENDERS = 4, EACH = 500, SIZE = 3000 };
static h_sender *sender[SENDERS];
static sipwire_addr listener;

typedef struct sums { uint64_t accepted, refused; } sums;

static sums flood(h_peer *peer, uint32_t id, uint32_t first_tag) {
  sipwire_target target = h_to_conn(id);
  sipwire_stats before = h_stats();
  peer->paused = true;
  for (uint32_t i = 0; i < SENDERS; i++) {
    h_hold(sender[i]);
    h_send_numbered(sender[i], &target, first_tag + i, 0, EACH, SIZE);
  }
  h_release();
  sums all = {0, 0};
  for (int i = 0; i < SENDERS; i++) {
    h_sender_wait(sender[i]);
    for (uint32_t n = 0; n < EACH; n++) {
      int32_t rc = sender[i]->job.rc[n];
      CHECK(rc > 0 || rc == SIPWIRE_E_CONN_QUEUE_FULL || rc == SIPWIRE_E_NO_CONNECTION, "send returned %d (%s)", rc, sipwire_strerror(rc));
      all.accepted += rc > 0;
      all.refused += rc < 0;
    }
  }
  CHECK(all.refused > SENDERS * EACH / 4, "only %llu were refused", (unsigned long long)all.refused);
  sipwire_stats after = h_stats();
  CHECK_NUM(all.accepted, after.sends_direct + after.sends_queued - before.sends_direct - before.sends_queued);
  CHECK_NUM(all.refused, after.sends_refused - before.sends_refused);
  CHECK_NUM(SENDERS * EACH, all.accepted + all.refused);
  return all;
}

static void rejects(void) {
  set_live("queue_full", "reject");
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  uint64_t written = STAT(messages_out);
  sums all = flood(peer, id, 1);
  CHECK_NUM(0, h_conn_flags(id) & SIPWIRE_CONN_CLOSING);
  for (int i = 0; i < SENDERS; i++)
    for (uint32_t n = 0; n < EACH; n++)
      CHECK(sender[i]->job.rc[n] != SIPWIRE_E_NO_CONNECTION, "sender %d, message %u: no connection, with queue_full=reject", i, n);
  peer->paused = false;
  WAIT_FOR(60, (h_ledger_receive(peer), h_ledger_settled()), "every accepted message arrives, and no refused one");
  WAIT_NUM(written + all.accepted, STAT(messages_out));
  WAIT(STAT(queued_bytes) == 0, "%llu bytes count as queued", (unsigned long long)STAT(queued_bytes));
  CHECK_NUM(0, h_total(EV_FAILED));
  CHECK_NUM(0, h_total(EV_CLOSE));
  h_close(peer);
  WAIT(STAT(connections) == 0, "closed");
}

static void closes(void) {
  set_live("queue_full", "close");
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  uint64_t written = STAT(messages_out), reported = STAT(failures_reported);
  sums all = flood(peer, id, 11);
  WAIT(h_find(EV_CLOSE, id, NULL), "closed");
  CHECK_NUM(SIPWIRE_REASON_CONN_QUEUE_FULL, h_find(EV_CLOSE, id, NULL)->reason);
  WAIT(STAT(queued_bytes) == 0, "%llu bytes count as queued", (unsigned long long)STAT(queued_bytes));
  WAIT(STAT(messages_out) - written + h_total(EV_FAILED) == all.accepted, "%llu accepted, %llu written, %llu reported",
       (unsigned long long)all.accepted, (unsigned long long)(STAT(messages_out) - written), (unsigned long long)h_total(EV_FAILED));
  WAIT_NUM(reported + h_total(EV_FAILED), STAT(failures_reported));
  for (uint32_t i = 0; i < SENDERS; i++) {
    CHECK(h_ledger_failed(11 + i) <= h_ledger_accepted(11 + i), "sender %u: more reports than accepted messages", i);
    for (uint32_t n = 0; n < EACH; n++) {
      uint64_t cookie = (uint64_t)(11 + i) << 32 | n;
      if (sender[i]->job.rc[n] < 0 && h_failure(cookie)) h_fail(__FILE__, __LINE__, "sender %u: message %u was refused, and is reported", i, n);
    }
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "64k");
  h_setting("send_timeout", "10m");
  h_start(2);
  listener = h_listener(0);
  for (int i = 0; i < SENDERS; i++) sender[i] = h_sender_new();
  rejects();
  closes();
  return h_finish();
}
