/* modes: threads processes */
/* args: --full */
/* Connections that the host opens: one dial for eight simultaneous senders, whether the listener's program does not
 * accept or its kernel does not answer; refusal, blacklist and its end, connect timeout. */
#include "deadline.h"

enum { SENDERS = 8, TTL = 60000 };
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

/* How long the address is still listed, 0: it is not. */
static uint64_t remaining_ms(const sipwire_addr *addr, int32_t *reason) {
  sipwire_blacklist_entry entry[4] = {{.struct_size = sizeof *entry}};
  uint32_t cursor = 0;
  do {
    int32_t got = sipwire_blacklist_list(h_instance, &cursor, entry, 4);
    CHECK(got >= 0, "sipwire_blacklist_list: %d", got);
    for (int32_t i = 0; i < got; i++) {
      *reason = entry[i].reason;
      if (h_addr_equal(&entry[i].addr, addr)) return entry[i].remaining_ms;
    }
  } while (cursor != 0);
  return 0;
}

/* The SYN is not answered for a second: there is no room behind the listener. */
static void syn_unanswered(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  uint64_t dialled = STAT(dialled);
  all_send(&addr, 1);
  check_all_queued("listener without room");
  WAIT(STAT(dialled) == dialled + 1, "a dial");
  uint32_t id = 0;
  sipwire_conn_info info;
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK && h_info(id, &info), "the connecting connection");
  CHECK(info.flags & SIPWIRE_CONN_ASYNC, "flags are %#x: a connection we open starts in async mode", info.flags);
  CHECK(info.flags & SIPWIRE_CONN_OUTBOUND, "flags are %#x: OUTBOUND is missing", info.flags);
  CHECK_NUM(-1, info.listener);
  STAYS(1000, h_conn_flags(id) & SIPWIRE_CONN_CONNECTING, "flags are %#x: CONNECTING is missing", h_conn_flags(id));

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

/* The kernel of the other side has room and answers; its program does not come to accept for a second. */
static void not_accepted(void) {
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_stats before = h_stats();
  all_send(&addr, 51);
  check_all_queued("listener that does not accept");
  WAIT_NUM(before.connected + 1, STAT(connected));
  WAIT_NUM(before.messages_out + SENDERS, STAT(messages_out));
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  STAYS(1000, h_conn_flags(id) != 0 && STAT(failures_reported) == before.failures_reported, "not accepted for a second: given up");
  CHECK((h_conn_flags(id) & (SIPWIRE_CONN_ASYNC | SIPWIRE_CONN_CONNECTING | SIPWIRE_CONN_CLOSING)) == 0, "flags are %#x", h_conn_flags(id));
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&target, 51, 1, 500) > 0, "a ninth message");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "nine messages over the one connection");
  CHECK(h_accept_now(fd) == NULL, "a second connection was dialled");
  CHECK_NUM(before.dialled + 1, STAT(dialled));
  close(fd);
  h_close(peer);
}

/* A report about each message of a dial that was refused. Returns how many say why: the others were on their way when
 * the address came on the blacklist. */
static uint32_t check_refusals(uint32_t first_tag, const sipwire_addr *addr) {
  uint32_t refused = 0;
  for (uint32_t tag = first_tag; tag < first_tag + SENDERS; tag++) {
    h_event *e = h_failure((uint64_t)tag << 32);
    if (!e) continue;
    CHECK_NUM(1, h_failure_count(e->cookie));
    CHECK((e->reason == SIPWIRE_REASON_CONNECT_FAILED && e->error == ECONNREFUSED) || e->reason == SIPWIRE_REASON_BLACKLISTED,
          "tag %u: reason %s, errno %d", tag, sipwire_reason_text(e->reason), e->error);
    refused += e->reason == SIPWIRE_REASON_CONNECT_FAILED;
    CHECK_NUM(500, e->length);
    CHECK_NUM(0, e->written);
    CHECK(h_addr_equal(&e->remote, addr), "remote is %s", h_addr_text(&e->remote));
  }
  return refused;
}

static void refused(void) {
  sipwire_addr addr;
  int fd = h_refusing_port(&addr);
  sipwire_target target = h_to_addr(&addr);
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
  CHECK(check_refusals(11, &addr) >= 1, "no report says CONNECT_FAILED with ECONNREFUSED");
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 11, 1, 500)); /* the ninth */
  WAIT(STAT(blacklist_refused) >= 1, "the refusal is counted");
  CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));
  close(fd);
}

/* Deterministically all eight: they wait together on a SYN that is not answered, then the listener goes away and the
 * kernel's next SYN is refused. */
