/* modes: threads processes */
/* The supervisor runs out of fds: accept pauses, which the statistics show, what is open is served, and accept goes on
 * when there are fds again. No connection in the backlog is lost. */
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { PEERS = 60, HIGH = 400 };
typedef struct raw_peer { int fd; size_t length; char in[2048]; } raw_peer;
static raw_peer peer[PEERS];

/* As threads we share the supervisor's fds: ours are made before the limit and have numbers above it, which the
 * supervisor's may not have. */
static int high_socket(void) {
  int low = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = fcntl(low, F_DUPFD_CLOEXEC, HIGH);
  CHECK(low >= 0 && fd >= HIGH, "socket: %s", strerror(errno));
  close(low);
  return fd;
}

static void connect_and_ask(raw_peer *p, const sipwire_addr *to) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(to->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK(connect(p->fd, (struct sockaddr *)&address, sizeof address) == 0, "connect: %s", strerror(errno));
  h_text text = h_request("OPTIONS", "many", NULL, NULL);
  CHECK(write(p->fd, text.data, text.length) == (ssize_t)text.length, "write: %s", strerror(errno));
}

static bool answered(raw_peer *p) {
  ssize_t n = recv(p->fd, p->in + p->length, sizeof p->in - 1 - p->length, MSG_DONTWAIT);
  CHECK(n != 0, "a connection was closed instead of an answer");
  if (n > 0) p->length += (size_t)n;
  return strstr(p->in, "SIP/2.0 200") != NULL;
}

static void limit_to(const struct rlimit *limit) {
  CHECK(prlimit(h_supervisor_pid(), RLIMIT_NOFILE, limit, NULL) == 0, "prlimit: %s", strerror(errno));
}

/* So many more than are open now. */
static void leave_room_for(int fds, const struct rlimit *old) {
  struct rlimit low = *old;
  int used = h_count_fds(h_supervisor_pid()) - (h_mode == H_THREADS ? PEERS : 0);
  CHECK(used + fds < HIGH, "%d fds are open", used);
  low.rlim_cur = (rlim_t)(used + fds);
  limit_to(&low);
}

/* The last fd goes to the last client that waits: accept pauses, and when there are fds again nobody connects who would
 * show that it goes on. */
static void nobody_waits(const sipwire_addr *listener, const struct rlimit *old) {
  for (int i = 0; i < PEERS; i++) peer[i] = (raw_peer){.fd = high_socket()};
  uint64_t pauses = STAT(accept_pauses);
  leave_room_for(5, old);
  for (int i = 0; STAT(accept_pauses) == pauses; i++) {
    CHECK(i < PEERS, "accept does not pause");
    uint64_t accepted = STAT(accepted);
    connect_and_ask(&peer[i], listener);
    WAIT(STAT(accepted) > accepted || STAT(accept_pauses) > pauses, "accepted, or a pause");
  }
  limit_to(old);
  for (int i = 0; i < PEERS; i++) close(peer[i].fd);
  WAIT_NUM(0, STAT(connections));
  WAIT_NUM(0, STAT(accept_paused));
}

/* With clients waiting that it cannot take: less than 5 % of a CPU, and a line a second. */
static void pauses_quietly(pid_t supervisor) {
  size_t logs = h_count(EV_LOG, 0, "accept paused");
  uint64_t begin = h_now_ms(), used = h_cpu_ms(supervisor);
  STAYS(3500, STAT(accept_paused) == 1, "accept does not stay paused");
  uint64_t took = h_now_ms() - begin;
  used = h_cpu_ms(supervisor) - used;
  logs = h_count(EV_LOG, 0, "accept paused") - logs;
  printf("paused for %llu ms: %llu ms of CPU, %zu log lines\n", (unsigned long long)took, (unsigned long long)used, logs);
  CHECK(used * 20 <= took, "%llu ms of CPU in %llu ms", (unsigned long long)used, (unsigned long long)took);
  CHECK(logs >= 1 && logs <= took / 1000 + 1, "%zu log lines in %llu ms", logs, (unsigned long long)took);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("fd_cache", "4");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  pid_t supervisor = 0;
  WAIT((supervisor = h_find_task("sipwire-super")) > 0, "the supervisor has its name");
  for (int i = 0; i < PEERS; i++) peer[i].fd = high_socket();
  struct rlimit old;
  CHECK(prlimit(h_supervisor_pid(), RLIMIT_NOFILE, NULL, &old) == 0, "prlimit: %s", strerror(errno));
  leave_room_for(20, &old);
  for (int i = 0; i < PEERS; i++) connect_and_ask(&peer[i], &listener);
  WAIT(STAT(accept_paused) == 1, "accept pauses");
  CHECK(STAT(accept_pauses) >= 1, "accept_pauses is 0");
  uint64_t accepted = STAT(accepted);
  CHECK(accepted >= 5 && accepted < PEERS, "%llu connections were accepted", (unsigned long long)accepted);
  for (uint64_t i = 0; i < accepted; i++) WAIT(answered(&peer[i]), "peer %d, which was accepted, is served", (int)i); /* accept is in order */
  pauses_quietly(supervisor);
  CHECK_NUM(1, STAT(accept_pauses));
  CHECK_NUM(accepted, STAT(accepted));

  for (int i = 0; i < 5; i++) close(peer[i].fd); /* room for some: a connection that ends gives its fd back */
  WAIT(STAT(accepted) > accepted, "accept goes on when connections close");
  limit_to(&old);
  for (int i = 5; i < PEERS; i++) WAIT(answered(&peer[i]), "peer %d", i);
  WAIT(STAT(accept_paused) == 0, "no longer paused");
  CHECK_NUM(PEERS, STAT(accepted));
  for (int i = 5; i < PEERS; i++) close(peer[i].fd);
  WAIT_NUM(0, STAT(connections));
  nobody_waits(&listener, &old);
  return h_finish();
}
