/* modes: none */
/* Settings by text: an unknown key, a bad value or a port in use is one clear line that names what is wrong. */
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static void refused(const char *key, const char *value, const char *named, const char *also) {
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_config_set(h_config, key, value));
  const char *text = sipwire_config_error(h_config);
  CHECK(strstr(text, named), "%s=%s: \"%s\" does not name %s", key, value, text, named);
  CHECK(!also || strstr(text, also), "%s=%s: \"%s\" does not say %s", key, value, text, also);
  CHECK(!strchr(text, '\n'), "more than one line: %s", text);
}

static void is(const char *key, const char *value, const char *expected) {
  char out[64];
  CHECK(sipwire_config_set(h_config, key, value) == SIPWIRE_OK, "%s=%s: %s", key, value, sipwire_config_error(h_config));
  int64_t length = sipwire_config_get(h_config, key, out, sizeof out);
  CHECK(length == (int64_t)strlen(out), "%s: length %lld", key, (long long)length);
  if (expected) CHECK(strcmp(out, expected) == 0, "%s=%s reads back as %s, expected %s", key, value, out, expected);
  char again[64]; /* what is read can be set, and means the same */
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(h_config, key, out));
  sipwire_config_get(h_config, key, again, sizeof again);
  CHECK(strcmp(out, again) == 0, "%s: %s then %s", key, out, again);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  CHECK(sipwire_config_error(h_config)[0] == 0, "an error before any call: %s", sipwire_config_error(h_config));
  refused("send_timeoutt", "10s", "send_timeoutt", "send_timeout"); /* the nearest one */
  refused("conn_wq_mx", "1", "conn_wq_mx", "conn_wq_max");
  refused("send_timeout", "soon", "send_timeout", "soon");
  refused("send_timeout", "-1s", "send_timeout", "-1s");
  refused("send_timeout", "", "send_timeout", NULL);
  refused("conn_wq_max", "64q", "conn_wq_max", "64q");
  refused("conn_wq_max", "99999999999999999999999", "conn_wq_max", NULL);
  refused("queue_full", "drop", "queue_full", "drop");
  refused("workers", "0", "workers", "0");
  refused("workers", "many", "workers", "many");
  refused("crlf_ping", "perhaps", "crlf_ping", "perhaps");
  refused("handoff", "random", "handoff", "random");
  refused("max_connections", "-5", "max_connections", "-5");

  is("send_timeout", "10s", NULL);
  is("send_timeout", "250ms", NULL);
  is("send_timeout", "7", NULL);
  is("tcp_send_timeout", "8s", NULL); /* the ancestor's names */
  is("conn_wq_max", "64k", NULL);
  is("wq_max", "16m", NULL);
  is("queue_full", "reject", "reject");
  is("queue_full", "close", "close");
  is("crlf_ping", "no", "no");
  is("workers", "3", "3");
  char a[64], b[64];
  sipwire_config_set(h_config, "send_timeout", "2");
  sipwire_config_get(h_config, "send_timeout", a, sizeof a);
  CHECK_RC(SIPWIRE_OK, sipwire_config_set_number(h_config, "send_timeout", 2000)); /* bare text is seconds, numbers are ms */
  sipwire_config_get(h_config, "send_timeout", b, sizeof b);
  CHECK(strcmp(a, b) == 0, "2 s is %s, 2000 ms is %s", a, b);
  sipwire_config_get(h_config, "tcp_send_timeout", b, sizeof b);
  CHECK(strcmp(a, b) == 0, "tcp_send_timeout is %s", b);
  CHECK(sipwire_config_get(h_config, "nothing", a, sizeof a) < 0, "an unknown key has a value");

  static const char *const keys[] = {
    "workers", "max_connections", "max_connections_per_ip", "connection_lifetime", "worker_hold", "worker_stall", "handoff",
    "send_timeout", "connect_timeout", "fd_cache", "worker_fd_cache", "participants", "linger", "supervisor_nice", "listen_backlog",
    "conn_wq_max", "wq_max", "queue_full", "max_message_size", "message_timeout", "first_message_timeout", "half_close_timeout",
    "blacklist_ttl", "crlf_ping", "accept_no_content_length", "partial_max", "log_ring", "supervisor_rt_priority", "proxy_protocol",
    "proxy_networks", "proxy_timeout", "proxy_protocol_out", "proxy_out_networks",
    "nodelay", "keepalive", "keepidle", "keepintvl", "keepcnt", "user_timeout", "defer_accept", "reuse_port", "tos", "source_ipv4",
    "source_ipv6", "accept_aliases", "no_connect", "close_rst", "crlf_keepalive", "pong_timeout", "flow_timer_grace"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    CHECK(sipwire_config_get(h_config, keys[i], a, sizeof a) >= 0, "no setting \"%s\"", keys[i]);

  CHECK(sipwire_config_listen(h_config, "127.0.0.1") < 0, "a listener without a port was taken");
  CHECK(sipwire_config_error(h_config)[0], "no line about it");
  CHECK(sipwire_config_listen(h_config, "sctp:127.0.0.1:5060") < 0, "a listener of another protocol was taken");

  /* a port in use */
  sipwire_addr addr;
  int fd = h_listener_open(4, &addr);
  char text[96];
  snprintf(text, sizeof text, "tcp:%s", h_addr_text(&addr));
  CHECK(sipwire_config_listen(h_config, text) >= 0, "%s", sipwire_config_error(h_config));
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks};
  sipwire_instance *instance = NULL;
  CHECK_RC(SIPWIRE_E_LISTEN, sipwire_new(h_config, &callbacks, NULL, &instance));
  CHECK(instance == NULL, "an out-parameter was written on failure");
  CHECK(strstr(sipwire_config_error(h_config), h_addr_text(&addr)), "\"%s\" does not name %s", sipwire_config_error(h_config), h_addr_text(&addr));
  close(fd);
  /* and the same configuration works once the port is free */
  CHECK(sipwire_new(h_config, &callbacks, NULL, &instance) == SIPWIRE_OK, "%s", sipwire_config_error(h_config));
  CHECK_NUM(1, sipwire_listener_count(instance));
  sipwire_free(instance); /* never started */
  return h_finish();
}
