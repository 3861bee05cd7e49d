/* modes: processes */
/* A sender that is killed at any moment of sipwire_send costs at most the connection it was writing; nothing leaks,
 * and what others send arrives whole and in order. */
#include "harness.h"
#include <signal.h>

enum { ROUNDS = 20, EACH = 60 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  h_setting("participants", "40");
  h_start(2);
  h_sender *steady = h_sender_new();
  sipwire_addr addr;
  int fd = h_listener_open(16, &addr);
  h_peer *mine = h_client(), *theirs = h_client(); /* one that the steady sender uses, one that both use */
  sipwire_target to_mine = h_to_conn(h_conn_of(mine)), to_theirs = h_to_conn(h_conn_of(theirs)), by_address = h_to_addr(&addr);
  h_peer *dialled = NULL;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    uint64_t closed = STAT(closed);
    h_sender *victim = h_sender_new();
    h_send_numbered(victim, round % 3 == 2 ? &by_address : &to_theirs, 10 + round, 0, 4000, 900);
    h_send_numbered(steady, &to_mine, 1, round * EACH, EACH, 3000);
    h_sleep_ms((int)(round * 7 % 23));
    h_sender_kill(victim);
    WAIT(STAT(participants_died) == round + 1, "its death is counted");
    h_sender_wait(steady);
    CHECK_NUM(0, steady->job.refused);
    WAIT((h_ledger_receive(mine), h_ledger_received(1) == (round + 1) * EACH), "round %u: the steady sender's messages", round);
    CHECK(STAT(closed) <= closed + 1, "round %u: %llu connections were closed", round, (unsigned long long)(STAT(closed) - closed));
    h_peer *accepted = h_accept_now(fd);
    if (accepted) dialled = accepted;
    WAIT(STAT(queued_bytes) == 0, "round %u: queued_bytes stays at %llu", round, (unsigned long long)STAT(queued_bytes));
    /* whole messages only, each once and in order, up to where the victim died */
    if (!h_ended(theirs)) h_ledger_receive(theirs);
    if (dialled && !h_ended(dialled)) h_ledger_receive(dialled);
    if (h_ended(theirs)) {
      h_close(theirs);
      theirs = h_client();
      to_theirs = h_to_conn(h_conn_of(theirs));
    }
  }
  CHECK(STAT(participants) <= 5, "%llu participants are left", (unsigned long long)STAT(participants)); /* supervisor, 2 workers, steady, this */
  close(fd);
  return h_finish();
}
