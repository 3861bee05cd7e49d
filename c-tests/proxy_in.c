/* modes: threads processes */
/* PROXY headers of accepted connections, both versions, in any pieces: exactly their bytes are taken from the stream, and
 * callbacks, listing, log and sends by address use the addresses that they name; those of the socket are visible too. */
#include "proxy.h"

static sipwire_addr listener[2], client, called;
static int asked;

/* A client with this header, cut at `cut`, before a request. */
static void served(const header *h, size_t cut, bool glued, const sipwire_addr *remote, const sipwire_addr *local, int which) {
  char id[32];
  h_peer *peer = h_connect(&listener[which]);
  snprintf(id, sizeof id, "served-%d", asked++);
  h_text text = h_request("OPTIONS", id, NULL, NULL);
  size_t text_length = text.length;
  if (cut < h->length || !glued) {
    h_write(peer, h->data, cut);
    if (cut < h->length) WAIT_NUM(1, STAT(proxy_waiting));
  }
  if (glued) {
    char both[8000];
    size_t rest = cut < h->length ? h->length - cut : h->length;
    memcpy(both, h->data + h->length - rest, rest);
    memcpy(both + rest, text.data, text.length);
    h_write(peer, both, rest + text.length);
  } else {
    h_write(peer, h->data + cut, h->length - cut);
    h_write_text(peer, text);
  }
  h_await_answer(peer, 200, id);
  uint32_t conn = check_pair(id, remote ? remote : &peer->local, local ? local : &listener[which], &peer->local, &listener[which]);
  if (remote && cut == 0) { /* a send by the client's address */
    sipwire_target target = h_to_addr(remote);
    target.flags = SIPWIRE_SEND_NO_CONNECT;
    text = h_request("NOTIFY", id, NULL, NULL);
    CHECK(h_send_here(&target, text.data, text.length, 0) > 0, "a send to %s", h_addr_text(remote));
    h_frame frame = h_await(peer, "the message to the client's address");
    CHECK(strncmp(frame.data, "NOTIFY ", 7) == 0, "%.20s", frame.data);
  }
  sipwire_conn_info info;
  CHECK(h_info(conn, &info), "gone");
  CHECK_NUM(text_length, h_find(EV_MESSAGE, conn, NULL)->length);
  CHECK_NUM(h->length + text_length, info.bytes_in);
  h_close(peer);
  WAIT(h_find(EV_CLOSE, conn, NULL), "its end");
  h_event *end = h_find(EV_CLOSE, conn, NULL);
  CHECK(!remote || h_addr_equal(&end->remote, remote), "on_close of %s", h_addr_text(&end->remote));
  if (asked == 1) { /* a few lines a second are all there are */
    WAIT(h_find(EV_LOG, conn, "ends"), "a line about its end");
    CHECK(h_find(EV_LOG, conn, h_addr_text(remote)), "\"%s\"", h_find(EV_LOG, conn, "ends")->text);
  }
  WAIT_NUM(0, STAT(slots_used));
}

static void refused(const header *h, int which, const char *why) {
  uint64_t before = STAT(refused_proxy), accepted = STAT(accepted), by_reason = STAT(closed_by_reason)[SIPWIRE_REASON_PROXY];
  h_peer *peer = h_connect(&listener[which]);
  h_try_write(peer, h->data, h->length);
  h_await_end(peer, why);
  CHECK_NUM(0, peer->length);
  WAIT_NUM(before + 1, STAT(refused_proxy));
  CHECK_NUM(by_reason + 1, STAT(closed_by_reason)[SIPWIRE_REASON_PROXY]);
  CHECK_NUM(accepted, STAT(accepted));
  WAIT_NUM(0, STAT(proxy_waiting));
  h_close(peer);
}

static void headers(int which) {
  sipwire_addr six = address("[2001:db8::7]:4660"), called_six = address("[2001:db8::9]:5060");
  for (int version = 1; version <= 2; version++) {
    header four = header_of(version, &client, &called), long_one = header_of(version, &six, &called_six);
    header none = header_of(version, NULL, NULL);
    for (int glued = 0; glued < 2; glued++) {
      for (size_t cut = 0; cut <= four.length; cut++) served(&four, cut, glued, &client, &called, which);
      served(&long_one, long_one.length / 2, glued, &six, &called_six, which);
      served(&long_one, 0, glued, &six, &called_six, which);
      served(&none, none.length, glued, NULL, NULL, which);
    }
  }
  header unknown = text_header("PROXY UNKNOWN ffff::1 what ever\r\n");
  served(&unknown, 20, true, NULL, NULL, which);
  char addresses[4000] = {(char)203, 0, 113, 7, (char)198, 51, 100, 9, 0x12, 0x34, 0x13, (char)0xc4, 0x04, 0x0f, (char)0x90};
  header large = header_v2(0x21, 0x11, addresses, 12 + 3 + 0xf90); /* with an extension to skip */
  served(&large, 500, false, &client, &called, which);
  header udp = header_v2(0x21, 0x12, addresses, 12), local = header_v2(0x20, 0x11, addresses, 12);
  served(&udp, 17, false, NULL, NULL, which);
  served(&local, 27, true, NULL, NULL, which);
}

