/* modes: threads processes */
/* rows: K3 K4 K8 K10 K12 */
/* We ping (RFC 5626 4.4.1): how often, what is a pong and what is not, and that a flow without one fails. */
#include "keepalive.h"

static uint64_t pinged; /* what statistics should say */
static uint64_t ponged;

static void await_ping(h_peer *peer, size_t count, const char *what) {
  WAIT(pings(peer) >= count, "K8: %s: ping %zu", what, count);
  CHECK(pings(peer) == count && crlfs(peer) % 2 == 0, "K8: %s: %zu CRLFs, %zu pings expected", what, crlfs(peer), count);
}

static void heard(uint64_t count) {
  ponged += count;
  WAIT_NUM(ponged, STAT(pongs_heard));
}

/* And no further ping is due. */
static void rests(uint32_t id) {
  heard(1);
  CHECK_NUM(0, info_of(id).pong_wait_ms);
}

/* What was asked of the supervisor before is done: it accepts behind that. */
static void fence(void) {
  h_peer *peer = h_client();
  ask(peer, "fence");
  h_tick();
  h_close(peer);
}

static void often(void) {
  enum { INTERVAL = 300, TIMES = 8 };
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  CHECK_NUM(0, info_of(id).keepalive_ms);
  uint64_t began = h_now_ms();
  keepalive(id, INTERVAL);
  CHECK_NUM(INTERVAL, info_of(id).keepalive_ms);
  for (size_t n = 1; n <= TIMES; n++) {
    await_ping(peer, n, "answered at once");
    uint64_t passed = h_now_ms() - began;
    CHECK(passed >= n * INTERVAL * 8 / 10, "K8 K10: %zu pings in %llu ms: more often than every %d ms", n, (unsigned long long)passed, INTERVAL * 8 / 10);
    pong(peer);
  }
  CHECK(h_now_ms() - began <= TIMES * INTERVAL + h_deadline_ms(5) - h_now_ms(), "K8 K10: %d pings took %llu ms", TIMES, (unsigned long long)(h_now_ms() - began));
  heard(TIMES);
  keepalive(id, 0);
  fence();
  pong(peer); /* the last one may still wait for it, and hold back the next */
  size_t last = pings(peer);
  heard(last - TIMES);
  STAYS(3 * INTERVAL, pings(peer) == last, "K10: pinged although it is off");
  pinged += last;
  ask(peer, "still");
  h_close(peer);
}

/* A pong may be late, cut, or glued to a message; the next ping waits for it. */
static void any_pong(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  keepalive(id, 50);
  await_ping(peer, 1, "first");
  STAYS(400, pings(peer) == 1, "K3: a second ping before the first pong: two pongs would look like a ping");
  CHECK(info_of(id).pong_wait_ms >= 300, "a pong is awaited for %llu ms", (unsigned long long)info_of(id).pong_wait_ms);
  pong(peer);
  heard(1);
  await_ping(peer, 2, "after a late pong");
  keepalive(id, FOUR_HOURS);
  uint64_t bytes = info_of(id).bytes_in;
  h_write(peer, "\r", 1);
  WAIT(info_of(id).bytes_in == bytes + 1, "half a pong is read");
  STAYS(1200, info_of(id).pong_wait_ms > 0, "K4: half a pong is none"); /* and does not grow old */
  h_write(peer, "\n", 1);
  rests(id);
  keepalive(id, 50);
  await_ping(peer, 3, "after a pong in two pieces");
  keepalive(id, FOUR_HOURS);
  char text[2048] = "\r\n";
  h_text request = h_request("OPTIONS", "glued", NULL, NULL);
  memcpy(text + 2, request.data, request.length);
  h_write(peer, text, request.length + 2);
  h_await_answer(peer, 200, "glued");
  rests(id);
  keepalive(id, 50);
  await_ping(peer, 4, "after a pong in front of a message");
  keepalive(id, FOUR_HOURS);
  ask(peer, "no pong");
  CHECK(info_of(id).pong_wait_ms > 0, "K8: a message replaced the pong");
  pong(peer);
  rests(id);
  pinged += 4;
  h_close(peer);
}

