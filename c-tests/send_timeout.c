/* modes: threads processes */
/* args: --full */
/* timeout: 90 */
/* No byte really sent for send_timeout: the connection is closed then and not several times later, what was not written
 * whole is reported once, queued bytes go back to 0. The destination is blacklisted when we dialled it, never when it
 * dialled us. A peer that reads slowly is not closed. */
#include "deadline.h"

enum { SIZE = 16000 };
static uint64_t timeout_ms;

/* Reads until the library's own queue shrank: that is what counts as progress. False: the connection has ended. */
static bool read_some(h_peer *peer, uint32_t id) {
  static char scratch[4096];
  sipwire_conn_info info;
  uint64_t until = h_deadline_ms(20), out = h_info(id, &info) ? info.bytes_out : 0;
  while (h_info(id, &info) && info.bytes_out == out) {
    CHECK(h_now_ms() < until, "the peer reads and nothing more is sent");
    if (read(peer->fd, scratch, sizeof scratch) <= 0) h_tick();
  }
  return h_info(id, &info);
}

/* Output that is stuck, filled while the time is long: a pause of this test in the middle of it ends nothing. The short
 * time is looked up when the queue moves again. */
static uint32_t fill(h_peer *peer, const sipwire_target *target, uint32_t tag, uint32_t want) {
  set_live("send_timeout", "10m");
  peer->paused = true;
  uint32_t count = h_fill(target, tag, 0, SIZE, want);
  set_live("send_timeout", h_full ? "10s" : "1s");
  return count;
}

/* The last progress lies between the two time stamps, then the peer stops reading. */
static void ends(h_peer *peer, uint32_t id) {
  uint64_t before = h_now_ms();
  CHECK(read_some(peer, id), "ended while the peer read");
  uint64_t after = h_now_ms();
  WAIT_FOR(40, h_find(EV_CLOSE, id, NULL), "closed at send_timeout");
  CHECK_NUM(SIPWIRE_REASON_SEND_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("send_timeout", before, after, timeout_ms, h_find(EV_CLOSE, id, NULL)->time_ms);
}

static void dialled(void) {
  sipwire_addr addr;
  int fd = h_listener_small(8, 8192, &addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, 400) >= 0, "first message");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "first message at the peer");
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  uint32_t count = fill(peer, &target, 2, 20);
  ends(peer, id);
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
  uint32_t count = fill(peer, &target, 3, 20);
  ends(peer, id);
  h_tail_failed(3, count, SIZE, SIPWIRE_REASON_SEND_TIMEOUT);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 3, count, SIZE));
  CHECK(sipwire_blacklist_check(h_instance, &peer->local) == 0, "a peer that dialled us is blacklisted");
  CHECK_NUM(0, STAT(blacklist_entries));
  h_close(peer);
}

/* Progress, however small, moves the deadline: the connection may end only when the last one is a send_timeout ago, by
 * a pause of this test; then it is tried again. */
static void slow_reader(void) {
  sipwire_addr listener = h_listener(0);
  for (uint32_t attempt = 0;; attempt++) {
    CHECK(attempt < 10, "this test is paused for longer than send_timeout again and again");
    h_peer *peer = h_connect_small(&listener, 8192);
    uint32_t id = h_conn_of(peer), tag = 4 + attempt;
    sipwire_target target = h_to_conn(id);
    fill(peer, &target, tag, 400); /* more than the kernel takes at once when there is room again */
    uint64_t begin = h_now_ms(), last = begin, before = begin;
    sipwire_conn_info info;
    bool open = true;
    while (open && (before = h_now_ms()) < begin + timeout_ms * 5 / 2) {
      open = read_some(peer, id);
      if (!open) break;
      CHECK(h_info(id, &info) && info.queued_bytes > 0, "everything is sent: there is no deadline any more");
      last = before;
      h_sleep_ms((int)(timeout_ms / 5));
    }
    if (open && !h_find(EV_CLOSE, id, NULL)) {
      CHECK_NUM(0, h_ledger_failed(tag));
      h_close(peer);
      return;
    }
    WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
    uint64_t at = h_find(EV_CLOSE, id, NULL)->time_ms;
    CHECK_NUM(SIPWIRE_REASON_SEND_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
    CHECK(at >= last + timeout_ms * 95 / 100, "a peer that reads slowly was closed %llu ms after it had read",
          (unsigned long long)(at - last));
    h_close(peer);
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  /* Nothing but progress of its output may make the supervisor look at a connection's deadline: see `fill`. */
  h_setting("worker_hold", "1h");
  h_setting("message_timeout", "1h");
  h_start(2);
  timeout_ms = h_full ? 10000 : 1000;
  dialled();
  accepted();
  slow_reader();
  return h_finish();
}
