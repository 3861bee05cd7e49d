/* modes: processes */
/* What a sender left behind when it was killed, or detached and went, is nobody's but must not be lost: messages that
 * wait for a dial, that wait in a connection's queue, and that the supervisor has not even looked at are written like
 * others, or reported like others, once each. */
#include "harness.h"
#include <signal.h>

enum { EACH = 5, SIZE = 5000 }; /* three blocks each */
static uint32_t tag;

static h_sender *sent(h_sender *sender, const sipwire_target *target, uint32_t first_tag) {
  h_send_numbered(sender, target, first_tag, 0, EACH, SIZE);
  h_sender_wait(sender);
  CHECK(sender->job.refused == 0, "sender %u: %u refused", first_tag, sender->job.refused);
  return sender;
}

/* Three senders: one is killed, one is killed while the supervisor is stopped, one leaves in order. */
static void three(const sipwire_target *target) {
  uint64_t died = STAT(participants_died), participants = STAT(participants);
  h_sender_kill(sent(h_sender_new(), target, ++tag));
  h_sender *stopped = h_sender_new();
  kill(h_supervisor_pid(), SIGSTOP);
  h_sender_kill(sent(stopped, target, ++tag));
  kill(h_supervisor_pid(), SIGCONT);
  h_sender_end(sent(h_sender_new(), target, ++tag));
  WAIT_NUM(died + 2, STAT(participants_died));
  WAIT_NUM(participants, STAT(participants)); /* their numbers are free again */
}

/* Failed, with this reason: each once, whole. */
static void check_reports(uint32_t first_tag, int32_t reason) {
  static char expected[SIZE];
  for (uint32_t t = first_tag; t < first_tag + 3; t++)
    for (uint32_t n = 0; n < EACH; n++) {
      uint64_t cookie = (uint64_t)t << 32 | n;
      WAIT(h_failure(cookie), "sender %u: no report about message %u", t, n);
      CHECK_NUM(1, h_failure_count(cookie));
      CHECK_NUM(reason, h_failure(cookie)->reason);
      CHECK_NUM(SIZE, h_failure(cookie)->length);
      h_numbered(expected, SIZE, t, n);
      CHECK_NUM(h_hash(expected, SIZE), h_failure(cookie)->hash);
    }
}

static void dialled(bool refused) {
  sipwire_addr addr;
  h_full_listener full = h_full_listener_open(&addr);
  sipwire_target target = h_to_addr(&addr);
  uint32_t first = tag + 1;
  three(&target);
  WAIT_NUM(3 * EACH * SIZE, STAT(queued_bytes));
  if (refused) {
    close(full.fd); /* the next SYN is refused */
    check_reports(first, SIPWIRE_REASON_CONNECT_FAILED);
  } else {
    for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
    h_peer *peer = h_accept(full.fd);
    WAIT((h_ledger_receive(peer), h_ledger_settled()), "all of them arrive");
    close(full.fd);
    h_close(peer);
  }
}

static void established(bool reset) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  h_fill(&target, ++tag, 0, 16000, 5);
  uint32_t first = tag + 1;
  three(&target);
  if (reset) {
    h_reset(peer);
    check_reports(first, SIPWIRE_REASON_PEER_RESET);
  } else {
    peer->paused = false;
    WAIT((h_ledger_receive(peer), h_ledger_settled()), "all of them arrive");
  }
  h_close(peer);
  WAIT_NUM(0, STAT(queued_bytes));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("connect_timeout", "10m");
  h_setting("send_timeout", "10m");
  h_start(2);
  dialled(false);
  established(false);
  h_ledger_check();
  CHECK_NUM(0, h_total(EV_FAILED));
  dialled(true);
  h_ledger_check();
  established(true);
  return h_finish();
}
