/* modes: threads processes */
/* proxy_protocol_out: a dialled connection begins with a header that says who we are, before the first message, whatever
 * its size; not so towards other networks, nor on what we accept. And sipwire_proxy_header, for hosts. */
#include "deadline.h"
#include "proxy.h"
#include <arpa/inet.h>
#include <sys/socket.h>

static int listen_on(const char *ip, sipwire_addr *out) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  socklen_t length = sizeof name;
  inet_pton(AF_INET, ip, &name.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 8) == 0, "%s: %s", ip, strerror(errno));
  CHECK(getsockname(fd, (struct sockaddr *)&name, &length) == 0, "getsockname: %s", strerror(errno));
  *out = (sipwire_addr){.family = 4, .port = ntohs(name.sin_port)};
  memcpy(out->ip, &name.sin_addr, 4);
  return fd;
}

/* What a dialled peer gets first. */
static void begins_with(h_peer *peer, const char *what, size_t length, const char *then) {
  WAIT(peer->length >= length + strlen(then), "%zu bytes came", peer->length);
  CHECK(length == 0 || memcmp(peer->in, what, length) == 0, "\"%.*s\"", (int)length, peer->in);
  CHECK(memcmp(peer->in + length, then, strlen(then)) == 0, "\"%.40s\"", peer->in + length);
  peer->parsed = length;
}

static sipwire_addr dialled_by(sipwire_addr *there, uint32_t *id) {
  sipwire_conn_info info;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, there, NULL, id));
  CHECK(h_info(*id, &info), "gone");
  CHECK(h_addr_equal(&info.remote, &info.wire_remote) && h_addr_equal(&info.local, &info.wire_local), "our own are the socket's");
  return info.local;
}

static void dial(const char *ip, int version, size_t size, int number) {
  static char text[40000];
  sipwire_addr there;
  uint32_t id;
  int fd = listen_on(ip, &there);
  sipwire_target target = h_to_addr(&there);
  size_t first = h_numbered(text, size, 1, 0), bytes = STAT(bytes_out), messages = STAT(messages_out);
  for (int i = 0; i < number; i++) CHECK(h_send_here(&target, text, first, 1) > 0, "send %d", i);
  h_peer *peer = h_accept(fd);
  WAIT(peer->length >= first, "the first message");
  sipwire_addr here = dialled_by(&there, &id);
  header h = {.length = 0};
  if (version) h = header_of(version, &here, &there);
  begins_with(peer, h.data, h.length, "MESSAGE sip:");
  for (int i = 0; i < number; i++) {
    h_frame frame = h_await(peer, "each message");
    CHECK(frame.length == first && memcmp(frame.data, text, first) == 0, "message %d", i);
  }
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.messages_out == (uint64_t)number, "%llu messages", (unsigned long long)info.messages_out);
  CHECK_NUM(h.length + (size_t)number * first, info.bytes_out);
  WAIT_NUM(bytes + info.bytes_out, STAT(bytes_out));
  CHECK_NUM(messages + (size_t)number, STAT(messages_out));
  WAIT(!(h_conn_flags(id) & SIPWIRE_CONN_ASYNC), "nothing is queued");
  target = h_to_conn(id);
  CHECK(h_send_here(&target, text, first, 1) > 0, "one more"); /* without a second header */
  h_frame frame = h_await(peer, "one more");
  CHECK(frame.length == first && memcmp(frame.data, text, first) == 0, "behind the first");
  h_close(peer);
  close(fd);
  WAIT_NUM(0, STAT(slots_used));
}

/* Not even the header is written to who does not listen. */
static void nobody(void) {
  sipwire_addr there;
  close(listen_on("127.0.0.1", &there));
  sipwire_target target = h_to_addr(&there);
  CHECK(h_send_here(&target, "OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n", 44, 77) > 0, "queued");
  WAIT(h_failure(77), "refused");
  CHECK_NUM(SIPWIRE_REASON_CONNECT_FAILED, h_failure(77)->reason);
  CHECK_NUM(0, h_failure(77)->written);
}

static void helper(void) {
  char out[SIPWIRE_PROXY_HEADER_MAX];
  sipwire_addr a = address("192.0.2.1:1"), b = address("[2001:db8::1]:65535"), none = {0};
  memset(out, 'x', sizeof out);
  CHECK_NUM(36, sipwire_proxy_header(1, &a, &a, NULL, 0));
  CHECK_NUM(36, sipwire_proxy_header(1, &a, &a, out, 35));
  CHECK(out[0] == 'x', "too small, and written");
  CHECK_NUM(36, sipwire_proxy_header(1, &a, &a, out, 36));
  CHECK(memcmp(out, "PROXY TCP4 192.0.2.1 192.0.2.1 1 1\r\n", 36) == 0, "%.36s", out);
  int32_t n = sipwire_proxy_header(1, &a, &b, out, sizeof out);
  CHECK(n > 0 && memcmp(out, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 65535\r\n", (size_t)n) == 0, "%.*s", n, out);
  CHECK_NUM(28, sipwire_proxy_header(2, &a, &a, out, sizeof out));
  CHECK_NUM(52, sipwire_proxy_header(2, &b, &b, out, sizeof out));
  CHECK_NUM(16, sipwire_proxy_header(2, &a, NULL, out, sizeof out));
  CHECK(out[12] == 0x20, "LOCAL");
  n = sipwire_proxy_header(1, &none, &a, out, sizeof out);
  CHECK(n == 15 && memcmp(out, "PROXY UNKNOWN\r\n", 15) == 0, "%.*s", n, out);
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_proxy_header(0, &a, &b, out, sizeof out));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_proxy_header(3, &a, &b, out, sizeof out));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  helper();
  h_setting("proxy_protocol_out", "v1");
  h_setting("proxy_out_networks", "127.0.0.1, 192.0.2.0/24");
  h_start(2);
  dial("127.0.0.1", 1, 400, 1);
  dial("127.0.0.1", 1, 400, 20);
  dial("127.0.0.1", 1, 40000, 1); /* more than conn_wq_max: an empty queue takes one */
  set_live("proxy_protocol_out", "v2");
  dial("127.0.0.1", 2, 400, 3);
  dial("127.0.0.1", 2, 40000, 1);
  dial("127.0.0.2", 0, 400, 3); /* another network */
  nobody();
  set_live("proxy_protocol_out", "off");
  dial("127.0.0.1", 0, 400, 2);
  set_live("proxy_protocol_out", "v1");
  h_peer *peer = h_client(); /* accepted ones get none */
  ask(peer, "accepted");
  return h_finish();
}
