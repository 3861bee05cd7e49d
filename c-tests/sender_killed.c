/* modes: processes */
/* A sender that is killed at any moment of sipwire_send costs at most the connection it was writing; nothing leaks,
 * and what others send arrives whole and in order. */
#include "harness.h"
#include <signal.h>

enum { ROUNDS = 20, EACH = 60, MOST = 4000 };

/* All that the killed one got a word about, and at most the one more that it was killed behind; each once, in order. */
static bool accounted(h_peer *peer, uint32_t tag) {
  if (peer) h_ledger_receive(peer);
  uint32_t seen = h_ledger_received(tag) + h_ledger_failed(tag), accepted = h_ledger_accepted(tag);
  CHECK(seen <= accepted + 1, "tag %u: %u messages arrived or were reported, %u were accepted", tag, seen, accepted);
  return seen >= accepted;
}

static void take_dialled(int listener, h_peer **dialled) {
  h_peer *accepted = h_accept_now(listener);
  if (accepted) *dialled = accepted;
}

static void check_closes(uint32_t deaths, uint32_t mine) {
  CHECK(h_count(EV_CLOSE, mine, NULL) == 0, "the steady sender's connection was closed");
  h_event *e;
  for (size_t i = 0; (e = h_nth(EV_CLOSE, i)); i++)
    CHECK(e->reason == SIPWIRE_REASON_SENDER_DIED, "connection %u was closed: %s", e->conn_id, sipwire_reason_text(e->reason));
  CHECK(h_total(EV_CLOSE) <= deaths, "%llu connections were closed by %u deaths", (unsigned long long)h_total(EV_CLOSE), deaths);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  h_setting("participants", "40");
  h_start(2);
  h_sender *steady = h_sender_new();
  sipwire_addr addr;
  int fd = h_listener_open(16, &addr);
  h_peer *mine = h_client(), *theirs = h_client(); /* one that the steady sender uses, one that both use */
  uint32_t mine_id = h_conn_of(mine);
  sipwire_target to_mine = h_to_conn(mine_id), to_theirs = h_to_conn(h_conn_of(theirs)), by_address = h_to_addr(&addr);
  h_peer *dialled = NULL;
  uint32_t in_the_middle = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    uint32_t tag = 10 + round;
    bool dials = round % 3 == 2;
    h_sender *victim = h_sender_new();
    h_send_numbered(victim, dials ? &by_address : &to_theirs, tag, 0, MOST, 900);
    h_send_numbered(steady, &to_mine, 1, round * EACH, EACH, 3000);
    WAIT(h_ledger_accepted(tag) >= round * 7 || victim->job.refused, "round %u: the victim has sent %u messages", round, h_ledger_accepted(tag));
    h_sender_kill(victim);
    in_the_middle += !victim->job.refused && h_ledger_accepted(tag) < MOST;
    WAIT(STAT(participants_died) == round + 1, "its death is counted");
    h_sender_wait(steady);
    CHECK_NUM(0, steady->job.refused);
    WAIT((h_ledger_receive(mine), h_ledger_received(1) == (round + 1) * EACH), "round %u: the steady sender's messages", round);
    WAIT(STAT(queued_bytes) == 0, "round %u: queued_bytes stays at %llu", round, (unsigned long long)STAT(queued_bytes));
    /* What the kernel had taken when the connection was closed may be lost with it; nothing else is. */
    h_peer **peer = dials ? &dialled : &theirs;
    WAIT((take_dialled(fd, &dialled), accounted(*peer, tag)) || (*peer && h_ended(*peer)),
         "round %u: of %u accepted messages %u arrived and %u were reported", round, h_ledger_accepted(tag), h_ledger_received(tag),
         h_ledger_failed(tag));
    check_closes(round + 1, mine_id);
    if (h_ended(theirs)) {
      h_event *e = NULL;
      WAIT((e = h_find(EV_CLOSE, to_theirs.conn_id, NULL)) != NULL, "round %u: on_close of the connection that ended", round);
      CHECK_NUM(SIPWIRE_REASON_SENDER_DIED, e->reason);
      theirs = h_client();
      to_theirs = h_to_conn(h_conn_of(theirs));
    }
    if (dialled && h_ended(dialled)) dialled = NULL;
  }
  CHECK(in_the_middle > 0, "each victim had sent all before it was killed");
  CHECK(STAT(participants) <= 5, "%llu participants are left", (unsigned long long)STAT(participants)); /* supervisor, 2 workers, steady, this */
  check_closes(ROUNDS, mine_id);
  close(fd);
  return h_finish();
}
