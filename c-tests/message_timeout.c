/* modes: threads processes */
/* A message that does not become whole within message_timeout, and a connection that never sends a first message,
 * are closed for that reason; dripping bytes do not extend it, wherever the connection is; others go on. */
#include "harness.h"

static void dripping(void) {
  h_peer *drip = h_client();
  uint32_t drip_id = h_conn_of(drip);
  h_text text = h_request("OPTIONS", "drip", "Subject: so long that one byte each 100 ms does not end in time\r\n", NULL);
  uint64_t begin = h_now_ms();
  for (size_t i = 0; i < text.length - 1 && !h_find(EV_CLOSE, drip_id, NULL); i++) {
    h_try_write(drip, text.data + i, 1);
    for (int k = 0; k < 20; k++) h_tick();
  }
  WAIT(h_find(EV_CLOSE, drip_id, NULL), "the dripping connection is closed");
  CHECK_NUM(SIPWIRE_REASON_MESSAGE_TIMEOUT, h_find(EV_CLOSE, drip_id, NULL)->reason);
  CHECK(h_find(EV_CLOSE, drip_id, NULL)->time_ms - begin >= 1450, "closed after %llu ms", (unsigned long long)(h_find(EV_CLOSE, drip_id, NULL)->time_ms - begin));
  h_close(drip);
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
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "worker_hold", "20ms", NULL, 0)); /* given back between two drips */
  dripping();
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "first_message_timeout", "1s", NULL, 0));
  h_peer *silent = h_client();
  uint32_t silent_id = h_conn_of(silent);
  WAIT(h_find(EV_CLOSE, silent_id, NULL), "the silent connection is closed");
  CHECK_NUM(SIPWIRE_REASON_FIRST_MESSAGE_TIMEOUT, h_find(EV_CLOSE, silent_id, NULL)->reason);
  h_await_end(silent, "the peer's side");
  STAYS(1000, !h_find(EV_CLOSE, good_id, NULL), "an idle connection between messages was closed");
  h_write_text(good, h_request("OPTIONS", "good", NULL, NULL));
  h_await_answer(good, 200, "good");
  WAIT_NUM(0, STAT(partial_bytes));
  return h_finish();
}
