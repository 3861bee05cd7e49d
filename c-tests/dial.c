/* modes: threads processes */
/* Connections that the host opens: one dial for eight simultaneous senders, refusal and blacklist, connect timeout. */
#include "harness.h"

enum { SENDERS = 8 };
static h_sender *senders[SENDERS];

/* All eight send one message to the address at the same instant. */
static void all_send(const sipwire_addr *to, uint32_t first_tag) {
  sipwire_target target = h_to_addr(to);
  for (int i = 0; i < SENDERS; i++) {
    h_hold(senders[i]);
    h_send_numbered(senders[i], &target, first_tag + (uint32_t)i, 0, 1, 500);
  }
  h_release();
  for (int i = 0; i < SENDERS; i++) h_sender_wait(senders[i]);
}

static void check_all_queued(const char *where) {
  for (int i = 0; i < SENDERS; i++)
    CHECK(senders[i]->job.result == SIPWIRE_QUEUED || senders[i]->job.result == SIPWIRE_SENT, "%s: sender %d got %d (%s)", where, i,
          senders[i]->job.result, sipwire_strerror(senders[i]->job.result));
}

static void one_connection(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr); /* its SYN is not answered until there is room */
  uint64_t dialled = STAT(dialled);
  all_send(&addr, 1);
  check_all_queued("listener that does not accept");
  WAIT(STAT(dialled) == dialled + 1, "a dial");
  uint32_t id = 0;
  sipwire_conn_info info;
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK && h_info(id, &info), "the connecting connection");
  CHECK(info.flags & SIPWIRE_CONN_CONNECTING, "flags are %#x: CONNECTING is missing", info.flags);
  CHECK(info.flags & SIPWIRE_CONN_ASYNC, "flags are %#x: a connection we open starts in async mode", info.flags);
  CHECK(info.flags & SIPWIRE_CONN_OUTBOUND, "flags are %#x: OUTBOUND is missing", info.flags);
  CHECK_NUM(-1, info.listener);

  for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd)); /* room: the next SYN of the dial is answered */
  h_peer *peer = h_accept(full.fd);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "eight messages at the peer");
  for (uint32_t tag = 1; tag <= SENDERS; tag++) CHECK_NUM(1, h_ledger_received(tag));
  STAYS(300, h_accept_now(full.fd) == NULL, "a second connection was dialled to the same address");
  CHECK_NUM(dialled + 1, STAT(dialled));
  CHECK_NUM(0, h_total(EV_FAILED));
  WAIT(!(h_conn_flags(id) & (SIPWIRE_CONN_ASYNC | SIPWIRE_CONN_CONNECTING)), "async mode ends when all is written");

  /* An open connection is used, and answers that come over it are delivered. */
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 1, 1, 400) >= 0, "send over the open connection");
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 2), "the ninth message at the peer");
  h_write(peer, "SIP/2.0 200 OK\r\nCall-ID: back\r\nContent-Length: 0\r\n\r\n", 52);
  WAIT(h_find(EV_MESSAGE, id, "Call-ID: back"), "the peer's answer in on_message");
  CHECK_NUM(-1, h_find(EV_MESSAGE, id, NULL)->listener);
  CHECK_NUM(dialled + 1, STAT(dialled));
  close(full.fd);
  h_close(peer);
}

static void refused(void) {
  sipwire_addr addr;
  int fd = h_refusing_port(&addr);
  all_send(&addr, 11);
  /* Some may come after the refusal is known: they are refused at once as blacklisted. */
  uint32_t accepted = 0;
  for (int i = 0; i < SENDERS; i++) {
    int32_t rc = senders[i]->job.result;
    CHECK(rc == SIPWIRE_QUEUED || rc == SIPWIRE_E_BLACKLISTED, "sender %d to a refusing port got %d (%s)", i, rc, sipwire_strerror(rc));
    accepted += rc == SIPWIRE_QUEUED;
  }
  CHECK(accepted >= 1, "nobody was accepted");
  WAIT(h_ledger_settled(), "a failure report for each of the %u accepted messages", accepted);
  bool first = false;
  for (uint32_t tag = 11; tag < 11 + SENDERS; tag++) {
    h_event *e = h_failure((uint64_t)tag << 32);
    if (!e) continue;
    /* One that was on its way when the address came on the blacklist may say so; at least the dialling one says why. */
    CHECK((e->reason == SIPWIRE_REASON_CONNECT_FAILED && e->error == ECONNREFUSED) || e->reason == SIPWIRE_REASON_BLACKLISTED,
          "tag %u: reason %s, errno %d", tag, sipwire_reason_text(e->reason), e->error);
    first |= e->reason == SIPWIRE_REASON_CONNECT_FAILED;
    CHECK_NUM(500, e->length);
    CHECK_NUM(0, e->written);
    CHECK(h_addr_equal(&e->remote, &addr), "remote is %s", h_addr_text(&e->remote));
  }
  CHECK(first, "no report says CONNECT_FAILED with ECONNREFUSED");
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));

  sipwire_target target = h_to_addr(&addr);
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 11, 1, 500)); /* the ninth */
  WAIT(STAT(blacklist_refused) >= 1, "the refusal is counted");
  WAIT(sipwire_blacklist_check(h_instance, &addr) == 0, "blacklist_ttl ends");
  int32_t rc = h_send_numbered_here(&target, 11, 2, 500);
  CHECK(rc == SIPWIRE_QUEUED, "after blacklist_ttl: expected QUEUED, got %d (%s)", rc, sipwire_strerror(rc));
  WAIT(h_failure((uint64_t)11 << 32 | 2), "it fails again");
  WAIT(sipwire_blacklist_check(h_instance, &addr) == 1, "blacklisted again");
  h_ledger_check();
  close(fd);
}

