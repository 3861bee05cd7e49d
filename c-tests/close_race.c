/* modes: threads processes */
/* Peers vanish while four participants send to them, in every way. What a peer received nobody knows then, but each
 * accepted message was either given to the kernel whole or is reported, once, and a refused one is neither. Nothing
 * hangs, and slots, blocks and queued bytes come back (h_finish checks them). */
#include "deadline.h"
#include <sys/mman.h>

enum { SENDERS = 4, ROUNDS = 60, EACH = 200 };
/* One byte for each message, that all processes see. */
typedef struct record { _Atomic uint8_t accepted[ROUNDS * SENDERS * EACH], reported[ROUNDS * SENDERS * EACH]; } record;
static record *seen;
static char message[2500];

static void hook(const sipwire_failure *failure) { seen->reported[failure->cookie]++; }

static void send_many(h_sender *self) {
  h_job *job = &self->job;
  for (uint32_t i = 0; i < EACH; i++) {
    int32_t rc = h_send_here(&job->target, message, sizeof message, job->first + i);
    CHECK(rc > 0 || rc == SIPWIRE_E_NO_CONNECTION || rc == SIPWIRE_E_CONN_QUEUE_FULL, "send returned %d (%s)", rc, sipwire_strerror(rc));
    if (rc > 0) seen->accepted[job->first + i] = 1;
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_failed_hook = hook;
  seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(seen != MAP_FAILED, "mmap: %s", strerror(errno));
  memset(message, 'x', sizeof message);
  memcpy(message, "MESSAGE sip:x SIP/2.0\r\n", 23);
  h_setting("send_timeout", "5s");
  h_start(2);
  h_sender *sender[SENDERS];
  for (int i = 0; i < SENDERS; i++) sender[i] = h_sender_new();
  sipwire_addr listener = h_listener(0);
  uint64_t accepted = 0, reported = 0, full = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    set_live("conn_wq_max", round % 2 ? "256k" : "4m"); /* in every second round there is room for all */
    h_peer *peer = h_connect_small(&listener, 8192);
    uint32_t id = h_conn_of(peer), first = round * SENDERS * EACH;
    sipwire_target target = h_to_conn(id);
    peer->paused = round % 3 == 0;
    for (uint32_t i = 0; i < SENDERS; i++) {
      sender[i]->job.target = target;
      sender[i]->job.first = first + i * EACH;
      h_sender_run(sender[i], send_many);
    }
    h_sleep_ms((int)(round % 7)); /* another moment of the sends in each round */
    switch (round % 5) {
      case 0: h_close(peer); break;
      case 1: h_reset(peer); break;
      case 2: sipwire_conn_close(h_instance, id); break;
      case 3: h_half_close(peer); break;
      default: h_try_write(peer, "GET / HTTP/1.1\r\n\r\n", 18); break; /* a full queue may have ended it */
    }
    peer->paused = false;
    for (int i = 0; i < SENDERS; i++) h_sender_wait(sender[i]);
    WAIT(h_find(EV_CLOSE, id, NULL), "round %u: on_close", round); /* behind all reports */
    full += h_find(EV_CLOSE, id, NULL)->reason == SIPWIRE_REASON_CONN_QUEUE_FULL;
    for (uint32_t n = first; n < first + SENDERS * EACH; n++) {
      CHECK(seen->reported[n] <= seen->accepted[n], "message %u of round %u: %s, and reported %u times", n - first, round,
            seen->accepted[n] ? "accepted" : "refused", seen->reported[n]);
      accepted += seen->accepted[n];
      reported += seen->reported[n];
    }
    WAIT(STAT(messages_out) + reported == accepted, "round %u: %llu were accepted, %llu written, %llu reported", round, (unsigned long long)accepted,
         (unsigned long long)STAT(messages_out), (unsigned long long)reported);
    h_close(peer);
  }
  CHECK(reported > 0 && reported < accepted, "%llu of %llu messages were reported", (unsigned long long)reported, (unsigned long long)accepted);
  CHECK(full <= ROUNDS / 2, "a connection ended by its full queue though there was room");
  WAIT(STAT(queued_bytes) == 0, "queued_bytes is %llu", (unsigned long long)STAT(queued_bytes));
  return h_finish();
}
