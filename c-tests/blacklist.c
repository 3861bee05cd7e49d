/* modes: threads processes */
/* The blacklist by hand: add, check, list, remove, expiry; asked when dialling, never for an open connection. */
#include "deadline.h"
#include <signal.h>

static sipwire_addr numbered_addr(unsigned n) {
  char text[64];
  sipwire_addr addr;
  snprintf(text, sizeof text, n % 2 ? "10.9.%u.%u:5060" : "[2001:db8::%x:%x]:5061", n / 200, n % 200 + 1);
  CHECK_RC(SIPWIRE_OK, sipwire_addr_parse(text, &addr));
  return addr;
}

static size_t listed(void) {
  sipwire_blacklist_entry entry[16] = {{.struct_size = sizeof *entry}};
  uint32_t cursor = 0;
  size_t n = 0;
  do {
    int32_t got = sipwire_blacklist_list(h_instance, &cursor, entry, 16);
    CHECK(got >= 0 && got <= 16, "sipwire_blacklist_list: %d", got);
    for (int32_t i = 0; i < got; i++) CHECK(entry[i].addr.family == 4 || entry[i].addr.family == 6, "entry %d: family %u", i, entry[i].addr.family);
    n += (size_t)got;
    CHECK(n < 100000, "the list does not end");
  } while (cursor != 0);
  return n;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("blacklist_ttl", "60s");
  h_start(1);
  sipwire_addr a = numbered_addr(1), b = numbered_addr(2);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &a));
  CHECK_RC(0, sipwire_blacklist_remove(h_instance, &a));
  CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &a, -1));
  uint64_t before = h_now_ms();
  CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &b, 500));
  uint64_t after = h_now_ms();
  WAIT(sipwire_blacklist_check(h_instance, &a) == 1, "added");
  sipwire_addr port = a;
  port.port++;
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &port)); /* address and port together */
  CHECK(listed() <= 2, "%zu entries", listed());
  WAIT(sipwire_blacklist_check(h_instance, &b) == 0, "b's time ends");
  CHECK_ACTED("b's time", before, after, 500, h_now_ms());
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &a));
  WAIT(listed() == 1, "%zu entries", listed());
  sipwire_blacklist_entry entry = {.struct_size = sizeof entry};
  uint32_t cursor = 0;
  CHECK_NUM(1, sipwire_blacklist_list(h_instance, &cursor, &entry, 1));
  CHECK(h_addr_equal(&entry.addr, &a), "listed %s", h_addr_text(&entry.addr));
  CHECK(entry.remaining_ms > 30000 && entry.remaining_ms <= 60000, "remaining_ms is %llu", (unsigned long long)entry.remaining_ms);
  sipwire_target target = h_to_addr(&a);
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_here(&target, "x", 1, 1));
  CHECK_RC(1, sipwire_blacklist_remove(h_instance, &a));
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &a));

  /* An open connection is used although its address is listed. */
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 0, 400) >= 0, "dial");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "first message");
  uint32_t id;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &addr, 60000));
  WAIT(sipwire_blacklist_check(h_instance, &addr) == 1, "listed");
  sipwire_target by_id = h_to_conn(id);
  CHECK(h_send_numbered_here(&by_id, 1, 1, 400) >= 0, "by id");
  CHECK(h_send_numbered_here(&target, 1, 2, 400) >= 0, "by address over the open connection");
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "both arrive");
  if (h_mode == H_PROCESSES) { /* also while something else of this sender waits to be dialled */
    sipwire_addr refusing;
    int held = h_refusing_port(&refusing);
    sipwire_target elsewhere = h_to_addr(&refusing);
    kill(h_supervisor_pid(), SIGSTOP);
    CHECK_RC(SIPWIRE_QUEUED, h_send_here(&elsewhere, "OPTIONS", 7, 99));
    CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, 3, 400));
    kill(h_supervisor_pid(), SIGCONT);
    WAIT((h_ledger_receive(peer), h_ledger_received(1) == 4), "it arrives");
    WAIT(h_failure(99), "the dial was refused");
    CHECK_RC(1, sipwire_blacklist_remove(h_instance, &refusing));
    close(held);
  }
  h_close(peer);
  WAIT(STAT(connections) == 0, "closed");
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 1, 4, 400));
  CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));

  for (unsigned n = 0; n < 600; n++) {
    sipwire_addr many = numbered_addr(n);
    CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &many, 60000));
  }
  WAIT(STAT(blacklist_entries) == 600, "%llu entries", (unsigned long long)STAT(blacklist_entries));
  CHECK_NUM(600, listed());
  for (unsigned n = 0; n < 600; n++) {
    sipwire_addr many = numbered_addr(n);
    CHECK_RC(1, sipwire_blacklist_remove(h_instance, &many));
  }
  WAIT(STAT(blacklist_entries) == 0, "%llu entries", (unsigned long long)STAT(blacklist_entries));
  close(fd);
  return h_finish();
}