static void bad_headers(int which) {
  header garbage = text_header("PROXY TCP4 203.0.113.7 198.51.100.9 4660\r\nOPTIONS sip:a SIP/2.0\r\n\r\n");
  refused(&garbage, which, "a port is missing");
  header lf = text_header("PROXY TCP4 203.0.113.7 198.51.100.9 4660 5060\nOPTIONS");
  refused(&lf, which, "LF without CR");
  header too_long = text_header("PROXY UNKNOWN ");
  memset(too_long.data + too_long.length, 'x', 100);
  too_long.length += 100;
  refused(&too_long, which, "no end after 107 bytes");
  char zeros[4081] = {0};
  header v2 = header_v2(0x22, 0x11, zeros, 12);
  refused(&v2, which, "no such command");
  v2 = header_v2(0x21, 0x11, zeros, 11);
  refused(&v2, which, "too short for its addresses");
  v2 = header_v2(0x21, 0x41, zeros, 12);
  refused(&v2, which, "no such family");
  v2 = header_v2(0x20, 0, zeros, sizeof zeros);
  v2.length = 16;
  refused(&v2, which, "it would be too long");
  char sum[] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 3, 0, 4, 0, 0, 0, 0};
  v2 = header_v2(0x21, 0x11, sum, sizeof sum);
  refused(&v2, which, "wrong checksum");
}

/* Nothing of a request is looked for behind a bad header, and nothing but a header is one. */
static void without(void) {
  h_frame none;
  for (int i = 0; i < 3; i++) {
    header sip = text_header(i == 0 ? "OPTIONS sip:a SIP/2.0\r\n" : i == 1 ? "\r\n\r\nOPTIONS sip:a SIP/2.0\r\n" : "PUBLISH sip:a SIP/2.0\r\n");
    refused(&sip, 0, "no header, and one is required");
  }
  h_peer *peer = h_connect(&listener[1]); /* here one may come */
  ask(peer, "without");
  check_pair("without", &peer->local, &listener[1], &peer->local, &listener[1]);
  h_write(peer, "\r\n\r\n", 4);
  WAIT((h_next(peer, &none), peer->pongs == 1), "a pong");
  header late = header_of(1, &client, &called); /* only as the first thing */
  write_header(peer, &late);
  h_await_end(peer, "a header in the middle of a stream");
  h_close(peer);
  peer = h_connect(&listener[1]); /* begins as version 2 does */
  h_write(peer, "\r\n\r\n", 4);
  WAIT_NUM(1, STAT(proxy_waiting));
  ask(peer, "ping-first");
  WAIT((h_next(peer, &none), peer->pongs == 1), "a pong");
  h_close(peer);
  WAIT_NUM(0, STAT(slots_used));
}

/* Health checks connect and go. */
static void gone(void) {
  uint64_t refused = STAT(refused_proxy);
  h_peer *peer = h_connect(&listener[0]);
  WAIT_NUM(1, STAT(proxy_waiting));
  h_close(peer);
  WAIT_NUM(0, STAT(proxy_waiting));
  peer = h_connect(&listener[0]);
  WAIT_NUM(1, STAT(proxy_waiting));
  h_reset(peer);
  WAIT_NUM(0, STAT(proxy_waiting));
  h_close(peer);
  CHECK_NUM(refused, STAT(refused_proxy));
  header begun = text_header("PROXY TCP4");
  peer = h_connect(&listener[0]);
  write_header(peer, &begun);
  h_half_close(peer);
  h_await_end(peer, "a stream that ends within its header");
  WAIT_NUM(refused + 1, STAT(refused_proxy));
  header whole = header_of(2, &client, &called);
  h_text text = h_request("OPTIONS", "half", NULL, NULL);
  peer = h_connect(&listener[0]);
  write_header(peer, &whole);
  h_write_text(peer, text);
  h_half_close(peer);
  h_await_answer(peer, 200, "half");
  h_await_end(peer, "answered");
  WAIT_NUM(0, STAT(slots_used));
}

static void per_listener(void) {
  h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_listener_set(h_config, 1, "proxy_protocol", "off"));
  CHECK(strstr(sipwire_config_error(h_config), "listener 1"), "%s", sipwire_config_error(h_config));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_listener_set(h_config, -1, "proxy_protocol", "off"));
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_config_listener_set(h_config, 0, "proxy_protocol", "maybe"));
  CHECK(strstr(sipwire_config_error(h_config), "optional"), "%s", sipwire_config_error(h_config));
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_config_listener_set(h_config, 0, "workers", "2"));
  CHECK(strstr(sipwire_config_error(h_config), "proxy_networks"), "%s", sipwire_config_error(h_config));
  h_listen("tcp:127.0.0.1:0");
  h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_OK, sipwire_config_listener_set(h_config, 1, "tcp_accept_haproxy", "yes"));
  CHECK_RC(SIPWIRE_OK, sipwire_config_listener_set(h_config, 2, "proxy-protocol", "off"));
  CHECK(sipwire_config_error(h_config)[0] == 0, "an error is left: %s", sipwire_config_error(h_config));
  h_setting("proxy_protocol", "required"); /* the order does not matter */
  h_no_listener = true;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("log_level", "info");
  h_setting("proxy_timeout", "60s");
  per_listener();
  h_start(2);
  client = address("203.0.113.7:4660"), called = address("198.51.100.9:5060");
  for (int i = 0; i < 2; i++) listener[i] = h_listener(i);
  for (int i = 0; i < 2; i++) headers(i), bad_headers(i);
  without();
  gone();
  sipwire_addr plain = h_listener(2);
  h_peer *peer = h_connect(&plain); /* the third listener knows of no headers */
  ask(peer, "plain");
  check_pair("plain", &peer->local, &plain, &peer->local, &plain);
  return h_finish();
}
