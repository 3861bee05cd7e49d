/* modes: threads processes */
/* Clients that send no PROXY header: they delay nobody, end after proxy_timeout with a count and a line (or are served,
 * where it is optional), and however many there are, others have their places. */
#include "deadline.h"
#include "proxy.h"

enum { PLACES = 8, MUTE = 5 };
static sipwire_addr required, optional, plain, client, called;

static void served(const char *call_id) {
  header h = header_of(1, &client, &called);
  h_peer *peer = h_connect(&required);
  write_header(peer, &h);
  ask(peer, call_id);
  h_close(peer);
  peer = h_connect(&plain);
  ask(peer, call_id);
  h_close(peer);
  WAIT_NUM(0, STAT(slots_used));
}

/* Of all that wait the watchdog is far shorter than their time: who waited behind them would not be served. */
static void beside_mute_ones(void) {
  h_peer *mute[MUTE];
  for (int i = 0; i < MUTE; i++) mute[i] = h_connect(&required);
  for (int i = 1; i < MUTE; i++) h_write(mute[i], "PROXY TCP4 203.0.113.7 198", (size_t)(i * 6));
  WAIT_NUM(MUTE, STAT(proxy_waiting));
  for (int i = 0; i < 10; i++) served("beside");
  CHECK_NUM(MUTE, STAT(proxy_waiting));
  for (int i = 0; i < MUTE; i++) CHECK(!h_ended(mute[i]), "client %d has 60 s", i);
  uint64_t cpu = h_cpu_ms(h_find_task("sipwire-super")); /* what has come of a header wakes nobody again */
  STAYS(500, STAT(proxy_waiting) == MUTE, "they wait");
  cpu = h_cpu_ms(h_find_task("sipwire-super")) - cpu;
  CHECK(cpu < 250, "the supervisor used %llu ms of 500 for clients that do nothing", (unsigned long long)cpu);
  CHECK_NUM(0, STAT(refused_proxy));
  h_write(mute[0], "PROXY UNKNOWN\r\n", 15); /* who only was slow */
  ask(mute[0], "slow");
  for (int i = 0; i < MUTE; i++) h_close(mute[i]);
  WAIT_NUM(0, STAT(proxy_waiting));
  WAIT_NUM(MUTE - 1, STAT(refused_proxy)); /* each ended within its header */
}

static void late(void) {
  uint64_t refused = STAT(refused_proxy), by_reason = STAT(closed_by_reason)[SIPWIRE_REASON_PROXY], before = h_now_ms();
  h_peer *mute = h_connect(&required), *begun = h_connect(&required), *begun_there = h_connect(&optional);
  h_write(begun, "PROXY TC", 8);
  h_write(begun_there, "PROXY TC", 8);
  h_peer *silent = h_connect(&optional);
  WAIT_NUM(4, STAT(proxy_waiting));
  uint64_t after = h_now_ms();
  set_live("proxy_timeout", "1500ms"); /* by then a line may be logged again */
  h_await_end(mute, "a client without a header");
  CHECK_ACTED("proxy_timeout", before, after, 1500, h_now_ms());
  h_await_end(begun, "one whose header is not whole");
  h_await_end(begun_there, "one that began a header that is optional");
  WAIT_NUM(0, STAT(proxy_waiting));
  WAIT_NUM(refused + 3, STAT(refused_proxy));
  CHECK_NUM(by_reason + 3, STAT(closed_by_reason)[SIPWIRE_REASON_PROXY]);
  WAIT(h_find(EV_LOG, 0, "proxy_timeout"), "a line about it");
  CHECK(h_count(EV_LOG, 0, "proxy_timeout") <= 3, "%zu lines", h_count(EV_LOG, 0, "proxy_timeout"));
  sipwire_addr there = silent->local;
  uint32_t id;
  WAIT(sipwire_conn_find(h_instance, &there, NULL, &id) == SIPWIRE_OK, "without a header one is served there");
  ask(silent, "silent");
  check_pair("silent", &there, &optional, &there, &optional);
  h_close(silent);
  WAIT_NUM(0, STAT(slots_used));
  set_live("proxy_timeout", "60s");
}

/* Connections and clients that wait have PLACES places; who has waited longest makes room. */
static void many(void) {
  uint64_t refused = STAT(refused_proxy);
  h_peer *mute[3 * PLACES], *open[PLACES];
  for (int i = 0; i < 3 * PLACES; i++) {
    mute[i] = h_connect(&required);
    WAIT_NUM(i < PLACES ? i + 1 : PLACES, STAT(proxy_waiting));
    WAIT_NUM(refused + (i < PLACES ? 0 : i + 1 - PLACES), STAT(refused_proxy));
  }
  for (int i = 0; i < 3 * PLACES; i++) {
    if (i < 2 * PLACES) h_await_end(mute[i], "one of those that waited longest");
    else CHECK(!h_ended(mute[i]), "client %d of the last %d has a place", i, PLACES);
  }
  header h = header_of(2, &client, &called);
  for (int i = 0; i < PLACES; i++) { /* also for one that needs no header */
    open[i] = h_connect(i % 2 ? &plain : &required);
    if (i % 2 == 0) write_header(open[i], &h);
    ask(open[i], "place");
    WAIT_NUM(PLACES - 1 - i, STAT(proxy_waiting));
  }
  CHECK_NUM(0, STAT(refused_max_connections));
  h_peer *over = h_connect(&required); /* now all are connections, and stay */
  h_await_end(over, "one too many");
  WAIT_NUM(1, STAT(refused_max_connections));
  for (int i = 0; i < PLACES; i++) ask(open[i], "stays");
  CHECK_NUM(refused + 3 * PLACES, STAT(refused_proxy));
  for (int i = 0; i < PLACES; i++) h_close(open[i]);
  WAIT_NUM(0, STAT(slots_used));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  char places[8];
  snprintf(places, sizeof places, "%d", PLACES);
  h_setting("max_connections", places);
  h_setting("proxy_timeout", "60s");
  h_no_listener = true;
  for (int i = 0; i < 3; i++) h_listen("tcp:127.0.0.1:0");
  sipwire_config_listener_set(h_config, 0, "proxy_protocol", "required");
  sipwire_config_listener_set(h_config, 1, "proxy_protocol", "optional");
  h_start(2);
  required = h_listener(0), optional = h_listener(1), plain = h_listener(2);
  client = address("203.0.113.7:4660"), called = address("198.51.100.9:5060");
  beside_mute_ones();
  late();
  many();
  return h_finish();
}
