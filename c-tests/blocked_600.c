/* modes: threads processes */
/* 600 clients send while the only worker is blocked, then 600 more: the ancestor's hand-off channel holds 278 and the rest
 * is closed. Here neither channel nor ring is a limit: all are answered and none is closed. */
#include "harness.h"
#include <sys/resource.h>

enum { PEERS = 1200, RING = 1024 };

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 2 * PEERS + 100) h_skip("needs more file descriptors");
  h_init(argc, argv);
  h_start(1);
  h_peer *blocker = h_client();
  h_write_text(blocker, h_request("OPTIONS", "blocker", "X-Wait: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: blocker"), "the only worker is blocked");
  static h_peer *peer[PEERS];
  char id[32];
  for (int i = 0; i < PEERS; i++) {
    if (i == PEERS / 2) STAYS(300, STAT(closed) == 0, "%llu connections were closed", (unsigned long long)STAT(closed));
    snprintf(id, sizeof id, "wait%d", i);
    peer[i] = h_client();
    h_write_text(peer[i], h_request("OPTIONS", id, NULL, NULL));
  }
  WAIT(STAT(accepted) == PEERS + 1, "all are accepted: %llu", (unsigned long long)STAT(accepted));
  CHECK(STAT(handoffs) - STAT(relends) <= RING + 1, "%llu are lent to one worker that is blocked", (unsigned long long)STAT(handoffs));
  STAYS(2500, STAT(closed) == 0, "%llu connections were closed", (unsigned long long)STAT(closed)); /* the ancestor gives up after 2 s */
  *h_word(1) = 1;
  for (int i = 0; i < PEERS; i++) {
    snprintf(id, sizeof id, "wait%d", i);
    h_await_answer(peer[i], 200, id);
  }
  h_await_answer(blocker, 200, "blocker");
  CHECK_NUM(0, STAT(closed));
  CHECK_NUM(PEERS + 1, h_total(EV_MESSAGE));
  return h_finish();
}
