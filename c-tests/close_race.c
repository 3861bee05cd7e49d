/* modes: threads processes */
/* Peers go away in every way while four participants send to them: nothing is reported twice, nothing hangs, and
 * slots, blocks and queued bytes come back (h_finish checks them). */
#include "harness.h"

enum { SENDERS = 4, ROUNDS = 60 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "256k");
  h_setting("send_timeout", "5s");
  h_start(2);
  h_sender *sender[SENDERS];
  for (int i = 0; i < SENDERS; i++) sender[i] = h_sender_new();
  sipwire_addr listener = h_listener(0);
  for (uint32_t round = 0; round < ROUNDS; round++) {
    h_peer *peer = h_connect_small(&listener, 8192);
    uint32_t id = h_conn_of(peer);
    sipwire_target target = h_to_conn(id);
    peer->paused = round % 3 == 0;
    for (int i = 0; i < SENDERS; i++) h_send_numbered(sender[i], &target, (uint32_t)i + 1, round * 200, 200, 2500);
    h_sleep_ms((int)(round % 7));
    switch (round % 5) {
      case 0: h_close(peer); break;
      case 1: h_reset(peer); break;
      case 2: sipwire_conn_close(h_instance, id); break;
      case 3: h_half_close(peer); break;
      default: h_try_write(peer, "GET / HTTP/1.1\r\n\r\n", 18); break; /* a full queue may have ended it */
    }
    peer->paused = false;
    for (int i = 0; i < SENDERS; i++) h_sender_wait(sender[i]);
    for (int i = 0; i < SENDERS; i++)
      for (uint32_t k = 0; k < sender[i]->job.count; k++) {
        int32_t rc = sender[i]->job.rc[k];
        CHECK(rc > 0 || rc == SIPWIRE_E_NO_CONNECTION || rc == SIPWIRE_E_CONN_QUEUE_FULL, "round %u: send returned %d (%s)", round, rc, sipwire_strerror(rc));
      }
    WAIT(h_find(EV_CLOSE, id, NULL), "round %u: on_close", round);
    h_close(peer);
  }
  /* whoever was refused must not be reported: the ledger's other rules need peers that read to the end */
  for (uint32_t tag = 1; tag <= SENDERS; tag++)
    CHECK(h_ledger_failed(tag) <= h_ledger_accepted(tag), "tag %u: %u reports for %u accepted messages", tag, h_ledger_failed(tag), h_ledger_accepted(tag));
  WAIT(STAT(queued_bytes) == 0, "queued_bytes is %llu", (unsigned long long)STAT(queued_bytes));
  return h_finish();
}
