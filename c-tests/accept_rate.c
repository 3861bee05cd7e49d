/* modes: threads processes */
/* accept_rate and accept_rate_per_ip: so many connections in a second are accepted, further ones are closed at once and
 * counted by why; trusted networks are free of both; time makes room again; both can be changed while running. */
#include "deadline.h"

enum { RATE = 20 };
static sipwire_addr listener;

typedef struct count { uint64_t accepted, rate, per_ip; } count;
static count now(void) {
  sipwire_stats s = h_stats();
  return (count){s.accepted, s.refused_rate, s.refused_rate_per_ip};
}

/* So many connect from there, one after the other. */
static count burst(const char *ip, uint64_t n) {
  count before = now(), after;
  for (uint64_t i = 0; i < n; i++) {
    h_peer *peer = h_connect_from(&listener, ip, 0);
    CHECK(peer, "connect: %s", strerror(errno));
    WAIT((after = now(), after.accepted + after.rate + after.per_ip == before.accepted + before.rate + before.per_ip + i + 1), "let in or refused");
    h_close(peer);
  }
  return (count){after.accepted - before.accepted, after.rate - before.rate, after.per_ip - before.per_ip};
}

/* One is let in, and its end is a later turn of the supervisor's than the one that let it in: from then on it has the
 * settings that were made before. */
static void let_in(const char *ip, const char *why) {
  WAIT(burst(ip, 1).accepted == 1, "%s", why);
  WAIT_NUM(0, STAT(connections));
}

/* What may come in this time, in which the test may have stood still. */
static uint64_t most(uint64_t since_ms, uint64_t rate) { return rate + (h_now_ms() - since_ms + 1) * rate / 1000 + 1; }

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("accept_rate", "20");
  h_setting("log_level", "warning");
  h_start(2);
  listener = h_listener(0);

  uint64_t began = h_now_ms();
  count got = burst("127.0.1.1", 5 * RATE);
  CHECK(got.accepted >= RATE && got.accepted <= most(began, RATE), "%llu accepted in %llu ms", (unsigned long long)got.accepted, (unsigned long long)(h_now_ms() - began));
  if (got.accepted == 5 * RATE) h_skip("this machine does not connect faster than the rate");
  CHECK_NUM(0, got.per_ip);
  WAIT((sipwire_log_drain(h_instance), h_find(EV_LOG, 0, "accept_rate reached")), "a line says why");
  size_t lines = h_count(EV_LOG, 0, "accept_rate reached");
  CHECK(lines <= 2 + (h_now_ms() - began) / 1000, "%zu lines", lines);
  let_in("127.0.1.1", "time makes room again");

  set_live("trusted_networks", "127.0.2.0/24");
  let_in("127.0.2.1", "trusted");
  got = burst("127.0.2.1", 4 * RATE);
  CHECK_NUM(4 * RATE, got.accepted);

  set_live("accept_rate", "0");
  set_live("accept_rate_per_ip", "20");
  let_in("127.0.3.1", "not limited over all");
  began = h_now_ms();
  got = burst("127.0.4.1", 5 * RATE);
  CHECK(got.accepted >= RATE && got.accepted <= most(began, RATE), "%llu accepted of one address", (unsigned long long)got.accepted);
  CHECK(got.per_ip == 5 * RATE - got.accepted, "%llu refused", (unsigned long long)got.per_ip);
  CHECK(got.per_ip > 0, "this machine does not connect faster than the rate");
  got = burst("127.0.4.2", RATE); /* has its own */
  CHECK_NUM(RATE, got.accepted);
  got = burst("127.0.2.1", 4 * RATE);
  CHECK_NUM(4 * RATE, got.accepted);
  set_live("accept_rate_per_ip", "0");
  let_in("127.0.4.1", "the limit is off");
  got = burst("127.0.4.1", 4 * RATE);
  CHECK_NUM(4 * RATE, got.accepted);
  return h_finish();
}
