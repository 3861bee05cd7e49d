/* modes: threads processes */
/* A destination that swallows what we send: the dial ends at connect_timeout and is reported, the destination is not
 * dialled for blacklist_ttl, and afterwards it is. Both times to within 100 ms. */
#include "network.h"

enum { CONNECT_MS = 400, TTL_MS = 700, SIZE = 500 };
static int listener;
static sipwire_addr addr;

static bool swallowed(uint32_t tag) {
  sipwire_target target = h_to_addr(&addr);
  sipwire_stats stats = h_stats();
  net_cut();
  uint64_t before = h_now_ms();
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 0, SIZE));
  uint64_t after = h_now_ms();
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 1, SIZE));
  WAIT(h_ledger_failed(tag) == 2, "both messages are reported");
  h_event *failed = h_failure((uint64_t)tag << 32);
  for (uint32_t n = 0; n < 2; n++) {
    h_event *e = h_failure((uint64_t)tag << 32 | n);
    CHECK(e->reason == SIPWIRE_REASON_CONNECT_TIMEOUT && e->error == ETIMEDOUT, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
    CHECK_NUM(0, e->written);
  }
  bool exact = net_in_time("connect_timeout", CONNECT_MS, before, after, failed->time_ms);

  /* The listed time began between the deadline and the report. */
  if (h_send_numbered_here(&target, tag, 2, SIZE) != SIPWIRE_E_BLACKLISTED) {
    CHECK(h_now_ms() >= before + CONNECT_MS + TTL_MS, "dialled although it is listed");
    WAIT(h_ledger_failed(tag) == 3, "this test was paused: dialled again, and swallowed again");
    CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));
    return false;
  }
  WAIT(sipwire_blacklist_check(h_instance, &addr) == 0, "the time on the blacklist ends");
  uint64_t at = h_now_ms();
  exact &= net_in_time("blacklist_ttl", TTL_MS, before + CONNECT_MS, failed->time_ms, at);
  CHECK_NUM(stats.dialled + 1, STAT(dialled));

  net_mend();
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 3, SIZE));
  h_peer *peer = h_accept(listener);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "dialled again, it arrives");
  WAIT_NUM(stats.dialled + 2, STAT(dialled));
  WAIT_NUM(stats.connect_failed + 1, STAT(connect_failed));
  h_close(peer);
  WAIT(STAT(connections) == 0, "closed");
  return exact;
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("connect_timeout", "400ms");
  h_setting("blacklist_ttl", "700ms");
  net_start(1);
  listener = net_listener(0, &addr);
  net_attempts("a destination that swallows", swallowed, 1);
  close(listener);
  return h_finish();
}