/* A CRLF from before the ping and the pong are no ping of the peer's. */
static void crlf_before(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  keepalive(id, FOUR_HOURS);
  pong(peer);
  WAIT(info_of(id).bytes_in == 2, "a CRLF that nobody asked for is read");
  keepalive(id, 10);
  await_ping(peer, 1, "soon after");
  keepalive(id, FOUR_HOURS);
  pong(peer);
  rests(id);
  STAYS(200, crlfs(peer) == 2, "K3 K4: a CRLF and a pong were answered");
  pinged += 1;
  h_close(peer);
}

/* Both sides ping at the same instant: each gets its pong, whatever the order and the cuts. */
static void both(void) {
  static const char *const cuts[][4] = {{"\r\n\r\n\r\n"}, {"\r\n\r\n", "\r\n"}, {"\r\n", "\r\n\r\n"}, {"\r\n\r", "\n\r\n"}, {"\r\n", "\r\n", "\r\n"}};
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    size_t before = 3 * i;
    keepalive(id, 10);
    WAIT(crlfs(peer) >= before + 2, "K8: ping %zu", i);
    keepalive(id, FOUR_HOURS);
    for (size_t k = 0; k < 4 && cuts[i][k]; k++) {
      uint64_t bytes = info_of(id).bytes_in + strlen(cuts[i][k]);
      h_write(peer, cuts[i][k], strlen(cuts[i][k]));
      WAIT(info_of(id).bytes_in == bytes, "piece %zu is read", k);
    }
    rests(id);
    WAIT(crlfs(peer) == before + 3, "K4: way %zu: %zu CRLFs for our ping and the pong to the peer's", i, crlfs(peer) - before);
  }
  STAYS(200, crlfs(peer) == 3 * sizeof cuts / sizeof *cuts, "K3: answered once more");
  pinged += sizeof cuts / sizeof *cuts;
  h_close(peer);
}

static void live(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  keepalive(id, FOUR_HOURS);
  STAYS(300, pings(peer) == 0, "K10: pinged within 300 ms, every four hours");
  keepalive(id, 100); /* over already */
  await_ping(peer, 1, "a shorter interval");
  pong(peer);
  heard(1);
  await_ping(peer, 2, "the next one");
  keepalive(id, 0);
  STAYS(300, pings(peer) == 2, "K10: pinged although it is off");
  CHECK_NUM(0, info_of(id).keepalive_ms);
  keepalive(id, 100); /* the old ping is forgotten */
  await_ping(peer, 3, "on again");
  pong(peer);
  heard(1);
  keepalive(id, SIPWIRE_KEEPALIVE_DEFAULT);
  CHECK_NUM(SIPWIRE_KEEPALIVE_DEFAULT, info_of(id).keepalive_ms);
  STAYS(300, pings(peer) == 3, "K8: the default is not before 95 s");
  pinged += 3;
  h_close(peer);
}

/* Pinging keeps a connection, whose lifetime then does not run. */
static void lives(void) {
  set_live("connection_lifetime", "400ms");
  h_peer *peer = h_client(), *other = h_client();
  uint32_t id = h_conn_of(peer), other_id = h_conn_of(other);
  uint64_t before = h_now_ms();
  keepalive(other_id, FOUR_HOURS);
  keepalive(id, 200);
  for (size_t n = 1; n <= 8; n++) {
    await_ping(peer, n, "of a connection that lives");
    if (n == 8) keepalive(id, FOUR_HOURS);
    pong(peer);
  }
  heard(8);
  CHECK(h_now_ms() - before >= 1200, "too fast to say anything");
  CHECK(!h_find(EV_CLOSE, id, NULL) && !h_find(EV_CLOSE, other_id, NULL), "K12: closed although keep-alive is on");
  before = h_now_ms();
  keepalive(other_id, 0);
  WAIT(h_find(EV_CLOSE, other_id, NULL), "keep-alive is off and the lifetime over");
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, other_id, NULL)->reason);
  set_live("connection_lifetime", "10m");
  pinged += pings(peer);
  h_close(other);
  h_close(peer);
}

