/* modes: threads processes */
/* rows: K1 K2 K3 K4 K5 K6 K7 K12 */
/* RFC 5626 4.4.1, as the server: CRLFCRLF between messages is answered by exactly one CRLF, in every cut and behind what
 * is queued; a lone CRLF is nothing; pings keep a connection from being idle and prove nothing else. */
#include "deadline.h"
#include "stream.h"

static const char PING[] = "\r\n\r\n";
enum { FLOOD = 10000 };

/* Pongs so far, when all that was received is pongs and whole messages. */
static void check_pongs(h_peer *peer, size_t expected, const char *what) {
  h_frame none;
  WAIT((h_next(peer, &none), peer->pongs >= expected), "%s: %zu of %zu pongs", what, peer->pongs, expected);
  STAYS(100, (h_next(peer, &none), peer->pongs == expected && peer->parsed == peer->length), "%s: %zu pongs and %zu other bytes, expected %zu pongs",
        what, peer->pongs, peer->length - peer->parsed, expected);
}

static void check_alive(h_peer *peer, const char *call_id) {
  h_write_text(peer, h_request("OPTIONS", call_id, NULL, NULL));
  h_await_answer(peer, 200, call_id);
}

static void answered(void) {
  h_peer *peer = h_client();
  h_write(peer, PING, 4);
  check_pongs(peer, 1, "K1 one ping");
  CHECK(peer->length == 2 && memcmp(peer->in, "\r\n", 2) == 0, "K1: %zu bytes came back", peer->length);
  h_write(peer, "\r\n\r\n\r\n\r\n", 8);
  check_pongs(peer, 3, "K1 two pings in one write");
  h_close(peer);
}

/* K1: while the worker that has the connection is in the script, another one answers. */
static void answered_beside_a_script(void) {
  enum { PEERS = 3 }; /* two of them with the same worker, of two */
  h_peer *peer[PEERS];
  int32_t worker[PEERS];
  for (int i = 0; i < PEERS; i++) {
    char call_id[16];
    snprintf(call_id, sizeof call_id, "K1-%d", i);
    peer[i] = h_client();
    check_alive(peer[i], call_id);
    worker[i] = h_find(EV_MESSAGE, h_conn_of(peer[i]), NULL)->worker;
  }
  int a = worker[0] == worker[1] ? 0 : worker[0] == worker[2] ? 0 : 1, b = worker[a] == worker[a + 1] ? a + 1 : 2;
  CHECK_NUM(worker[a], worker[b]);
  h_write_text(peer[a], h_request("OPTIONS", "K1-busy", "X-Wait: 0\r\n", NULL));
  WAIT(STAT(callbacks_running) == 1, "the script runs");
  h_write(peer[b], PING, 4);
  check_pongs(peer[b], 1, "K1 beside a script");
  CHECK(*h_word(0) == 0 && STAT(callbacks_running) == 1, "K1: the script ended before");
  *h_word(0) = 1;
  h_await_answer(peer[a], 200, "K1-busy");
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
}

/* K2: it begins no message, so that message_timeout does not run, and nothing is kept of it. */
static void lone(void) {
  static const char *const pieces[] = {"\r\n", "\r", "\n", "\r\n\r", " \r\n \r\n"};
  set_live("message_timeout", "200ms");
  h_peer *peer[5];
  uint32_t id[5];
  for (size_t i = 0; i < 5; i++) {
    peer[i] = h_client();
    id[i] = h_conn_of(peer[i]);
    s_write_in(peer[i], id[i], pieces[i], strlen(pieces[i]), 8);
  }
  STAYS(1500, STAT(partial_bytes) == 0, "K2: a lone line end is kept as a message");
  for (size_t i = 0; i < 5; i++) {
    CHECK(!h_ended(peer[i]) && !h_find(EV_CLOSE, id[i], NULL), "K2: piece %zu ended its connection", i);
    CHECK(peer[i]->length == 0, "K2: piece %zu was answered", i);
    check_alive(peer[i], "K2");
    CHECK(peer[i]->pongs == 0, "K2: piece %zu was answered", i);
    h_close(peer[i]);
  }
  set_live("message_timeout", "20s");
}

/* K3: a peer's answers to our pings, which come one by one. */
static void never_add_up(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  for (int i = 0; i < 3; i++) {
    s_write_in(peer, id, "\r\n", 2, 2);
    STAYS(1100, peer->length == 0, "K3: lone CRLF %d was answered", i);
  }
  for (int i = 0; i < 4; i++) { /* nor do single bytes keep old ones alive */
    s_write_in(peer, id, PING + i, 1, 1);
    STAYS(400, peer->length == 0, "K3: a ping that took more than a second was answered");
  }
  check_alive(peer, "K3");
  CHECK_NUM(0, peer->pongs);
  h_close(peer);
}

