/* modes: threads processes */
/* source_ipv4 and source_ipv6 can be changed while running: what is dialled from then on comes from there, or is reported with
 * the kernel's word when there is no such address; unset, the kernel chooses again. */
#include "deadline.h"
#include <netinet/in.h>
#include <sys/socket.h>

static uint64_t cookie;

static sipwire_addr peer_of(const h_peer *peer) {
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  CHECK(getpeername(peer->fd, (struct sockaddr *)&name, &length) == 0, "getpeername: %s", strerror(errno));
  sipwire_addr addr = {.family = name.ss_family == AF_INET6 ? 6 : 4};
  if (addr.family == 6) memcpy(addr.ip, &((struct sockaddr_in6 *)&name)->sin6_addr, 16);
  else memcpy(addr.ip, &((struct sockaddr_in *)&name)->sin_addr, 4);
  return addr;
}

static void send_fresh(const sipwire_addr *to) {
  sipwire_target target = h_to_addr(to);
  target.flags = SIPWIRE_SEND_FRESH;
  h_text text = h_request("OPTIONS", "dialled", NULL, NULL);
  CHECK(h_send_here(&target, text.data, text.length, ++cookie) >= 0, "refused");
}

static void comes_from(int listener, const sipwire_addr *to, const char *source) {
  send_fresh(to);
  h_peer *peer = h_accept(listener);
  sipwire_addr from = peer_of(peer);
  CHECK(strcmp(h_addr_text(&from), source) == 0, "dialled from %s, expected %s", h_addr_text(&from), source);
  h_close(peer);
}

static void cannot(const sipwire_addr *to) {
  send_fresh(to);
  WAIT(h_failure(cookie), "reported");
  CHECK_NUM(EADDRNOTAVAIL, h_failure(cookie)->error);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("source_ipv4", "127.0.0.5");
  h_start(2);
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  sipwire_addr four, six = {.family = 6, .ip = {[15] = 1}};
  int fd = h_listener_open(8, &four);
  comes_from(fd, &four, "127.0.0.5:0");
  set_live("source_ipv4", "127.0.0.6");
  comes_from(fd, &four, "127.0.0.6:0");
  set_live("source_ipv4", "192.0.2.1");
  cannot(&four);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &four)); /* not its fault */
  set_live("source_ipv4", "unset");
  comes_from(fd, &four, "127.0.0.1:0");

  struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  socklen_t length = sizeof name;
  int fd6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd6 >= 0 && bind(fd6, (struct sockaddr *)&name, sizeof name) == 0) {
    CHECK(listen(fd6, 8) == 0 && getsockname(fd6, (struct sockaddr *)&name, &length) == 0, "listen: %s", strerror(errno));
    six.port = ntohs(name.sin6_port);
    set_live("source_ipv6", "2001:db8::1");
    cannot(&six);
    set_live("source_ipv6", "::1");
    comes_from(fd6, &six, "[::1]:0");
    set_live("source_ipv6", "unset");
    comes_from(fd6, &six, "[::1]:0");
  }
  close(fd), close(fd6);
  return h_finish();
}
