/* modes: threads processes */
/* Dialling a host that is far away: an answer that takes nearly connect_timeout is in time, and what was queued goes out.
 * One that takes longer comes too late: at connect_timeout the dial was given up and reported, to within 100 ms, and what
 * is answered afterwards is told that there is no connection. */
#include "network.h"

enum { CONNECT_MS = 500, NEARLY_MS = 400, LONGER_MS = 700, SIZE = 500 };
static int listener;
static sipwire_addr addr;

/* There and back. */
static void round_trip(unsigned ms) { net.delay_ms = ms / 2; }

static bool in_time(uint32_t tag) {
  sipwire_target target = h_to_addr(&addr);
  round_trip(NEARLY_MS);
  uint64_t before = h_now_ms();
  for (uint32_t n = 0; n < 3; n++) CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, n, SIZE));
  h_peer *peer = NULL;
  WAIT((peer = h_accept_now(listener)) || h_ledger_failed(tag) == 3, "connected, or given up");
  if (!peer) { /* the machine, not the library, has made the answer late */
    CHECK(h_now_ms() >= before + CONNECT_MS, "given up after %llu ms", (unsigned long long)(h_now_ms() - before));
    CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));
    round_trip(0);
    return false;
  }
  CHECK(h_now_ms() >= before + NEARLY_MS, "connected after %llu ms", (unsigned long long)(h_now_ms() - before));
  WAIT((h_ledger_receive(peer), h_ledger_received(tag) == 3), "all three messages arrive");
  round_trip(0);
  h_close(peer);
  WAIT(STAT(connections) == 0, "closed");
  return true;
}

static bool too_late(uint32_t tag) {
  sipwire_target target = h_to_addr(&addr);
  round_trip(LONGER_MS);
  uint64_t before = h_now_ms(), carried = net.carried;
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 0, SIZE));
  uint64_t after = h_now_ms();
  WAIT(h_failure((uint64_t)tag << 32), "the report");
  h_event *e = h_failure((uint64_t)tag << 32);
  CHECK(e->reason == SIPWIRE_REASON_CONNECT_TIMEOUT && e->error == ETIMEDOUT, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
  bool exact = net_in_time("connect_timeout", CONNECT_MS, before, after, e->time_ms);
  WAIT(net.carried >= carried + 3, "SYN, its answer and our refusal of that are through");
  STAYS(50, !h_accept_now(listener), "the far host believes in the connection");
  round_trip(0);
  CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 1, SIZE));
  h_peer *peer = h_accept(listener);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "dialled again, it arrives");
  h_close(peer);
  WAIT(STAT(connections) == 0, "closed");
  return exact;
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("connect_timeout", "500ms");
  net_start(1);
  listener = net_listener(0, &addr);
  net_attempts("an answer before connect_timeout", in_time, 1);
  net_attempts("connect_timeout", too_late, 4);
  close(listener);
  return h_finish();
}
