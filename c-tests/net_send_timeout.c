/* modes: threads processes */
/* The cable is cut while output is on its way. What the kernel does not take any more is queued; send_timeout after the
 * last byte that it took the connection ends, to within 100 ms, all that is queued is reported once, and the destination
 * is blacklisted: the next message is refused. Taken off the list it is dialled again. */
#include "network.h"

enum { SEND_MS = 400, SIZE = 16000, COUNT = 30 };
static int listener;
static sipwire_addr addr;
static uint64_t out, looked, before, after; /* the kernel took its last byte between the last two */

static bool ended(uint32_t id) {
  sipwire_conn_info info;
  uint64_t now = h_now_ms();
  if (h_info(id, &info) && info.bytes_out != out) out = info.bytes_out, before = looked, after = h_now_ms();
  looked = now;
  return h_find(EV_CLOSE, id, NULL);
}

static h_peer *dialled(const sipwire_target *target, uint32_t tag, uint32_t number) {
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(target, tag, number, 500));
  h_peer *peer = h_accept(listener);
  WAIT((h_ledger_receive(peer), h_ledger_received(tag) == number + 1), "message %u arrives", number);
  return peer;
}

static bool stuck(uint32_t tag) {
  sipwire_target target = h_to_addr(&addr);
  h_peer *peer = dialled(&target, tag, 0);
  uint32_t id = h_conn_of(peer), tail = tag + 10, count = 0;
  sipwire_target target_id = h_to_conn(id);
  net_cut();
  before = after = looked = h_now_ms();
  /* Fewer only when this test is paused in the middle for longer than send_timeout. */
  while (count < COUNT && !ended(id) && h_send_numbered_here(&target_id, tail, count, SIZE) > 0) count++;
  WAIT(ended(id), "the connection ends");
  h_event *e = h_find(EV_CLOSE, id, NULL);
  CHECK(e->reason == SIPWIRE_REASON_SEND_TIMEOUT && e->error == ETIMEDOUT, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
  bool exact = net_in_time("send_timeout", SEND_MS, before, after, e->time_ms);
  h_tail_failed(tail, count, SIZE, SIPWIRE_REASON_SEND_TIMEOUT);
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, tag, 1, 500));

  net_mend();
  CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));
  h_peer *again = dialled(&target, tag + 20, 0);
  h_close(peer), h_close(again);
  WAIT(STAT(connections) == 0, "closed");
  return exact;
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("send_timeout", "400ms");
  h_setting("conn_wq_max", "1m");
  net_start(1);
  listener = net_listener(0, &addr);
  net_attempts("send_timeout", stuck, 1);
  close(listener);
  return h_finish();
}
