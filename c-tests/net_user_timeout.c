/* modes: threads processes */
/* Sent data that nobody acknowledges, behind a cut cable: the kernel gives the connection up after user_timeout, and
 * it ends with IO_ERROR and ETIMEDOUT, as do the messages that are still queued; those in the kernel were its own. The kernel
 * counts from its first retransmission, about 0.4 s after the data went out. So the setting is a lower bound, and
 * how exact the library is shows beside a plain socket with the same option that is cut off at the same time. */
#include "network.h"
#include <netinet/tcp.h>

enum { USER_MS = 300, SMALL = 500, LARGE = 16000, LARGES = 20 };
static int listener;
static sipwire_addr addr;
static char same[LARGE * LARGES];

static h_peer *plain_socket(h_peer **far_end) {
  int ms = USER_MS;
  h_peer *plain = h_connect(&addr);
  CHECK(plain, "connect: %s", strerror(errno));
  CHECK(setsockopt(plain->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) == 0, "TCP_USER_TIMEOUT: %s", strerror(errno));
  *far_end = h_accept(listener);
  return plain;
}

static bool ended(uint32_t id, const h_peer *plain, uint64_t *plain_at) {
  if (plain->error && !*plain_at) *plain_at = h_now_ms();
  return *plain_at && h_find(EV_CLOSE, id, NULL);
}

/* Sends `count` messages into the cut cable. Whether the connection ends as the plain socket does, to within 100 ms. */
static bool cut_off(uint32_t tag, size_t size, uint32_t count) {
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, tag, 0, SMALL) > 0, "first message");
  h_peer *peer = h_accept(listener), *far_end, *plain = plain_socket(&far_end);
  WAIT((h_ledger_receive(peer), h_ledger_received(tag) == 1), "first message at the peer");
  uint32_t id = h_conn_of(peer), tail = tag + 10;
  sipwire_target target_id = h_to_conn(id);
  net_cut();
  uint64_t before = h_now_ms(), plain_at = 0;
  CHECK(send(plain->fd, same, size * count, MSG_DONTWAIT) > 0, "send: %s", strerror(errno));
  for (uint32_t n = 0; n < count; n++)
    if (h_send_numbered_here(&target_id, tail, n, size) < 0) CHECK(h_now_ms() >= before + USER_MS, "message %u is refused", n);
  WAIT(ended(id, plain, &plain_at), "both end");
  h_event *e = h_find(EV_CLOSE, id, NULL);
  CHECK(e->reason == SIPWIRE_REASON_IO_ERROR && e->error == ETIMEDOUT, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
  CHECK_NUM(ETIMEDOUT, plain->error);
  if (count > 1) h_tail_failed(tail, h_ledger_accepted(tail), size, SIPWIRE_REASON_IO_ERROR);
  else CHECK_NUM(0, h_ledger_failed(tail));
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr));
  bool exact = net_in_time("user_timeout", USER_MS, before, plain_at - USER_MS, e->time_ms);

  net_mend();
  CHECK(h_send_numbered_here(&target, tag, 1, SMALL) > 0, "a message after the end");
  h_peer *again = h_accept(listener);
  WAIT((h_ledger_receive(again), h_ledger_received(tag) == 2), "dialled again, it arrives");
  h_close(peer), h_close(far_end), h_close(plain), h_close(again);
  WAIT(STAT(connections) == 0, "closed");
  return exact && e->time_ms + 100 >= plain_at;
}

static bool in_the_kernel(uint32_t tag) { return cut_off(tag, SMALL, 1); }
static bool queued(uint32_t tag) { return cut_off(tag, LARGE, LARGES); }

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("user_timeout", "300ms");
  h_setting("conn_wq_max", "1m");
  net_start(1);
  listener = net_listener(0, &addr);
  net_attempts("user_timeout", in_the_kernel, 1);
  net_attempts("user_timeout with a queue", queued, 4);
  close(listener);
  return h_finish();
}
