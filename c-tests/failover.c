/* modes: threads processes */
/* rows: C4 C7 C10 C16 */
/* What a host needs to try the next target: one report for each message that is not written, with its bytes and the
 * reason, inside which it can send again; refused and unanswered are told apart; a target that failed is listed. */
#include "deadline.h"

enum { RESULT, NEXT_PORT };

/* The DNS step (RFC 3263 4.3) is the host's: here the next target is known. */
static void try_next(const sipwire_failure *f) {
  if (f->cookie >> 32 != 0) return; /* numbered: not of this part */
  sipwire_addr next = {.family = 4, .port = (uint16_t)*h_word(NEXT_PORT), .ip = {127, 0, 0, 1}};
  sipwire_target target = h_to_addr(&next);
  sipwire_iov iov = {f->data, f->length};
  *h_word(RESULT) = (uint64_t)(int64_t)sipwire_send(h_instance, &target, &iov, 1, f->cookie + 1000);
}

static void to_the_next_target(void) {
  sipwire_addr first, next;
  int refusing = h_refusing_port(&first), second = h_listener_open(8, &next);
  *h_word(NEXT_PORT) = next.port;
  sipwire_target target = h_to_addr(&first);
  h_text invite = h_request("INVITE", "failover", NULL, "v=0");
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&target, invite.data, invite.length, 7));
  h_peer *peer = h_accept(second);
  h_frame frame = h_await(peer, "C16: the INVITE at the second target");
  CHECK(frame.length == invite.length && memcmp(frame.data, invite.data, invite.length) == 0, "C4: the report had all of it");
  h_event *e = h_failure(7);
  CHECK(e && e->reason == SIPWIRE_REASON_CONNECT_FAILED && e->error == ECONNREFUSED, "C7: reason %s, errno %d", e ? sipwire_reason_text(e->reason) : "none",
        e ? e->error : 0);
  CHECK(h_addr_equal(&e->remote, &first) && e->written == 0, "C4: of %s, %llu bytes written", h_addr_text(&e->remote), (unsigned long long)e->written);
  WAIT((int64_t)*h_word(RESULT) == SIPWIRE_QUEUED, "the second send returned %lld", (long long)*h_word(RESULT));
  CHECK_NUM(1, h_failure_count(7)); /* C10 */

  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &first)); /* C16 */
  uint32_t cursor = 0;
  sipwire_blacklist_entry entry = {.struct_size = sizeof entry};
  CHECK_NUM(1, sipwire_blacklist_list(h_instance, &cursor, &entry, 1));
  CHECK(h_addr_equal(&entry.addr, &first) && entry.reason == SIPWIRE_REASON_CONNECT_FAILED, "C16: %s is listed for %s", h_addr_text(&entry.addr), sipwire_reason_text(entry.reason));
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_here(&target, invite.data, invite.length, 8)); /* C16: at once, without a dial */
  CHECK_NUM(0, h_failure_count(8));
  h_close(peer);
  close(refusing), close(second);
}

/* RFC 3261 18.1.1: UDP instead of TCP only where TCP is refused, not where nobody answers. */
static void unanswered(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  set_live("connect_timeout", "500ms");
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, 0, 400));
  WAIT(h_failure((uint64_t)1 << 32), "C7: the report of a dial that nobody answers");
  h_event *e = h_failure((uint64_t)1 << 32);
  CHECK(e->reason == SIPWIRE_REASON_CONNECT_TIMEOUT && e->error == ETIMEDOUT, "C7: reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  close(full.fd);
}

/* One report for each unsent message, whatever the reason. */
typedef enum { RESET, UNREAD, FULL, HOST, CAUSES } cause;
static const int reasons[CAUSES] = {SIPWIRE_REASON_PEER_RESET, SIPWIRE_REASON_SEND_TIMEOUT, SIPWIRE_REASON_CONN_QUEUE_FULL, SIPWIRE_REASON_SEND_TIMEOUT};

static void fails_with(cause why) {
  enum { SIZE = 4000 };
  uint32_t tag = 10 + why;
  sipwire_addr addr;
  int fd = h_listener_small(8, 4096, &addr);
  sipwire_target target = h_to_addr(&addr);
  int32_t rc = h_send_numbered_here(&target, tag, 0, SIZE);
  CHECK(rc > 0, "the first message: %d (%s)", rc, sipwire_strerror(rc));
  h_peer *peer = h_accept(fd);
  peer->paused = true;
  uint32_t id = 0, sent = 1;
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK && !(h_conn_flags(id) & SIPWIRE_CONN_CONNECTING), "connected");
  sent += h_fill(&target, tag, 1, SIZE, 12);
  switch (why) {
    case RESET: h_reset(peer); break;
    case UNREAD: set_live("send_timeout", "500ms"); break;
    case FULL:
      for (rc = 0; rc >= 0;) rc = h_send_numbered_here(&target, tag, sent, SIZE), sent += rc >= 0;
      break;
    case HOST: /* what is queued is still to be written, and nobody reads it */
      CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id));
      set_live("send_timeout", "500ms");
      break;
    default: break;
  }
  WAIT(h_find(EV_CLOSE, id, NULL), "C10: closed");
  h_tail_failed(tag, sent, SIZE, reasons[why]); /* C10 */
  for (uint32_t n = 0; n < sent; n++) CHECK(h_failure_count((uint64_t)tag << 32 | n) <= 1, "C10: message %u is reported twice", n);
  CHECK(h_ledger_failed(tag) >= 3, "C10: %u reports", h_ledger_failed(tag));
  set_live("send_timeout", "100s");
  h_close(peer);
  close(fd);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("send_timeout", "100s");
  h_setting("conn_wq_max", "64k");
  h_failed_hook = try_next;
  h_start(2);
  to_the_next_target();
  unanswered();
  for (int why = 0; why < CAUSES; why++) fails_with((cause)why);
  return h_finish();
}
