/* modes: threads processes */
/* IPv6 both ways: a listener on [::1], a dial to [::1], and a listener of each family beside each other. */
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int listen6(sipwire_addr *out) {
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  socklen_t length = sizeof address;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0) h_skip("no IPv6 loopback on this machine");
  CHECK(listen(fd, 8) == 0, "listen: %s", strerror(errno));
  getsockname(fd, (struct sockaddr *)&address, &length);
  char text[64];
  snprintf(text, sizeof text, "[::1]:%u", ntohs(address.sin6_port));
  CHECK_RC(SIPWIRE_OK, sipwire_addr_parse(text, out));
  return fd;
}

int main(int argc, char **argv) {
  sipwire_addr remote;
  h_init(argc, argv);
  int fd = listen6(&remote);
  h_listen("tcp:[::1]:0");
  h_start(2); /* and 127.0.0.1 */
  CHECK_NUM(2, sipwire_listener_count(h_instance));
  sipwire_addr six = h_listener(0), four = h_listener(1);
  CHECK(six.family == 6 && four.family == 4, "families %u and %u", six.family, four.family);
  h_peer *p6 = h_connect(&six), *p4 = h_connect(&four);
  CHECK(p6 && p4, "connect: %s", strerror(errno));
  h_write_text(p6, h_request("OPTIONS", "six", NULL, NULL));
  h_write_text(p4, h_request("OPTIONS", "four", NULL, NULL));
  h_await_answer(p6, 200, "six");
  h_await_answer(p4, 200, "four");
  h_event *e = h_find(EV_MESSAGE, 0, "Call-ID: six");
  CHECK(h_addr_equal(&e->remote, &p6->local) && h_addr_equal(&e->local, &six), "remote %s local %s", h_addr_text(&e->remote), h_addr_text(&e->local));
  CHECK_NUM(0, e->listener);
  CHECK_NUM(1, h_find(EV_MESSAGE, 0, "Call-ID: four")->listener);

  sipwire_target target = h_to_addr(&remote);
  CHECK(h_send_numbered_here(&target, 1, 0, 3000) >= 0, "dial [::1]");
  h_peer *dialled = h_accept(fd);
  WAIT((h_ledger_receive(dialled), h_ledger_settled()), "the message over IPv6");
  CHECK(h_send_numbered_here(&target, 1, 1, 3000) >= 0, "again");
  WAIT((h_ledger_receive(dialled), h_ledger_settled()), "over the same connection");
  CHECK_NUM(1, STAT(dialled));
  target = h_to_addr(&p6->local);
  CHECK(h_send_numbered_here(&target, 1, 2, 500) >= 0, "to a client by its address");
  WAIT((h_ledger_receive(p6), h_ledger_settled()), "it arrives");
  CHECK_NUM(1, STAT(dialled));
  close(fd);
  return h_finish();
}
