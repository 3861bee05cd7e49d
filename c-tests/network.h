/* For tests over a network: two hosts and a cable between them that delays, loses and can be cut.
 *
 *   net_open();            first of all, before h_init: this process moves to the near host
 *   h_init(argc, argv);
 *   net_start(1);          the instance, on the near host
 *   int fd = net_listener(0, &addr);   h_accept(fd) and net_client() give peers on the far host
 *
 * A host is a network namespace without a name: both end with this process. A socket stays where it was made, so that a
 * peer on the far host is one like any other. The cable is a thread that carries packets from one TUN device to the
 * other; unlike the kernel's own means (netem) it is there wherever TUN is, and a test can command it. */
#ifndef SIPWIRE_TEST_NETWORK_H
#define SIPWIRE_TEST_NETWORK_H
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

enum { NET_NEAR, NET_FAR, NET_MTU = 1500, NET_IN_FLIGHT = 1024 };

typedef struct net_packet { uint64_t due_us; size_t length; unsigned char data[NET_MTU]; } net_packet;
typedef struct net_line { size_t head, tail; net_packet packet[NET_IN_FLIGHT]; } net_line;

static struct {
  int ns[2], tun[2];
  net_line line[2]; /* by the host that sends; only the cable's thread touches them */
  _Atomic bool cut;
  _Atomic unsigned delay_ms, loss_percent;
  _Atomic uint64_t carried, lost; /* packets of TCP */
} net;

/* ---- the cable ---- */
static inline uint64_t net_now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The same sequence in each run. */
static inline bool net_unlucky(void) {
  static uint32_t x = 2463534242;
  x ^= x << 13, x ^= x >> 17, x ^= x << 5;
  return x % 100 < net.loss_percent;
}

/* Takes what a host sends. A line that is full loses what more comes, as a router does. */
static inline void net_take(int host) {
  net_line *line = &net.line[host];
  for (;;) {
    net_packet *packet = &line->packet[line->tail % NET_IN_FLIGHT], none;
    bool full = line->tail - line->head == NET_IN_FLIGHT;
    if (full) packet = &none;
    ssize_t n = read(net.tun[host], packet->data, NET_MTU);
    if (n <= 0) return;
    if (n < 20 || packet->data[0] >> 4 != 4 || packet->data[9] != IPPROTO_TCP) continue;
    if (full || net.cut || net_unlucky()) {
      net.lost++;
      continue;
    }
    packet->length = (size_t)n;
    packet->due_us = net_now_us() + net.delay_ms * 1000;
    line->tail++;
  }
}

/* Hands over what has been on its way long enough; a cut loses what is in the cable, too. */
static inline void net_hand_over(int host) {
  net_line *line = &net.line[host];
  for (; line->head != line->tail; line->head++) {
    net_packet *packet = &line->packet[line->head % NET_IN_FLIGHT];
    if (packet->due_us > net_now_us()) return;
    bool arrives = !net.cut && write(net.tun[!host], packet->data, packet->length) == (ssize_t)packet->length;
    ++*(arrives ? &net.carried : &net.lost);
  }
}

static inline void *net_cable(void *unused) {
  (void)unused;
  for (;;) {
    uint64_t now = net_now_us(), next = now + 1000000;
    for (int host = 0; host < 2; host++) {
      net_hand_over(host);
      net_line *line = &net.line[host];
      uint64_t due = line->head == line->tail ? next : line->packet[line->head % NET_IN_FLIGHT].due_us;
      if (due < next) next = due;
    }
    uint64_t left = next > now ? next - now : 0;
    struct timespec wait = {(time_t)(left / 1000000), (long)(left % 1000000) * 1000};
    struct pollfd fds[2] = {{.fd = net.tun[0], .events = POLLIN}, {.fd = net.tun[1], .events = POLLIN}};
    if (ppoll(fds, 2, &wait, NULL) > 0)
      for (int host = 0; host < 2; host++)
        if (fds[host].revents) net_take(host);
  }
  return NULL;
}

static inline void net_cut(void) { net.cut = true; }
static inline void net_mend(void) { net.cut = false; }

/* ---- the hosts ---- */
static inline void net_go(int host) {
  CHECK(setns(net.ns[host], CLONE_NEWNET) == 0, "setns: %s", strerror(errno));
}

static inline sipwire_addr net_address(int host, uint16_t port) {
  return (sipwire_addr){.family = 4, .port = port, .ip = {192, 0, 2, (uint8_t)(host + 1)}};
}

