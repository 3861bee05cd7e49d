/* modes: threads processes */
/* args: --full */
/* timeout: 60 */
/* A worker is blocked in the script for 3 s while five other connections that it holds are active. The other worker
 * answers them meanwhile; how long the slowest answer took is printed. Behind a few times as long as a stall is
 * recognised the machine decides: --full asks for 100 ms in one of five runs. */
#include "harness.h"
#include <poll.h>
#include <time.h>

enum { ACTIVE = 5, BLOCKED_MS = 3000 };
static h_peer *active[ACTIVE], *blocker;

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int ask(h_peer *peer, const char *id) {
  char value[16];
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_frame frame = h_await_answer(peer, 200, id);
  h_header(frame.data, frame.header_length, "X-Worker", value, sizeof value);
  return atoi(value);
}

/* Connections that one worker holds: its every second one. */
static void all_of_one_worker(void) {
  int worker = ask(blocker = h_client(), "first");
  for (int have = 0, i = 0; have < ACTIVE; i++) {
    CHECK(i < 100, "no connection comes to worker %d", worker);
    h_peer *peer = h_client();
    if (ask(peer, "whose") == worker) active[have++] = peer;
    else h_close(peer);
  }
}

/* All five ask at once; in microseconds until the last one is answered. */
static uint64_t round_of_all(void) {
  uint64_t begin = now_us();
  for (int i = 0; i < ACTIVE; i++) h_write_text(active[i], h_request("OPTIONS", "active", NULL, NULL));
  for (int i = 0; i < ACTIVE; i++) {
    h_frame frame = {0};
    while (!h_next(active[i], &frame)) {
      struct pollfd p = {.fd = active[i]->fd, .events = POLLIN};
      CHECK(poll(&p, 1, 20000) == 1, "connection %d waits for the worker that is blocked", i);
      h_tick();
      CHECK(!h_ended(active[i]), "connection %d was closed", i);
    }
  }
  return now_us() - begin;
}

static uint64_t slowest_while_blocked(int word) {
  char header[32];
  snprintf(header, sizeof header, "X-Wait: %d\r\n", word);
  all_of_one_worker();
  uint64_t messages = h_total(EV_MESSAGE), slowest = 0;
  h_write_text(blocker, h_request("OPTIONS", "blocker", header, NULL));
  WAIT(h_total(EV_MESSAGE) == messages + 1, "the script blocks");
  for (uint64_t begin = h_now_ms(); h_now_ms() < begin + BLOCKED_MS; h_sleep_ms(20)) {
    uint64_t took = round_of_all();
    if (took > slowest) slowest = took;
  }
  CHECK(blocker->length == blocker->parsed, "the script did not stay blocked");
  *h_word(word) = 1;
  h_await_answer(blocker, 200, "blocker");
  for (int i = 0; i < ACTIVE; i++) h_close(active[i]);
  h_close(blocker);
  printf("blocked for %d ms: the slowest answer took %.1f ms\n", BLOCKED_MS, (double)slowest / 1000);
  return slowest;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_start(2);
  uint64_t slowest = UINT64_MAX;
  for (int run = 0; run < (h_full ? 5 : 1) && slowest >= 100000; run++) slowest = slowest_while_blocked(run);
  CHECK(!h_full || slowest < 100000, "the slowest answer took %.1f ms in the last of five runs", (double)slowest / 1000);
  return h_finish();
}