/* K4: each piece is a read of its own. They must come within a second; where this test itself took longer, again. */
static void split(void) {
  for (unsigned cuts = 1; cuts < 8; cuts++) { /* bit i: cut behind byte i + 1 */
    for (int tries = 0;; tries++) {
      CHECK(tries < 20, "K4: this machine is too slow to send a ping within a second");
      h_peer *peer = h_client();
      uint32_t id = h_conn_of(peer);
      uint64_t begun = h_now_ms();
      for (size_t at = 0, end = 1; end <= 4; end++)
        if (end == 4 || cuts >> (end - 1) & 1) {
          s_write_in(peer, id, PING + at, end - at, 4);
          at = end;
        }
      bool counts = h_now_ms() - begun < 900;
      char what[32];
      snprintf(what, sizeof what, "K4 cuts %u", cuts);
      if (counts) check_pongs(peer, 1, what);
      h_close(peer);
      if (counts) break;
    }
  }
}

/* K5: glued to requests on either side, and inside one, where it is none. */
static void beside_messages(void) {
  h_peer *peer = h_client();
  char all[4096];
  size_t length = 0, pongs = 0;
  for (int i = 0; i < 2; i++) {
    char call_id[16];
    snprintf(call_id, sizeof call_id, "K5-%d", i);
    h_text text = h_request("INVITE", call_id, NULL, "\r\n\r\n\r\n\r\n");
    memcpy(all + length, PING, 4);
    memcpy(all + length + 4, text.data, text.length);
    length += 4 + text.length;
  }
  memcpy(all + length, PING, 4);
  for (size_t piece = sizeof all; piece; piece = piece == 1 ? 0 : 1) {
    s_write_in(peer, h_conn_of(peer), all, length + 4, piece);
    h_await_answer(peer, 200, "K5-0");
    CHECK(peer->pongs == pongs + 1, "K5: %zu pongs before the first answer", peer->pongs - pongs);
    h_await_answer(peer, 200, "K5-1");
    CHECK(peer->pongs == pongs + 2, "K5: %zu pongs before the second answer", peer->pongs - pongs);
    check_pongs(peer, pongs += 3, "K5");
  }
  h_close(peer);
}

/* K6: few pongs, and no memory, for many pings. */
static void flood(void) {
  static char pings[4 * FLOOD];
  for (size_t i = 0; i < sizeof pings; i += 4) memcpy(pings + i, PING, 4);
  uint64_t counted = STAT(pings), blocks = STAT(blocks_used);
  h_peer *peer = h_client();
  h_write(peer, pings, sizeof pings);
  WAIT_NUM(counted + FLOOD, STAT(pings));
  check_alive(peer, "K6");
  CHECK(peer->pongs >= 1 && peer->pongs <= FLOOD / 10, "K6: %zu pongs for %d pings", peer->pongs, FLOOD);
  WAIT(STAT(blocks_used) <= blocks + 16, "K6: %llu blocks are used, were %llu", (unsigned long long)STAT(blocks_used), (unsigned long long)blocks);
  CHECK_NUM(0, STAT(queued_bytes));
  h_close(peer);
}

/* It is back with the supervisor: no worker is in the middle of what it has read. */
static bool given_back(uint32_t id) {
  static char text[1 << 16];
  char name[16], *line;
  snprintf(name, sizeof name, "%#x ", id);
  CHECK(sipwire_dump(h_instance, SIPWIRE_DUMP_CONNECTIONS, text, sizeof text) < (int64_t)sizeof text, "room for the connections");
  line = strstr(text, name);
  CHECK(line, "connection %#x is gone", id);
  line[strcspn(line, "\n")] = 0;
  return strstr(line, " owner idle ") != NULL;
}

/* K7: with a message half written, one pong for all pings comes behind everything queued; K6: and none of them is queued.
 * False: the kernel, whose buffers grow while nobody reads, has taken all that was queued before the pings came. */
