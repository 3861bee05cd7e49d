/* modes: threads processes */
/* proxy_networks: from others a header is not believed. max_connections_per_ip counts whom a connection is for. */
#include "proxy.h"

enum { LIMIT = 3 };
static sipwire_addr required, optional, client[2], called;

static h_peer *from(const char *ip, const sipwire_addr *to, int who) {
  h_peer *peer = h_connect_from(to, ip, 0);
  CHECK(peer, "connect from %s: %s", ip, strerror(errno));
  if (who >= 0) {
    header h = header_of(1 + who, &client[who], &called);
    h_try_write(peer, h.data, h.length);
  }
  return peer;
}

static void trust(void) {
  h_peer *peer = from("127.0.0.2", &required, 0);
  ask(peer, "believed");
  check_pair("believed", &client[0], &called, &peer->local, &required);
  h_close(peer);
  uint64_t refused = STAT(refused_proxy);
  for (int who = -1; who < 2; who++) {
    peer = from("127.0.1.1", &required, who);
    h_await_end(peer, "of another network"); /* at once: proxy_timeout is 60 s */
    h_close(peer);
  }
  WAIT_NUM(refused + 3, STAT(refused_proxy));
  WAIT(h_find(EV_LOG, 0, "not from proxy_networks"), "a line about it");

  peer = from("127.0.1.1", &optional, -1);
  ask(peer, "plain");
  check_pair("plain", &peer->local, &optional, &peer->local, &optional);
  h_close(peer);
  uint64_t not_sip = STAT(closed_by_reason)[SIPWIRE_REASON_NOT_SIP];
  peer = from("127.0.1.1", &optional, 0); /* in a stream of SIP a header is no SIP */
  h_await_end(peer, "a header that is not believed");
  h_close(peer);
  WAIT_NUM(not_sip + 1, STAT(closed_by_reason)[SIPWIRE_REASON_NOT_SIP]);
  CHECK_NUM(refused + 3, STAT(refused_proxy));
  peer = from("127.0.0.3", &optional, 1);
  ask(peer, "believed-too");
  check_pair("believed-too", &client[1], &called, &peer->local, &optional);
  h_close(peer);
  WAIT_NUM(0, STAT(slots_used));
}

static void limit(void) {
  h_peer *open[2 * LIMIT];
  for (int i = 0; i < 2 * LIMIT; i++) { /* all from one balancer */
    sipwire_addr *who = &client[i % 2];
    who->port = (uint16_t)(1000 + i);
    ask(open[i] = from("127.0.0.2", &required, i % 2), "one of few");
  }
  for (int who = 0; who < 2; who++) {
    uint64_t refused = STAT(refused_max_connections_per_ip);
    h_peer *peer = from("127.0.0.9", &required, who);
    h_await_end(peer, "one too many of its address");
    WAIT_NUM(refused + 1, STAT(refused_max_connections_per_ip));
    h_close(peer);
    h_close(open[who]);
    WAIT_NUM(2 * LIMIT - 1, STAT(slots_used));
    client[who].port = (uint16_t)(2000 + who);
    ask(open[who] = from("127.0.0.9", &required, who), "room again");
  }
  char line[200];
  snprintf(line, sizeof line, "%d.%d.%d.%d", client[0].ip[0], client[0].ip[1], client[0].ip[2], client[0].ip[3]);
  WAIT(h_find(EV_LOG, 0, "max_connections_per_ip"), "a line about it");
  CHECK(h_find(EV_LOG, 0, line), "the line is not about %s", line);
  CHECK_NUM(2 * LIMIT, STAT(connections));
  ask(from("127.0.0.2", &optional, -1), "the balancer itself");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  char limit_text[8], shown[64];
  snprintf(limit_text, sizeof limit_text, "%d", LIMIT);
  h_setting("max_connections_per_ip", limit_text);
  h_setting("proxy_timeout", "60s");
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_config_set(h_config, "proxy_networks", "127.0.0.0/33"));
  CHECK(strstr(sipwire_config_error(h_config), "127.0.0.0/33"), "%s", sipwire_config_error(h_config));
  h_setting("proxy_networks", "2001:db8::/32 127.0.0.0/24");
  h_setting("proxy_protocol", "required");
  h_no_listener = true;
  for (int i = 0; i < 2; i++) h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_OK, sipwire_config_listener_set(h_config, 1, "proxy_protocol", "optional"));
  CHECK_RC(SIPWIRE_OK, sipwire_config_listener_set(h_config, 1, "proxy_networks", "127.0.0.3"));
  h_start(2);
  CHECK(sipwire_get(h_instance, "proxy_networks", shown, sizeof shown) > 0 && strcmp(shown, "127.0.0.0/24, 2001:db8::/32") == 0, "%s", shown);
  CHECK_RC(SIPWIRE_E_NOT_LIVE, sipwire_set(h_instance, "proxy_networks", "127.0.0.1", NULL, 0));
  required = h_listener(0), optional = h_listener(1);
  client[0] = address("203.0.113.7:4660"), client[1] = address("[2001:db8::7]:4660"), called = address("198.51.100.9:5060");
  trust();
  limit();
  return h_finish();
}