/* No pong: messages or pings instead, or nothing. */
static void fails(int how, const char *what) {
  enum { PONG_MS = 1000 };
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  sipwire_stats stats = h_stats();
  set_live("pong_timeout", "1s");
  uint64_t before = h_now_ms(), answers = 0;
  keepalive(id, 10);
  WAIT(pings(peer) == 1, "K8: %s: a ping", what);
  uint64_t after = h_now_ms();
  while (!h_find(EV_CLOSE, id, NULL) && h_now_ms() < h_deadline_ms(15)) {
    h_text message = h_request("OPTIONS", "instead", NULL, NULL);
    if (how == 1) h_try_write(peer, message.data, message.length);
    if (how == 2) h_try_write(peer, "\r\n\r\n", 4);
    for (int i = 0; i < 10; i++) h_tick();
    answers = h_total(EV_MESSAGE);
    if (h_now_ms() > after + 10000) break;
  }
  CHECK_CLOSED("K8", id, SIPWIRE_REASON_FLOW_FAILED, before, after, PONG_MS);
  CHECK(how != 1 || answers > 10, "messages were read meanwhile");
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &peer->local));
  WAIT_NUM(stats.flows_failed + 1, STAT(flows_failed));
  WAIT_NUM(stats.closed_by_reason[SIPWIRE_REASON_FLOW_FAILED] + 1, STAT(closed_by_reason)[SIPWIRE_REASON_FLOW_FAILED]);
  h_await_end(peer, "the peer's side");
  set_live("pong_timeout", "10m");
  pinged += 1;
  h_close(peer);
}

/* A message is under way when the time is over: the pong, which cannot come before its end, may follow it. */
static void inside_a_message(bool pong_follows) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  set_live("pong_timeout", "700ms");
  char text[2048];
  h_text request = h_request("OPTIONS", "long", NULL, NULL);
  memcpy(text, request.data, request.length);
  h_write(peer, text, request.length - 5);
  WAIT(info_of(id).partial_bytes == request.length - 5, "most of a message is read");
  keepalive(id, 10);
  WAIT(pings(peer) == 1, "K8: a ping while a message comes in");
  keepalive(id, FOUR_HOURS);
  STAYS(1500, !h_find(EV_CLOSE, id, NULL), "K8: failed inside the peer's message");
  memmove(text, text + request.length - 5, 5);
  memcpy(text + 5, "\r\n", 2);
  h_write(peer, text, pong_follows ? 7 : 5);
  if (pong_follows) {
    h_await_answer(peer, 200, "long");
    rests(id);
    STAYS(500, !h_find(EV_CLOSE, id, NULL), "K8: failed although the pong came");
  } else {
    WAIT(h_find(EV_CLOSE, id, NULL), "K8: no pong behind the message");
    CHECK_NUM(SIPWIRE_REASON_FLOW_FAILED, h_find(EV_CLOSE, id, NULL)->reason);
  }
  set_live("pong_timeout", "10m");
  pinged += 1;
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "30ms");
  h_setting("pong_timeout", "10m");
  h_setting("connection_lifetime", "10m");
  h_setting("message_timeout", "10m");
  h_start(2);
  often();
  any_pong();
  crlf_before();
  both();
  live();
  lives();
  fails(0, "a silent peer");
  fails(1, "messages");
  fails(2, "pings of the peer's");
  set_live("worker_hold", "60s"); /* with a worker all the time */
  fails(0, "a silent peer that is held");
  fails(1, "messages on a connection that is held");
  inside_a_message(true);
  inside_a_message(false);
  any_pong();
  both();
  WAIT_NUM(pinged, STAT(pings_sent));
  return h_finish();
}
