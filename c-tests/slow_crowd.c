/* modes: threads processes */
/* args: --full */
/* timeout: 90 */
/* 500 silent connections and 500 that send their requests a byte at a time, beside one normal client. Its p99 without and
 * with them is printed; --full asks for 10 ms in one of five runs, else for 200 ms: a busy machine may take longer. All that drip are
 * answered in the end and nobody is closed. */
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { SILENT = 500, DRIPPING = 500, ASKED = 400, PORT = 0, CONNECTED, FINISH, ANSWERED, DRIPS }; /* from PORT on: words */

/* ---- the crowd, a process of its own ---- */
static int connect_raw(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*h_word(PORT)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect: %s", strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static void crowd(void *unused) {
  (void)unused;
  static int silent[SILENT], dripping[DRIPPING];
  h_text request = h_request("OPTIONS", "drip", NULL, "body");
  while (!*h_word(PORT)) h_sleep_ms(2);
  for (int i = 0; i < SILENT; i++) silent[i] = connect_raw();
  for (int i = 0; i < DRIPPING; i++) dripping[i] = connect_raw();
  *h_word(CONNECTED) = 1;
  size_t at = 0; /* a byte of each in 100 ms, spread over them */
  for (; at < request.length && !*h_word(FINISH); at++)
    for (int i = 0; i < DRIPPING; i++) {
      CHECK(write(dripping[i], request.data + at, 1) == 1, "write: %s", strerror(errno));
      ++*h_word(DRIPS);
      if (i % 50 == 49) h_sleep_ms(10);
    }
  for (int i = 0; i < DRIPPING; i++) CHECK(write(dripping[i], request.data + at, request.length - at) == (ssize_t)(request.length - at), "write: %s", strerror(errno));
  for (int i = 0; i < DRIPPING; i++) {
    char answer[2048];
    ssize_t n = read(dripping[i], answer, sizeof answer);
    CHECK(n > 12 && strncmp(answer, "SIP/2.0 200 ", 12) == 0, "dripping connection %d: %zd bytes instead of an answer", i, n);
    ++*h_word(ANSWERED);
  }
  for (int i = 0; i < SILENT; i++) {
    char byte;
    CHECK(recv(silent[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "silent connection %d was closed", i);
    close(silent[i]);
  }
  for (int i = 0; i < DRIPPING; i++) close(dripping[i]);
}

/* ---- the normal client ---- */
static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static uint64_t p99_us(h_peer *client) {
  static uint64_t took[ASKED];
  fcntl(client->fd, F_SETFL, 0); /* it sleeps in its read: nothing of the harness is measured */
  for (int i = 0; i < ASKED; i++) {
    char answer[2048];
    size_t length = 0;
    h_text request = h_request("OPTIONS", "normal", NULL, NULL);
    uint64_t begin = now_us();
    CHECK(write(client->fd, request.data, request.length) == (ssize_t)request.length, "write: %s", strerror(errno));
    do {
      ssize_t n = read(client->fd, answer + length, sizeof answer - 1 - length);
      CHECK(n > 0, "the normal client's connection ended");
      answer[length += (size_t)n] = 0;
    } while (!strstr(answer, "\r\n\r\n"));
    took[i] = now_us() - begin;
    h_sleep_ms(4);
  }
  qsort(took, ASKED, sizeof *took, compare);
  return took[ASKED * 99 / 100];
}

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 2500) h_skip("needs 2500 file descriptors");
  h_init(argc, argv);
  h_setting("message_timeout", "10m");
  pid_t child = h_fork(crowd, NULL); /* before there is an instance: it takes no part */
  h_expect_code(child, 0);
  h_start(2);
  h_record(false);
  h_peer *client = h_client();
  uint64_t alone = p99_us(client);
  *h_word(PORT) = h_listener(0).port;
  WAIT(*h_word(CONNECTED) && STAT(connections) == SILENT + DRIPPING + 1, "%llu connections", (unsigned long long)STAT(connections));
  uint64_t beside = UINT64_MAX, drips = *h_word(DRIPS);
  for (int run = 0; run < (h_full ? 5 : 1) && beside >= 10000; run++) beside = p99_us(client);
  CHECK(*h_word(DRIPS) > drips + DRIPPING, "%llu bytes dripped meanwhile", (unsigned long long)(*h_word(DRIPS) - drips));
  printf("p99 of %d requests: %.2f ms alone, %.2f ms beside %d connections\n", ASKED, (double)alone / 1000, (double)beside / 1000, SILENT + DRIPPING);
  CHECK(beside < (h_full ? 10000 : 200000), "the p99 is %.2f ms, alone %.2f ms", (double)beside / 1000, (double)alone / 1000);
  CHECK_NUM(0, STAT(closed));
  *h_word(FINISH) = 1;
  WAIT(*h_word(ANSWERED) == DRIPPING, "%llu dripped requests are answered", (unsigned long long)*h_word(ANSWERED));
  WAIT(h_gone(child), "the crowd goes");
  return h_finish();
}
