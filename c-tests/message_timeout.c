/* modes: threads processes */
/* A message that does not become whole within message_timeout, and a connection that never sends a first message,
 * are closed for that reason; dripping bytes do not extend it, wherever the connection is; others go on. */
#include "deadline.h"

static void dripping(void) {
  h_peer *drip = h_client();
  uint32_t drip_id = h_conn_of(drip);
  h_text text = h_request("OPTIONS", "drip", "Subject: so long that one byte each 40 ms does not end in time, whatever happens meanwhile\r\n", NULL);
  uint64_t before = h_now_ms(), after = 0;
  sipwire_conn_info info;
  for (size_t i = 0; i < text.length - 1 && !h_find(EV_CLOSE, drip_id, NULL); i++) {
    h_try_write(drip, text.data + i, 1);
    if (i == 0) { /* the time begins when the first byte was read */
      WAIT(!h_info(drip_id, &info) || info.bytes_in == 1, "the first byte is read");
      after = h_now_ms();
    }
    for (int k = 0; k < 20; k++) h_tick();
  }
  WAIT(h_find(EV_CLOSE, drip_id, NULL), "the dripping connection is closed");
  CHECK_NUM(SIPWIRE_REASON_MESSAGE_TIMEOUT, h_find(EV_CLOSE, drip_id, NULL)->reason);
  CHECK_ACTED("message_timeout", before, after, 1500, h_find(EV_CLOSE, drip_id, NULL)->time_ms);
  h_close(drip);
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
  h_setting("worker_hold", "300ms"); /* longer than a drip: it stays with its worker all the time */
  h_start(2);
  h_peer *good = h_client();
  uint32_t good_id = h_conn_of(good);
  h_write_text(good, h_request("OPTIONS", "good", NULL, NULL));
  h_await_answer(good, 200, "good");
  dripping();
  set_live("worker_hold", "20ms"); /* given back between two drips */
  dripping();
  silent();
  STAYS(1000, !h_find(EV_CLOSE, good_id, NULL), "an idle connection between messages was closed");
  h_write_text(good, h_request("OPTIONS", "good", NULL, NULL));
  h_await_answer(good, 200, "good");
  WAIT_NUM(0, STAT(partial_bytes));
  return h_finish();
}
