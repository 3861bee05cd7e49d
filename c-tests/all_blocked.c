/* modes: threads processes */
/* All workers are blocked in the script, for several times as long as a connection, a message and a first message may
 * take. Nothing is closed, whether it was held, is new or has sent half a message; when one worker is free again it
 * answers everything, while the others are blocked still. */
#include "harness.h"

enum { WORKERS = 3, HELD = 12, FRESH = 20 };
static h_peer *held[HELD], *fresh[FRESH], *half, *blocked[WORKERS];

static int ask(h_peer *peer, const char *id) {
  char value[16];
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_frame frame = h_await_answer(peer, 200, id);
  h_header(frame.data, frame.header_length, "X-Worker", value, sizeof value);
  return atoi(value);
}

/* One connection of each worker. */
static void block_all(void) {
  for (int have = 0, i = 0; have < WORKERS; i++) {
    CHECK(i < 100, "no connection comes to one of the workers");
    h_peer *peer = h_client();
    int worker = ask(peer, "whose");
    if (blocked[worker]) {
      h_close(peer);
      continue;
    }
    char header[32];
    snprintf(header, sizeof header, "X-Wait: %d\r\n", worker);
    blocked[worker] = peer;
    have++;
    h_write_text(peer, h_request("OPTIONS", "blocked", header, NULL));
    WAIT(h_worker(worker).stalled, "worker %d is blocked", worker);
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_setting("message_timeout", "500ms");
  h_setting("first_message_timeout", "500ms");
  h_setting("connection_lifetime", "500ms");
  h_start(WORKERS);
  for (int i = 0; i < HELD; i++) ask(held[i] = h_client(), "held");
  block_all();
  uint64_t closed = STAT(closed), messages = h_total(EV_MESSAGE);
  char request[4096];
  h_text text = h_request("OPTIONS", "half", NULL, NULL);
  memcpy(request, text.data, text.length);
  half = h_client();
  h_write(half, request, text.length / 2);
  for (int i = 0; i < HELD; i++) h_write_text(held[i], h_request("OPTIONS", "held", NULL, NULL));
  for (int i = 0; i < FRESH; i++) h_write_text(fresh[i] = h_client(), h_request("OPTIONS", "fresh", NULL, NULL));
  STAYS(2500, STAT(closed) == closed && h_total(EV_MESSAGE) == messages, "%llu connections were closed, %llu messages delivered",
        (unsigned long long)(STAT(closed) - closed), (unsigned long long)(h_total(EV_MESSAGE) - messages));
  h_write(half, request + text.length / 2, text.length - text.length / 2);

  *h_word(1) = 1;
  h_await_answer(blocked[1], 200, "blocked");
  h_await_answer(half, 200, "half");
  for (int i = 0; i < HELD; i++) h_await_answer(held[i], 200, "held");
  for (int i = 0; i < FRESH; i++) h_await_answer(fresh[i], 200, "fresh");
  CHECK(h_worker(0).stalled && h_worker(2).stalled, "the others are not blocked any more");
  CHECK(!h_ended(blocked[0]) && !h_ended(blocked[2]), "closed under a blocked script");
  *h_word(0) = *h_word(2) = 1;
  h_await_answer(blocked[0], 200, "blocked");
  h_await_answer(blocked[2], 200, "blocked");
  CHECK_NUM(messages + HELD + FRESH + 1, h_total(EV_MESSAGE)); /* each once */
  return h_finish();
}
