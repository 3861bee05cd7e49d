/* modes: threads processes */
/* Connections end in every way that lets output arrive, while four participants send, to peers that read to the end:
 * every accepted message is received whole and in order or reported, not both, and no refused one is either. */
#include "harness.h"

enum { SENDERS = 4, ROUNDS = 40, EACH = 100 };
typedef enum { HOST, HALF_CLOSE, BAD_INPUT, AFTER_SEND, WAYS } way;

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "4m"); /* room for all: a full queue would end the connection by a reset, */
  h_setting("send_timeout", "10m"); /* and so would time, */
  h_setting("linger", "10m"); /* which cost what the kernel has taken */
  h_start(2);
  h_sender *sender[SENDERS];
  for (int i = 0; i < SENDERS; i++) sender[i] = h_sender_new();
  sipwire_addr listener = h_listener(0);
  uint32_t received = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    h_peer *peer = h_connect_small(&listener, 8192);
    uint32_t id = h_conn_of(peer);
    sipwire_target target = h_to_conn(id);
    peer->paused = round % 3 == 0;
    for (uint32_t i = 0; i < SENDERS; i++) h_send_numbered(sender[i], &target, i + 1, round * EACH, EACH, 2500);
    h_sleep_ms((int)(round % 7)); /* another moment of the sends in each round */
    target.flags = SIPWIRE_SEND_CLOSE_AFTER;
    switch (round % WAYS) {
      case HOST: CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id)); break;
      case HALF_CLOSE: h_half_close(peer); break;
      case BAD_INPUT: h_write(peer, "GET / HTTP/1.1\r\n\r\n", 18); break;
      default: CHECK(h_send_numbered_here(&target, 5, round, 2500) > 0, "the last message"); break;
    }
    peer->paused = false;
    for (int i = 0; i < SENDERS; i++) h_sender_wait(sender[i]);
    WAIT_FOR(60, (h_ledger_receive(peer), h_ended(peer)), "round %u: the end", round);
    h_ledger_receive(peer);
    CHECK(peer->eof && !peer->error, "round %u: reset (errno %d), expected FIN", round, peer->error);
    CHECK(peer->parsed == peer->length, "round %u: half a message was received", round);
    h_close(peer);
    WAIT(h_find(EV_CLOSE, id, NULL), "round %u: on_close", round);
    h_ledger_check();
    for (int i = 0; i < SENDERS; i++)
      for (uint32_t k = 0; k < EACH; k++) {
        int32_t rc = sender[i]->job.rc[k];
        CHECK(rc > 0 || rc == SIPWIRE_E_NO_CONNECTION, "round %u: send returned %d (%s)", round, rc, sipwire_strerror(rc));
      }
  }
  uint32_t accepted = 0;
  for (uint32_t tag = 1; tag <= 5; tag++) {
    received += h_ledger_received(tag);
    accepted += h_ledger_accepted(tag);
  }
  CHECK_NUM(accepted, received); /* an end in order costs nothing that was accepted before it */
  CHECK_NUM(0, h_total(EV_FAILED));
  return h_finish();
}