static bool behind_queued_output(uint32_t tag) {
  static char pings[4 * FLOOD];
  for (size_t i = 0; i < sizeof pings; i += 4) memcpy(pings + i, PING, 4);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer), n = 0;
  sipwire_target target = h_to_conn(id);
  sipwire_conn_info info;
  peer->paused = true;
  set_live("worker_hold", "50ms");
  n = h_fill(&target, tag, 0, 16000, 10);
  CHECK(h_info(id, &info), "K7: the connection is gone");
  uint64_t queued = info.queued_bytes, blocks = STAT(blocks_used);
  h_write(peer, pings, sizeof pings);
  s_read(peer, id, sizeof pings);
  WAIT(given_back(id), "K7: all of them are seen to"); /* else some may come behind the pong of the others, and have one of their own */
  CHECK(h_info(id, &info) && info.queued_bytes <= queued, "K7: %llu bytes are queued, were %llu", (unsigned long long)info.queued_bytes, (unsigned long long)queued);
  CHECK(STAT(blocks_used) <= blocks + 16, "K7: %llu blocks are used, were %llu", (unsigned long long)STAT(blocks_used), (unsigned long long)blocks);
  if (info.queued_bytes == 0) {
    h_close(peer);
    return false;
  }
  peer->paused = false;
  h_frame frame;
  for (uint32_t i = 0; i < n; i++) {
    WAIT(h_next(peer, &frame), "K7: message %u of %u", i, n);
    CHECK(peer->pongs == 0, "K7: a pong in front of message %u of %u", i, n);
    h_ledger_take(&frame);
  }
  check_pongs(peer, 1, "K7");
  CHECK_NUM(n, h_ledger_received(tag));
  check_alive(peer, "K7");
  h_close(peer);
  return true;
}

/* K12: pings refresh connection_lifetime; without them it ends the connection. A pause of the test itself spoils a try. */
static void keeps_from_being_idle(void) {
  set_live("connection_lifetime", "2s");
  set_live("worker_hold", "50ms"); /* it is idle with the supervisor between two pings */
  for (int tries = 0;; tries++) {
    CHECK(tries < 10, "K12: this machine is too slow to ping within two seconds");
    h_peer *peer = h_client();
    uint32_t id = h_conn_of(peer);
    uint64_t begun = h_now_ms(), before = begun, longest = 0;
    size_t pings = 0;
    while (h_now_ms() - begun < 5000 && !h_ended(peer)) {
      before = h_now_ms();
      if (!h_try_write(peer, PING, 4)) break;
      pings++;
      h_frame none;
      WAIT((h_next(peer, &none), peer->pongs == pings || h_ended(peer)), "K12: pong %zu", pings);
      for (int i = 0; i < 100; i++) h_tick();
      if (h_now_ms() - before > longest) longest = h_now_ms() - before;
    }
    if (longest > 1500) {
      h_close(peer);
      continue;
    }
    CHECK(!h_ended(peer), "K12: an idle connection ended though it pings");
    WAIT(h_find(EV_CLOSE, id, NULL), "K12: it ends when it pings no more");
    CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, id, NULL)->reason);
    CHECK_ACTED("connection_lifetime", before, before, 2000, h_find(EV_CLOSE, id, NULL)->time_ms);
    h_close(peer);
    break;
  }
  set_live("connection_lifetime", "120s");
}

/* K12: a client that only pings has not shown that it speaks SIP. */
static void proves_nothing(void) {
  set_live("first_message_timeout", "2s");
  uint64_t before = h_now_ms(), opened = h_total(EV_OPEN);
  h_peer *peer = h_client();
  WAIT(h_nth(EV_OPEN, opened) || h_ended(peer), "on_open");
  uint64_t after = h_now_ms();
  uint32_t id = h_nth(EV_OPEN, opened)->conn_id;
  while (!h_find(EV_CLOSE, id, NULL)) {
    CHECK(h_now_ms() < after + 20000, "K12: a connection that only pings stays open");
    h_try_write(peer, PING, 4);
    for (int i = 0; i < 20; i++) h_tick();
  }
  CHECK_NUM(SIPWIRE_REASON_FIRST_MESSAGE_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("first_message_timeout", before, after, 2000, h_find(EV_CLOSE, id, NULL)->time_ms);
  h_close(peer);
  set_live("first_message_timeout", "0");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("send_timeout", "10m");
  h_start(2);
  uint64_t messages = h_total(EV_MESSAGE);
  answered();
  CHECK_NUM(messages, h_total(EV_MESSAGE));
  answered_beside_a_script();
  lone();
  never_add_up();
  split();
  beside_messages();
  flood();
  for (uint32_t tag = 1; !behind_queued_output(tag); tag++) CHECK(tag < 20, "K7: this kernel takes everything");
  keeps_from_being_idle();
  proves_nothing();
  return h_finish();
}