/* Host and device are made by the calling thread, which stays there. */
static inline void net_make_host(int host, int flags) {
  if (unshare(flags | CLONE_NEWNET) != 0) h_skip("network namespaces cannot be made here");
  net.ns[host] = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  net.tun[host] = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq device = {.ifr_name = "cable", .ifr_flags = IFF_TUN | IFF_NO_PI};
  if (net.tun[host] < 0 || ioctl(net.tun[host], TUNSETIFF, &device) != 0) h_skip("TUN devices cannot be made here");

  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in *address = (struct sockaddr_in *)&device.ifr_addr;
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xC0000201u + (uint32_t)host)};
  bool done = ioctl(fd, SIOCSIFADDR, &device) == 0;
  address->sin_addr.s_addr = htonl(0xFFFFFF00u);
  done = done && ioctl(fd, SIOCSIFNETMASK, &device) == 0;
  device.ifr_flags = IFF_UP;
  done = done && ioctl(fd, SIOCSIFFLAGS, &device) == 0;
  CHECK(done && net.ns[host] >= 0, "host %d: %s", host, strerror(errno));
  close(fd);
}

static inline void net_open(void) {
  /* Who is not root becomes it in a user namespace, where there are such. */
  net_make_host(NET_NEAR, geteuid() == 0 ? 0 : CLONE_NEWUSER);
  net_make_host(NET_FAR, 0);
  net_go(NET_NEAR);
  sigset_t all, before; /* the watchdog's signal is for the test's own thread */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, net_cable, NULL) == 0, "pthread_create failed");
  pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static inline void net_start(int workers) {
  h_no_listener = true;
  h_listen("tcp:192.0.2.1:0");
  h_start(workers);
}

/* On the far host; accepted peers have this receive buffer, 0: the kernel's. */
static inline int net_listener(int rcvbuf, sipwire_addr *out) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xC0000202u)};
  socklen_t length = sizeof name;
  net_go(NET_FAR);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  net_go(NET_NEAR);
  if (rcvbuf) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
  CHECK(bind(fd, (struct sockaddr *)&name, length) == 0 && listen(fd, 8) == 0, "listen: %s", strerror(errno));
  CHECK(getsockname(fd, (struct sockaddr *)&name, &length) == 0, "getsockname: %s", strerror(errno));
  *out = net_address(NET_FAR, ntohs(name.sin_port));
  return fd;
}

/* A peer on the far host that is connected to listener 0. */
static inline h_peer *net_client(void) {
  net_go(NET_FAR);
  h_peer *peer = h_client();
  net_go(NET_NEAR);
  return peer;
}

/* The far host starts again: it has forgotten the connection, and nobody here was told. */
static inline void net_forget(h_peer *peer) {
  net_cut();
  uint64_t lost = net.lost;
  h_reset(peer);
  WAIT(net.lost > lost, "the far host's last word is lost");
  net_mend();
}

/* ---- deadlines ---- */
/* What is to happen `setting_ms` after something that lay between `before_ms` and `after_ms` did so at `at_ms`: never
 * before (but a tick), and within 100 ms, or another attempt has to show it: the machine is shared. Much later is never
 * right. */
static inline bool net_in_time(const char *what, uint64_t setting_ms, uint64_t before_ms, uint64_t after_ms, uint64_t at_ms) {
  enum { TICK = 10, EXACT = 100, FAR_TOO_LATE = 1500 };
  uint64_t due = after_ms + setting_ms, late = at_ms > due ? at_ms - due : 0;
  printf("%s is %llu ms and acted after %llu ms\n", what, (unsigned long long)setting_ms, (unsigned long long)(at_ms - before_ms));
  fflush(stdout); /* a failure ends the process without */
  CHECK(at_ms + TICK >= before_ms + setting_ms, "%s is %llu ms and acted after at most %llu ms", what,
        (unsigned long long)setting_ms, (unsigned long long)(at_ms - before_ms));
  CHECK(late <= FAR_TOO_LATE, "%s acted %llu ms late", what, (unsigned long long)late);
  return late <= EXACT;
}

/* An attempt has numbered messages with a tag of its own. */
static inline void net_attempts(const char *what, bool (*attempt)(uint32_t tag), uint32_t first_tag) {
  bool shown = false;
  for (uint32_t i = 0; i < 3 && !shown; i++) shown = attempt(first_tag + i);
  CHECK(shown, "%s is not exact to 100 ms in any of three attempts", what);
}
#endif
