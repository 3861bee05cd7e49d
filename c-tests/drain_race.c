/* modes: threads processes */
/* Requests come at the instant of the drain, on connections that workers hold: what reaches a script is answered. */
#include "harness.h"

enum { PEERS = 150, DELIVERED = 1, REFUSED = 2 };

static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  static const char answer[] = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
  sipwire_iov iov = {answer, sizeof answer - 1};
  sipwire_target target = h_to_conn(message->conn_id);
  ++*h_word(DELIVERED);
  if (sipwire_send(instance, &target, &iov, 1, 0) < 0) ++*h_word(REFUSED);
  return 0;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "10m");
  h_script = script;
  h_start(2);
  static h_peer *peer[PEERS];
  h_text request = h_request("OPTIONS", "again", NULL, NULL);
  for (int i = 0; i < PEERS; i++) {
    peer[i] = h_client();
    h_write(peer[i], request.data, request.length);
    h_await(peer[i], "the first answer");
  }
  CHECK_RC(SIPWIRE_OK, sipwire_drain(h_instance, 600000));
  for (int i = 0; i < PEERS; i++) h_try_write(peer[i], request.data, request.length);
  uint64_t answers = PEERS;
  for (int i = 0; i < PEERS; i++) {
    h_frame frame = {0};
    WAIT(h_next(peer[i], &frame) || h_ended(peer[i]), "peer %d is neither answered nor closed", i);
    answers += frame.data != NULL;
    h_await_end(peer[i], "the drain ends it");
    h_close(peer[i]);
  }
  WAIT(STAT(slots_used) == 0, "all is over");
  CHECK_NUM(0, *h_word(REFUSED));
  CHECK(*h_word(DELIVERED) >= answers, "answers that nobody gave");
  return h_finish();
}
