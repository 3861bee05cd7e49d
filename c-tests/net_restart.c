/* modes: threads processes */
/* The far host starts again: it has forgotten its connections and answers with RST. Whether we meet that with a message
 * for an idle connection or with output that is queued, the connection ends as PEER_RESET, what is queued is reported, the
 * destination is not blacklisted, and the next message dials again and arrives. */
#include "network.h"

enum { SMALL = 500, LARGE = 16000 };
static int listener;
static sipwire_addr addr;

/* The one before is gone: this one is dialled. */
static h_peer *dialled(uint32_t tag, uint32_t number) {
  WAIT(STAT(connections) == 0, "closed");
  sipwire_target target = h_to_addr(&addr);
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, number, SMALL));
  h_peer *peer = h_accept(listener);
  WAIT((h_ledger_receive(peer), h_ledger_received(tag) == number + 1), "message %u arrives over a connection of its own", number);
  return peer;
}

static void check_reset(uint32_t id) {
  WAIT(h_find(EV_CLOSE, id, NULL), "the connection ends");
  h_event *e = h_find(EV_CLOSE, id, NULL);
  CHECK(e->reason == SIPWIRE_REASON_PEER_RESET && e->error == ECONNRESET, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr));
}

static void idle(void) {
  h_peer *peer = dialled(1, 0);
  uint32_t id = h_conn_of(peer);
  net_forget(peer);
  STAYS(300, h_conn_flags(id) && !h_find(EV_CLOSE, id, NULL), "nobody has told us, and yet it ends");
  sipwire_target target = h_to_conn(id);
  CHECK(h_send_numbered_here(&target, 2, 0, SMALL) > 0, "refused");
  check_reset(id);
  CHECK_NUM(0, h_ledger_failed(2)); /* the kernel had taken it whole */
  h_close(dialled(1, 1));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 2, 1, SMALL));
}

static void queued(void) {
  h_peer *peer = dialled(3, 0);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 4, 0, LARGE, 10);
  net_forget(peer);
  check_reset(id);
  h_tail_failed(4, count, LARGE, SIPWIRE_REASON_PEER_RESET);
  for (uint32_t n = count - h_ledger_failed(4); n < count; n++) CHECK_NUM(ECONNRESET, h_failure((uint64_t)4 << 32 | n)->error);
  h_close(dialled(3, 1));
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  net_start(1);
  listener = net_listener(4096, &addr);
  idle();
  queued();
  close(listener);
  return h_finish();
}
