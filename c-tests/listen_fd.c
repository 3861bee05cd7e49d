/* modes: threads processes */
/* A listener that the host has bound itself: the library serves a duplicate of it, also when the host has closed its own
 * descriptor, beside one that it bound; what is no listening TCP socket is refused in one line. */
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int bound_socket(int kind, sipwire_addr *out) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof name;
  int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0, "bind: %s", strerror(errno));
  CHECK(getsockname(fd, (struct sockaddr *)&name, &length) == 0, "getsockname: %s", strerror(errno));
  *out = (sipwire_addr){.family = 4, .port = ntohs(name.sin_port), .ip = {127, 0, 0, 1}};
  return fd;
}

static void refused(int fd, const char *why) {
  char number[16];
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_config_listen_fd(h_config, fd));
  const char *line = sipwire_config_error(h_config);
  snprintf(number, sizeof number, "%d", fd);
  CHECK(strstr(line, number) && strstr(line, why) && !strchr(line, '\n'), "descriptor %d, %s: \"%s\"", fd, why, line);
}

static void answers(const sipwire_addr *to, int listener, const char *name) {
  sipwire_conn_info info = {.struct_size = sizeof info};
  h_peer *peer = h_connect(to);
  h_write_text(peer, h_request("OPTIONS", name, NULL, NULL));
  h_await_answer(peer, 200, name);
  CHECK(h_info(h_conn_of(peer), &info), "no connection");
  CHECK_NUM(listener, info.listener);
}

static void refuses(const sipwire_addr *addr) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(addr->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) < 0 && errno == ECONNREFUSED, "still served: %s", strerror(errno));
  close(fd);
}

/* Between the two calls the number has become that of another socket. */
static void exchanged(int for_which) {
  sipwire_addr addr;
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks};
  sipwire_instance *none = NULL;
  sipwire_config *config = sipwire_config_new();
  int fd = bound_socket(SOCK_STREAM, &addr);
  CHECK(config && listen(fd, 16) == 0, "listen: %s", strerror(errno));
  CHECK_RC(SIPWIRE_OK, sipwire_config_listen_fd(config, fd));
  CHECK(dup2(for_which, fd) == fd, "dup2: %s", strerror(errno));
  CHECK(sipwire_new(config, &callbacks, NULL, &none) < 0, "taken over, and does not listen");
  CHECK(strstr(sipwire_config_error(config), "descriptor"), "%s", sipwire_config_error(config));
  sipwire_config_free(config);
  close(fd);
}

int main(int argc, char **argv) {
  sipwire_addr first, second, other;
  h_init(argc, argv);
  int not_listening = bound_socket(SOCK_STREAM, &other), udp = bound_socket(SOCK_DGRAM, &other);
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC), closed = fcntl(file, F_DUPFD_CLOEXEC, 0);
  close(closed);
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_listen_fd(NULL, udp));
  refused(not_listening, "not a listening TCP socket");
  refused(udp, "not a listening TCP socket");
  refused(file, "socket");
  refused(closed, "descriptor");
  refused(-1, "descriptor");
  exchanged(not_listening);
  close(not_listening), close(udp), close(file);

  int a = bound_socket(SOCK_STREAM, &first), b = bound_socket(SOCK_STREAM, &second);
  CHECK(listen(a, 16) == 0 && listen(b, 16) == 0, "listen: %s", strerror(errno));
  CHECK_RC(SIPWIRE_OK, sipwire_config_listen_fd(h_config, a));
  CHECK(sipwire_config_error(h_config)[0] == 0, "an error is left: %s", sipwire_config_error(h_config));
  h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_OK, sipwire_config_listen_fd(h_config, b));
  h_no_listener = true; /* but the one above */
  h_start(2);
  CHECK(fcntl(a, F_GETFL) & O_NONBLOCK, "the supervisor could be held up by accept");
  int kept = fcntl(b, F_DUPFD_CLOEXEC, 0);
  CHECK(close(a) == 0 && close(b) == 0, "sipwire_new took the descriptors themselves: %s", strerror(errno));
  CHECK_NUM(3, sipwire_listener_count(h_instance));
  sipwire_addr seen[] = {h_listener(0), h_listener(1), h_listener(2)};
  CHECK(h_addr_equal(&seen[0], &first) && h_addr_equal(&seen[2], &second), "%s and %s", h_addr_text(&seen[0]), h_addr_text(&seen[2]));
  for (int i = 0; i < 3; i++) answers(&seen[i], i, "hello");
  h_stop();
  refuses(&first);
  refuses(&second); /* its end is everybody's: here is still a descriptor of it */
  close(kept);
  return h_finish();
}