static void refused_while_waiting(void) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  sipwire_stats before = h_stats();
  all_send(&addr, 41);
  check_all_queued("full backlog");
  WAIT(STAT(queued_bytes) >= SENDERS * 500, "%llu bytes are queued", (unsigned long long)STAT(queued_bytes));
  uint64_t before_ms = h_now_ms();
  close(full.fd);
  WAIT(h_ledger_settled(), "eight failure reports");
  CHECK_NUM(SENDERS, check_refusals(41, &addr));
  CHECK_NUM(before.dialled + 1, STAT(dialled));
  WAIT_NUM(before.failures_reported + SENDERS, STAT(failures_reported));
  CHECK_NUM(before.blacklist_added + 1, STAT(blacklist_added));

  /* It is listed for blacklist_ttl from then on, and the ninth message is refused at once. */
  int32_t reason = 0;
  uint64_t remaining = remaining_ms(&addr, &reason), passed = h_now_ms() - before_ms;
  CHECK(remaining <= TTL && remaining + passed + 1 >= TTL, "%llu ms remain of %d, %llu ms later at the most", (unsigned long long)remaining, TTL,
        (unsigned long long)passed);
  CHECK_NUM(SIPWIRE_REASON_CONNECT_FAILED, reason);
  CHECK_RC(SIPWIRE_E_BLACKLISTED, h_send_numbered_here(&target, 41, 1, 500));
  CHECK(h_failure((uint64_t)41 << 32 | 1) == NULL, "a message that was refused at once is reported as well");

  /* Allowed again when its time is over, which we make shorter. */
  before_ms = h_now_ms();
  CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &addr, 1000));
  uint64_t after_ms = h_now_ms();
  WAIT(sipwire_blacklist_check(h_instance, &addr) == 0, "its time ends");
  CHECK_ACTED("the time on the blacklist", before_ms, after_ms, 1000, h_now_ms());
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 41, 2, 500));
  WAIT(h_failure((uint64_t)41 << 32 | 2), "dialled again, and refused again");
  CHECK_NUM(before.dialled + 2, STAT(dialled));
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &addr));
  h_ledger_check();
  CHECK_RC(1, sipwire_blacklist_remove(h_instance, &addr));
}

/* To a full backlog all eight wait together, so all eight must say the same. The time is made short when they do, which
 * the next message makes the supervisor look at: a pause of this test ends no dial before. */
static void timed_out(uint64_t timeout) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  sipwire_stats before = h_stats();
  set_live("connect_timeout", "10m");
  uint64_t before_ms = h_now_ms();
  all_send(&addr, 21);
  check_all_queued("full backlog");
  WAIT(STAT(queued_bytes) == SENDERS * 500, "%llu bytes are queued", (unsigned long long)STAT(queued_bytes));
  set_live("connect_timeout", h_full ? "10s" : "1500ms");
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 21, 1, 500));
  uint64_t after_ms = h_now_ms();
  WAIT_FOR(40, h_ledger_settled(), "nine failure reports at connect_timeout");
  for (uint32_t tag = 21; tag < 21 + SENDERS; tag++) {
    h_event *e = h_failure((uint64_t)tag << 32);
    CHECK(e, "no report for tag %u", tag);
    CHECK(e->reason == SIPWIRE_REASON_CONNECT_TIMEOUT, "tag %u: reason %s, expected connect timeout", tag, sipwire_reason_text(e->reason));
    CHECK_NUM(1, h_failure_count((uint64_t)tag << 32));
    CHECK_ACTED("connect_timeout", before_ms, after_ms, timeout, e->time_ms);
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
  /* With the id of an open one it takes that. */
  uint64_t dialled = STAT(dialled);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &target.conn_id));
  CHECK(h_send_numbered_here(&target, 31, 3, 400) >= 0, "fresh send with an id");
  WAIT((h_ledger_receive(two), h_ledger_received(31) == 3), "over the connection of the id");
  CHECK_NUM(dialled, STAT(dialled));
  target.conn_id = 0;
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK(h_send_numbered_here(&target, 31, 4, 400) >= 0, "NO_CONNECT uses an open connection");
  WAIT((h_ledger_receive(one), h_ledger_receive(two), h_ledger_received(31) == 4), "fourth message");
  close(fd);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("connect_timeout", "10m"); /* a dial that waits for this test waits as long as it takes */
  h_setting("blacklist_ttl", "60s");
  h_start(2);
  for (int i = 0; i < SENDERS; i++) senders[i] = h_sender_new();
  syn_unanswered();
  not_accepted();
  refused();
  refused_while_waiting();
  no_connect_flag();
  timed_out(h_full ? 10000 : 1500);
  return h_finish();
}