/* Deterministically all eight: they wait together on a SYN that is not answered, then the listener goes away and the
 * kernel's next SYN is refused. */
static void refused_while_waiting(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_stats before = h_stats();
  all_send(&addr, 41);
  check_all_queued("full backlog");
  WAIT(STAT(queued_bytes) >= SENDERS * 500, "%llu bytes are queued", (unsigned long long)STAT(queued_bytes));
  close(full.fd);
  WAIT(h_ledger_settled(), "eight failure reports");
  for (uint32_t tag = 41; tag < 41 + SENDERS; tag++) {
    h_event *e = h_failure((uint64_t)tag << 32);
    CHECK(e && h_failure_count(e->cookie) == 1, "tag %u: one report expected", tag);
    CHECK(e->reason == SIPWIRE_REASON_CONNECT_FAILED, "tag %u: reason %s", tag, sipwire_reason_text(e->reason));
    CHECK_NUM(ECONNREFUSED, e->error);
    CHECK_NUM(500, e->length);
    CHECK_NUM(0, e->written);
    CHECK(h_addr_equal(&e->remote, &addr), "remote is %s", h_addr_text(&e->remote));
  }
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  CHECK_NUM(before.dialled + 1, STAT(dialled));
  WAIT_NUM(before.failures_reported + SENDERS, STAT(failures_reported));
  sipwire_target target = h_to_addr(&addr);
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 41, 1, 500));
  WAIT(sipwire_blacklist_check(h_instance, &addr) == 0, "blacklist_ttl ends");
}

/* With the port held in the backlog of a dead listener all eight wait together, so all eight must say the same. */
static void timed_out(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_stats before = h_stats();
  uint64_t begin = h_now_ms();
  all_send(&addr, 21);
  check_all_queued("full backlog");
  WAIT_FOR(40, h_ledger_settled(), "eight failure reports at connect_timeout");
  uint64_t took = h_now_ms() - begin, timeout = h_full ? 10000 : 1500;
  CHECK(took + 50 >= timeout, "connect_timeout is %llu ms, the failure came after %llu", (unsigned long long)timeout, (unsigned long long)took);
  for (uint32_t tag = 21; tag < 21 + SENDERS; tag++) {
    h_event *e = h_failure((uint64_t)tag << 32);
    CHECK(e, "no report for tag %u", tag);
    CHECK(e->reason == SIPWIRE_REASON_CONNECT_TIMEOUT, "tag %u: reason %s, expected connect timeout", tag, sipwire_reason_text(e->reason));
    CHECK_NUM(1, h_failure_count((uint64_t)tag << 32));
  }
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  WAIT_NUM(before.dialled + 1, STAT(dialled));
  WAIT_NUM(before.connect_failed + 1, STAT(connect_failed));
  WAIT_NUM(before.closed_by_reason[SIPWIRE_REASON_CONNECT_TIMEOUT] + 1, STAT(closed_by_reason)[SIPWIRE_REASON_CONNECT_TIMEOUT]);
  close(full.fd);
}

static void no_connect_flag(void) {
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr);
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 31, 0, 400));
  STAYS(100, h_accept_now(fd) == NULL, "NO_CONNECT dialled");
  /* FRESH dials although one is open. */
  target.flags = 0;
  CHECK(h_send_numbered_here(&target, 31, 1, 400) >= 0, "plain send");
  h_peer *one = h_accept(fd);
  WAIT((h_ledger_receive(one), h_ledger_received(31) == 1), "first message");
  target.flags = SIPWIRE_SEND_FRESH;
  CHECK(h_send_numbered_here(&target, 31, 2, 400) >= 0, "fresh send");
  h_peer *two = h_accept(fd);
  WAIT((h_ledger_receive(two), h_ledger_received(31) == 2), "second message over a connection of its own");
  CHECK(two != one, "one connection");
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK(h_send_numbered_here(&target, 31, 3, 400) >= 0, "NO_CONNECT uses an open connection");
  WAIT((h_ledger_receive(one), h_ledger_receive(two), h_ledger_received(31) == 3), "third message");
  close(fd);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  if (!h_full) {
    h_setting("connect_timeout", "10s");
    h_setting("blacklist_ttl", "1s");
  } else {
    h_setting("blacklist_ttl", "3s");
  }
  h_start(2);
  for (int i = 0; i < SENDERS; i++) senders[i] = h_sender_new();
  one_connection();
  refused();
  refused_while_waiting();
  no_connect_flag();
  if (!h_full) CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "connect_timeout", "1500ms", NULL, 0)); /* live */
  timed_out();
  return h_finish();
}
