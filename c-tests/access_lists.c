/* modes: threads processes */
/* allow_networks, deny_networks and trusted_networks: who is refused is closed at once, counted by why and logged; the lists
 * are set before the start and, whole, by any process while running. Deny wins, allow leaves everybody else out, trusted
 * is free of limits per address. per_ip_prefix4: addresses that begin alike count as one. */
#include "deadline.h"

static sipwire_addr listener;
static uint64_t refusals(void) {
  sipwire_stats s = h_stats();
  return s.refused_denied + s.refused_not_allowed + s.refused_max_connections_per_ip + s.refused_max_connections + s.refused_rate + s.refused_rate_per_ip;
}

/* Connects, waits for the verdict; the peer if it was let in. */
static h_peer *try(const char *ip) {
  uint64_t accepted = STAT(accepted), both = accepted + refusals();
  h_peer *peer = h_connect_from(&listener, ip, 0);
  CHECK(peer, "connect from %s: %s", ip, strerror(errno));
  WAIT(STAT(accepted) + refusals() == both + 1, "%s is let in or refused", ip);
  if (STAT(accepted) > accepted) {
    h_write_text(peer, h_request("OPTIONS", ip, NULL, NULL));
    h_await_answer(peer, 200, ip);
    return peer;
  }
  h_await_end(peer, "refused is closed");
  CHECK_NUM(0, peer->length);
  h_close(peer);
  return NULL;
}

static void let_in(const char *ip) {
  h_peer *peer = try(ip);
  CHECK(peer, "%s is refused", ip);
  uint64_t closed = STAT(closed);
  h_close(peer);
  WAIT(STAT(closed) > closed, "%s is closed", ip);
}

#define REFUSED(ip, counter)                                                                                           \
  do {                                                                                                                 \
    uint64_t before_ = STAT(counter);                                                                                  \
    CHECK(!try(ip), "%s is let in", ip);                                                                               \
    CHECK(STAT(counter) == before_ + 1, "%s: not counted as " #counter, ip);                                           \
  } while (0)

/* A turn that has begun goes on with the settings it has: a round trip through the supervisor first. */
static void change(const char *key, const char *value) {
  set_live(key, value);
  char text[200];
  CHECK(sipwire_get(h_instance, key, text, sizeof text) > 0 && strcmp(text, value) == 0, "%s is %s, expected %s", key, text, value);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  h_close(peer);
  WAIT(!h_info(id, &info), "the supervisor has seen the change");
}

static void from_another(h_sender *self) {
  (void)self;
  set_live("deny_networks", "127.0.9.9");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("deny_networks", "127.0.2.0/24, 2001:db8::/32");
  h_setting("log_level", "warning");
  h_start(2);
  listener = h_listener(0);

  REFUSED("127.0.2.1", refused_denied);
  WAIT((sipwire_log_drain(h_instance), h_find(EV_LOG, 0, "127.0.2.1:") && h_find(EV_LOG, 0, "deny_networks")), "a line says who and why");
  REFUSED("127.0.2.255", refused_denied);
  let_in("127.0.1.255");
  let_in("127.0.3.0");

  change("deny_networks", "127.0.3.7");
  let_in("127.0.2.1");
  REFUSED("127.0.3.7", refused_denied);
  change("deny_networks", "none");
  let_in("127.0.3.7");

  change("allow_networks", "127.0.0.0/24, 127.0.4.0/24");
  let_in("127.0.4.9");
  REFUSED("127.0.5.9", refused_not_allowed);
  change("deny_networks", "127.0.4.128/25"); /* wins */
  let_in("127.0.4.9");
  REFUSED("127.0.4.129", refused_denied);
  change("trusted_networks", "127.0.4.129, 127.0.5.9"); /* is no admission */
  REFUSED("127.0.4.129", refused_denied);
  REFUSED("127.0.5.9", refused_not_allowed);
  change("allow_networks", "none");
  change("deny_networks", "none");

  /* Limits per address. Those that are open stay and count. */
  change("max_connections_per_ip", "2");
  h_peer *a = try("127.0.6.1"), *b = try("127.0.6.1");
  CHECK(a && b, "below the limit");
  REFUSED("127.0.6.1", refused_max_connections_per_ip);
  let_in("127.0.6.2");
  change("per_ip_prefix4", "24"); /* what is open is counted anew */
  REFUSED("127.0.6.2", refused_max_connections_per_ip);
  let_in("127.0.7.1");
  change("trusted_networks", "127.0.6.2");
  let_in("127.0.6.2");
  REFUSED("127.0.6.3", refused_max_connections_per_ip);
  uint64_t closed = STAT(closed);
  h_close(a);
  WAIT(STAT(closed) > closed, "room for one");
  let_in("127.0.6.3");
  change("per_ip_prefix4", "32");
  change("trusted_networks", "none");
  h_peer *c = try("127.0.6.1");
  CHECK(c, "one of two");
  REFUSED("127.0.6.1", refused_max_connections_per_ip);
  let_in("127.0.6.2");
  change("max_connections_per_ip", "0");

  /* By another process; and a list that does not fit is refused whole. */
  h_sender *sender = h_sender_new();
  h_sender_run(sender, from_another);
  h_sender_wait(sender);
  change("log_level", "warning");
  REFUSED("127.0.9.9", refused_denied);
  char line[300] = "", text[100];
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "deny_networks", "127.0.9.9/16", line, sizeof line));
  CHECK(strstr(line, "deny_networks") && strstr(line, "127.0.0.0/16"), "the line is: %s", line);
  sipwire_get(h_instance, "deny_networks", text, sizeof text);
  CHECK(strcmp(text, "127.0.9.9") == 0, "deny_networks is %s", text);
  CHECK_NUM(0, STAT(degraded));
  return h_finish();
}
