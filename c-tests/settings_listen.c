/* modes: threads processes */
/* What the settings of listeners do: listen_backlog, reuse_port, defer_accept. A second instance has the defaults. */
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Made in this process, before any fork. */
static int listening_fd(const sipwire_addr *addr) {
  for (int fd = 3; fd < 1024; fd++) {
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
        getsockname(fd, (struct sockaddr *)&name, &length) == 0 && ntohs(name.sin_port) == addr->port)
      return fd;
  }
  h_fail(__FILE__, __LINE__, "no descriptor listens on %s", h_addr_text(addr));
}

static uint32_t backlog(const sipwire_addr *addr) {
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  CHECK(getsockopt(listening_fd(addr), IPPROTO_TCP, TCP_INFO, &info, &length) == 0, "TCP_INFO: %s", strerror(errno));
  return info.tcpi_sacked; /* of a listener: how long its queue may be */
}

/* 0, or why a second socket cannot be bound there. */
static int bind_beside(const sipwire_addr *addr) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(addr->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0, "socket: %s", strerror(errno));
  int error = bind(fd, (struct sockaddr *)&name, sizeof name) == 0 ? 0 : errno;
  close(fd);
  return error;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  sipwire_config *config = sipwire_config_new();
  sipwire_callbacks none = {.struct_size = sizeof none};
  sipwire_instance *other = NULL;
  sipwire_addr theirs;
  CHECK_RC(SIPWIRE_OK, sipwire_config_listen(config, "tcp:127.0.0.1:0"));
  CHECK_RC(SIPWIRE_OK, sipwire_new(config, &none, NULL, &other));
  CHECK_RC(SIPWIRE_OK, sipwire_listener_addr(other, 0, &theirs));
  CHECK(backlog(&theirs) > 7, "the default is %u", backlog(&theirs));
  CHECK_NUM(EADDRINUSE, bind_beside(&theirs));
  sipwire_free(other);
  sipwire_config_free(config);

  h_setting("listen_backlog", "7");
  h_setting("reuse_port", "yes");
  h_setting("defer_accept", "60s");
  h_start(1);
  sipwire_addr ours = h_listener(0);
  CHECK_NUM(7, backlog(&ours));
  CHECK_NUM(0, bind_beside(&ours));

  /* The kernel tells of a connection when it has data. */
  h_peer *peer = h_client();
  STAYS(300, STAT(accepted) == 0, "accepted without data");
  h_write_text(peer, h_request("OPTIONS", "data", NULL, NULL));
  h_await_answer(peer, 200, "data");
  CHECK_NUM(1, STAT(accepted));
  return h_finish();
}
