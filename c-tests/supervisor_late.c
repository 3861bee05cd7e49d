/* modes: threads processes */
/* timeout: 90 */
/* The supervisor is stopped for 4 s while timers of 2 s are pending on connections of every kind. Nobody else waits; those
 * who did their part meanwhile are not closed when it comes back, only one that did nothing is, and no message is lost or
 * doubled. */
#include "deadline.h"
#include "tracer.h"

enum { STOPPED_MS = 4000, TIMER_MS = 2000, SIZE = 4000, EACH = 20 };
static const char *const timers[] = {"connection_lifetime", "first_message_timeout", "message_timeout", "send_timeout", "connect_timeout"};
static sipwire_addr listener;
static h_peer *idle, *fresh, *half, *reader, *silent, *held;
static uint32_t silent_id;

static void set_timers(const char *value) {
  for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) set_live(timers[i], value);
}

static void ask(h_peer *peer, const char *id) {
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_await_answer(peer, 200, id);
}

static bool is_with(h_peer *peer, int32_t owner) {
  sipwire_conn_info info;
  return h_info(h_conn_of(peer), &info) && info.owner == owner;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  h_setting("worker_hold", "100ms");
  h_setting("worker_stall", "60s");
  h_start(2);
  set_timers("10m");
  listener = h_listener(0);
  h_sender *sender = h_sender_new(), *other = h_sender_new();
  tracer *supervisor = trace_named("sipwire-super");

  reader = h_connect_small(&listener, 8192); /* its output is stuck */
  ask(reader, "first");
  sipwire_target to_reader = h_to_conn(h_conn_of(reader));
  reader->paused = true;
  uint32_t stuck = h_fill(&to_reader, 1, 0, SIZE, 3);
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr); /* a dial that gets no answer */
  sipwire_target dial = h_to_addr(&addr);
  CHECK(h_send_numbered_here(&dial, 2, 0, SIZE) == SIPWIRE_QUEUED, "dial");
  WAIT(STAT(dialled) == 1, "the dial is under way");
  char request[4096];
  h_text text = h_request("OPTIONS", "half", NULL, NULL);
  memcpy(request, text.data, text.length);
  half = h_client();
  h_write(half, request, text.length / 2);
  ask(idle = h_client(), "idle");
  ask(silent = h_client(), "silent");
  silent_id = h_conn_of(silent);
  h_conn_of(fresh = h_client());
  WAIT(is_with(half, SIPWIRE_OWNER_IDLE) && is_with(idle, SIPWIRE_OWNER_IDLE) && is_with(silent, SIPWIRE_OWNER_IDLE) && is_with(fresh, SIPWIRE_OWNER_IDLE),
       "all are with the supervisor");
  set_live("worker_hold", "60s");
  ask(held = h_client(), "held");

  /* Only now do the timers become short, so that a pause of this test before ends none; they are long over at the end. */
  uint64_t began = h_now_ms();
  halt(supervisor);
  set_timers("2s");
  uint64_t messages = h_total(EV_MESSAGE);
  sipwire_target to_idle = h_to_conn(h_conn_of(idle));
  h_send_numbered(sender, &to_idle, 3, 0, EACH, SIZE);
  h_sender_wait(sender); /* that they come back is the point */
  CHECK_NUM(0, sender->job.refused);
  h_send_numbered(other, &dial, 4, 0, EACH, 400);
  h_sender_wait(other);
  CHECK_NUM(EACH, other->job.queued);
  ask(held, "its worker reads and answers without the supervisor");
  for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
  h_peer *dialled = h_accept(full.fd); /* connected, and the supervisor does not know */
  h_write(half, request + text.length / 2, text.length - text.length / 2);
  h_write_text(idle, h_request("ACK", "idle again", NULL, NULL));
  h_write_text(fresh, h_request("ACK", "first", NULL, NULL));
  reader->paused = false;
  while (h_now_ms() < began + STOPPED_MS) h_tick();
  CHECK_NUM(0, h_total(EV_CLOSE));
  CHECK_NUM(messages + 1, h_total(EV_MESSAGE));
  go_on(supervisor);

  h_await_answer(half, 200, "half");
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: idle again") && h_find(EV_MESSAGE, 0, "Call-ID: first"), "both are read");
  WAIT((h_ledger_receive(idle), h_ledger_received(3) == EACH), "%u of %d messages arrived", h_ledger_received(3), EACH);
  WAIT((h_ledger_receive(dialled), h_ledger_received(2) + h_ledger_received(4) == EACH + 1), "messages of the dial");
  WAIT((h_ledger_receive(reader), h_ledger_received(1) == stuck), "%u of %u messages arrived", h_ledger_received(1), stuck);
  WAIT(h_find(EV_CLOSE, silent_id, NULL), "the one that did nothing is closed");
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, silent_id, NULL)->reason);
  CHECK_NUM(1, h_total(EV_CLOSE));
  set_timers("10m"); /* from here on time passes for all */
  STAYS(300, h_total(EV_CLOSE) == 1, "a healthy connection was closed by a late supervisor");
  CHECK_NUM(messages + 4, h_total(EV_MESSAGE));
  CHECK_NUM(0, h_total(EV_FAILED));
  h_ledger_check();
  trace_free(supervisor);
  close(full.fd);
  return h_finish();
}
