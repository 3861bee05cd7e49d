/* modes: threads processes */
/* args: --full */
/* timeout: 90 */
/* No byte really sent for send_timeout: the connection is closed, what was not written whole is reported once, the
 * destination that we dialled is blacklisted, and queued bytes go back to 0. A peer that reads slowly is not closed. */
#include "harness.h"

enum { SIZE = 16000 };

static void dialled(uint64_t timeout_ms) {
  sipwire_addr addr;
  int fd = h_listener_small(8, 8192, &addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, 400) >= 0, "first message");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "first message at the peer");
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  peer->paused = true;
  uint32_t count = h_fill(&target, 2, 0, SIZE, 5);
  WAIT_FOR(40, h_find(EV_CLOSE, id, NULL), "closed at send_timeout");
  uint64_t took = h_find(EV_CLOSE, id, NULL)->time_ms - h_last_sent_ms;
  CHECK(took + 50 >= timeout_ms, "closed %llu ms after the last progress, send_timeout is %llu", (unsigned long long)took, (unsigned long long)timeout_ms);
  CHECK_NUM(SIPWIRE_REASON_SEND_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  h_tail_failed(2, count, SIZE, SIPWIRE_REASON_SEND_TIMEOUT);
  WAIT_NUM(h_ledger_failed(2), STAT(failures_reported));
  WAIT_NUM(1, STAT(closed_by_reason)[SIPWIRE_REASON_SEND_TIMEOUT]);
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 2, count, SIZE));
  CHECK(sipwire_blacklist_remove(h_instance, &addr) == 1, "it was on the list");
  h_close(peer);
  close(fd);
}

static void accepted(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 3, 0, SIZE, 5);
  WAIT_FOR(40, h_find(EV_CLOSE, id, NULL), "closed at send_timeout");
  CHECK_NUM(SIPWIRE_REASON_SEND_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  h_tail_failed(3, count, SIZE, SIPWIRE_REASON_SEND_TIMEOUT);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 3, count, SIZE));
  h_close(peer);
}

/* Progress, however small, moves the deadline. */
static void slow_reader(uint64_t timeout_ms) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  h_fill(&target, 4, 0, SIZE, 400); /* more than the kernel takes at once when there is room again */
  uint64_t until = h_now_ms() + timeout_ms * 5 / 2;
  static char scratch[65536];
  sipwire_conn_info info;
  while (h_now_ms() < until && h_info(id, &info) && info.queued_bytes > 0) {
    /* read until the library's own queue shrank: that is what counts as progress */
    uint64_t out = info.bytes_out, step = h_deadline_ms(20);
    while (h_info(id, &info) && info.bytes_out == out && info.queued_bytes > 0 && h_now_ms() < step)
      if (read(peer->fd, scratch, 4096) <= 0) h_tick();
    h_sleep_ms((int)(timeout_ms * 2 / 5));
  }
  CHECK(h_info(id, &info), "a peer that reads slowly was closed");
  CHECK_NUM(0, h_ledger_failed(4));
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  if (!h_full) h_setting("send_timeout", "1s");
  h_setting("conn_wq_max", "8m");
  h_start(2);
  uint64_t timeout_ms = h_full ? 10000 : 1000;
  dialled(timeout_ms);
  accepted();
  slow_reader(timeout_ms);
  return h_finish();
}
