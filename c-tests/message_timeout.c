/* modes: threads processes */
/* rows: F15 */
/* A message that does not become whole within message_timeout, and a connection that never sends a first message,
 * are closed for that reason. The time runs from the first byte that is no line end, and nothing that is read extends it,
 * wherever the connection is; others go on. */
#include "deadline.h"

/* F15: so much of the endless message at a time. */
static void endless(const char *before_it, const char *piece, int wait_ms) {
  h_peer *drip = h_client();
  uint32_t id = h_conn_of(drip);
  sipwire_conn_info info;
  size_t ignored = strlen(before_it), length = strlen(piece);
  if (ignored) {
    h_write(drip, before_it, ignored);
    STAYS(1000, !h_ended(drip), "F15: closed before the message begins");
  }
  uint64_t before = h_now_ms(), after = 0;
  for (size_t i = 0; !h_find(EV_CLOSE, id, NULL); i++) {
    CHECK(!after || h_now_ms() < after + 1500 + h_deadline_ms(20) - h_now_ms(), "F15: reading goes on without end");
    if (i == 0) h_try_write(drip, "MESSAGE sip:x@127.0.0.1 SIP/2.0\r\n", 33);
    else h_try_write(drip, piece, length);
    if (i == 0) { /* the time begins when the first byte was read */
      WAIT(!h_info(id, &info) || info.bytes_in == ignored + 33, "the first bytes are read");
      after = h_now_ms();
    }
    for (int waited = 0; waited < wait_ms; waited += 2) h_tick();
  }
  CHECK_NUM(SIPWIRE_REASON_MESSAGE_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("message_timeout", before, after, 1500, h_find(EV_CLOSE, id, NULL)->time_ms);
  CHECK_NUM(0, h_count(EV_MESSAGE, id, NULL));
  h_close(drip);
}

static void everywhere(void) {
  endless("", "x", 40);
  endless("", "Subject: a line\r\n", 150);
  endless("\r\n", "Subject: x\r\n", 2); /* hardly a moment in which nothing is read */
}

static void silent(void) {
  set_live("first_message_timeout", "3s");
  uint64_t before = h_now_ms(), opened = h_total(EV_OPEN);
  h_peer *peer = h_client();
  WAIT(h_nth(EV_OPEN, opened), "on_open");
  uint32_t id = h_nth(EV_OPEN, opened)->conn_id;
  uint64_t after = h_now_ms();
  WAIT(h_find(EV_CLOSE, id, NULL), "the silent connection is closed");
  CHECK_NUM(SIPWIRE_REASON_FIRST_MESSAGE_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("first_message_timeout", before, after, 3000, h_find(EV_CLOSE, id, NULL)->time_ms);
  h_await_end(peer, "the peer's side");
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("message_timeout", "1500ms");
  h_setting("worker_hold", "300ms"); /* longer than it takes to the next bytes: it stays with its worker all the time */
  h_start(2);
  h_peer *good = h_client();
  uint32_t good_id = h_conn_of(good);
  h_write_text(good, h_request("OPTIONS", "good", NULL, NULL));
  h_await_answer(good, 200, "good");
  everywhere();
  set_live("worker_hold", "20ms"); /* given back in between */
  everywhere();
  silent();
  STAYS(1000, !h_find(EV_CLOSE, good_id, NULL), "an idle connection between messages was closed");
  h_write_text(good, h_request("OPTIONS", "good", NULL, NULL));
  h_await_answer(good, 200, "good");
  WAIT_NUM(0, STAT(partial_bytes));
  return h_finish();
}
