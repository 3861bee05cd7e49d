/* modes: threads processes */
/* Socket activation as systemd does it: the program is executed with its listening sockets as descriptors 3, 4 ... and their
 * number in LISTEN_FDS (sd_listen_fds(3)); they are served, and what waited in them before the program ran is not lost. */
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { FIRST = 3, SOCKETS = 2 };

/* Whoever activates: binds, and executes. Here with a client that came before. */
static void activate(char **argv) {
  char text[16];
  int fds[SOCKETS];
  for (int i = 0; i < SOCKETS; i++) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 16) == 0, "listen: %s", strerror(errno));
    fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, FIRST + SOCKETS); /* out of the way */
    close(fd);
  }
  for (int i = 0; i < SOCKETS; i++) CHECK(dup2(fds[i], FIRST + i) == FIRST + i, "dup2: %s", strerror(errno));
  struct sockaddr_in name;
  socklen_t length = sizeof name;
  CHECK(getsockname(FIRST, (struct sockaddr *)&name, &length) == 0, "getsockname: %s", strerror(errno));
  int early = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(early, (struct sockaddr *)&name, sizeof name) == 0, "connect: %s", strerror(errno));
  h_text request = h_request("OPTIONS", "early", NULL, NULL);
  CHECK(write(early, request.data, request.length) == (ssize_t)request.length, "write: %s", strerror(errno));
  snprintf(text, sizeof text, "%d", early);
  setenv("EARLY", text, 1);
  snprintf(text, sizeof text, "%d", SOCKETS);
  setenv("LISTEN_FDS", text, 1);
  snprintf(text, sizeof text, "%d", (int)getpid());
  setenv("LISTEN_PID", text, 1);
  execv("/proc/self/exe", argv);
  h_fail(__FILE__, __LINE__, "execv: %s", strerror(errno));
}

/* What a host does; libsystemd has it as sd_listen_fds(1). */
static int listen_fds(void) {
  const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
  int count = pid && fds && atoi(pid) == getpid() ? atoi(fds) : 0;
  for (int i = 0; i < count; i++) fcntl(FIRST + i, F_SETFD, FD_CLOEXEC);
  unsetenv("LISTEN_PID"), unsetenv("LISTEN_FDS");
  return count;
}

int main(int argc, char **argv) {
  if (!getenv("LISTEN_FDS")) activate(argv);
  h_init(argc, argv);
  int count = listen_fds(), early = atoi(getenv("EARLY"));
  CHECK_NUM(SOCKETS, count);
  for (int i = 0; i < count; i++) CHECK(sipwire_config_listen_fd(h_config, FIRST + i) == SIPWIRE_OK, "%s", sipwire_config_error(h_config));
  h_no_listener = true;
  h_start(2);
  for (int i = 0; i < count; i++) close(FIRST + i);
  CHECK_NUM(SOCKETS, sipwire_listener_count(h_instance));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: early"), "the one who came before");
  CHECK_NUM(0, h_find(EV_MESSAGE, 0, "Call-ID: early")->listener);
  char answer[400] = "";
  ssize_t n = read(early, answer, sizeof answer - 1); /* a blocking socket of ours */
  CHECK(n > 0 && strncmp(answer, "SIP/2.0 200", 11) == 0, "answered with: %s", answer);
  shutdown(early, SHUT_RDWR); /* the children have copies */
  close(early);
  for (int i = 0; i < count; i++) {
    sipwire_addr addr = h_listener(i);
    h_peer *peer = h_connect(&addr);
    h_write_text(peer, h_request("OPTIONS", "later", NULL, NULL));
    h_await_answer(peer, 200, "later");
  }
  return h_finish();
}
