/* modes: threads processes */
/* args: --full */
/* A worker is stopped: in its poll with connections that it holds, in the middle of writing an answer, and at any instant
 * of its work. All connections but the one it is reading are served by the other one meanwhile; when it goes on every
 * request has been delivered once and answered once. */
#include "tracer.h"

enum { PEERS = 10 };
static h_peer *peer[PEERS];
static size_t answers[PEERS];
static uint64_t asked, closes;
static int holder[PEERS]; /* the worker of its last answer */

static void ask(const char *id) {
  for (int i = 0; i < PEERS; i++) h_write_text(peer[i], h_request("OPTIONS", id, NULL, "body"));
  asked += PEERS;
}

static int answered(size_t each) {
  int n = 0;
  for (int i = 0; i < PEERS; i++) {
    h_frame frame;
    while (h_next(peer[i], &frame)) {
      char worker[16] = "";
      CHECK_NUM(200, frame.code);
      h_header(frame.data, frame.header_length, "X-Worker", worker, sizeof worker);
      holder[i] = atoi(worker);
      answers[i]++;
    }
    CHECK(!h_ended(peer[i]) && answers[i] <= each, "peer %d: %zu answers to %zu requests, ended %d", i, answers[i], each, h_ended(peer[i]));
    n += answers[i] == each;
  }
  return n;
}

static void all_is_well(size_t each) {
  WAIT(answered(each) == PEERS, "%d of %d are answered", answered(each), PEERS);
  CHECK_NUM(asked, h_total(EV_MESSAGE));
  CHECK_NUM(closes, h_total(EV_CLOSE));
}

/* The one with more connections: what a stopped one held is the other one's afterwards. */
static int busier(void) {
  int second = 0;
  for (int i = 0; i < PEERS; i++) second += holder[i];
  return second > PEERS / 2;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_time_limit(h_full ? 400 : 100);
  h_start(2);
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  tracer *of[2] = {trace_named("sipwire-w0"), trace_named("sipwire-w1")};
  size_t each = 0;
  ask("before");
  all_is_well(++each);

  for (int i = 0; i < 3; i++) { /* in its poll */
    int worker = busier();
    CHECK(h_worker(worker).held > 0, "it holds nothing");
    halt(of[worker]);
    ask("idle");
    WAIT(answered(each + 1) == PEERS, "%d of %d are answered beside a worker that holds them", answered(each + 1), PEERS);
    h_peer *fresh = h_client();
    h_write_text(fresh, h_request("OPTIONS", "fresh", NULL, NULL));
    asked++;
    h_await_answer(fresh, 200, "fresh");
    go_on(of[worker]);
    all_is_well(++each);
    WAIT(!h_worker(worker).stalled, "recovered");
    for (int round = 0; round < 2; round++) { /* it takes part again */
      ask("after");
      all_is_well(++each);
    }
    h_half_close(fresh);
    closes++;
    WAIT_NUM(closes, h_total(EV_CLOSE));
    h_close(fresh);
  }

  /* in the middle of an answer: the connection that it reads and writes waits for it, the others do not */
  tracer *t = of[busier()];
  trace_stop(t);
  trace_begin(t, TRACE_ENTRY, TRACE_SEND);
  ask("writing");
  trace_end(t, "to the write of an answer");
  WAIT(answered(each + 1) == PEERS - 1, "%d of %d are answered beside a worker in its write", answered(each + 1), PEERS);
  STAYS(100, answered(each + 1) == PEERS - 1, "its answer was written by somebody else");
  trace_leave(t, 0);
  all_is_well(++each);

  uint64_t stops = 0;
  int rounds = h_full ? 300 : 25;
  for (int i = 0; i < rounds || (!stops && i < 20 * rounds); i++) { /* anywhere, and at least once before all is answered */
    int worker = busier();
    ask("any");
    usleep((useconds_t)(i * 137 % 600));
    halt(of[worker]);
    stops += answered(each + 1) < PEERS;
    WAIT(answered(each + 1) >= PEERS - 1, "stop %d: %d of %d are answered", i, answered(each + 1), PEERS);
    go_on(of[worker]);
    all_is_well(++each);
  }
  CHECK(stops > 0, "all had been answered before each stop");
  for (int i = 0; i < 2; i++) trace_free(of[i]);
  return h_finish();
}
