/* modes: processes */
/* args: --full */
/* The supervisor is killed at some instant while it accepts, lends and flushes, again and again: each time all that waited
 * for a peer that does not read is reported, in order and to the last, and the next one serves. */
#include "harness.h"
#include <signal.h>

enum { PEERS = 12, EACH = 600, SIZE = 16000, QUEUED = 5 };
static h_peer *peer[PEERS];

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_unseen = UINT64_MAX / 2; /* workers die inside on_open and on_close */
  h_record(false);
  h_setting("conn_wq_max", "10m");
  h_setting("worker_hold", "5ms");
  h_start(2);
  for (uint32_t tag = 1; tag <= (h_full ? 30 : 8); tag++) {
    for (int i = 0; i < PEERS; i++) {
      sipwire_addr listener = h_listener(0);
      peer[i] = h_connect_small(&listener, i ? 0 : 8192);
      peer[i]->paused = i == 0;
      h_write_text(peer[i], h_request("OPTIONS", "busy", NULL, NULL));
    }
    uint32_t id = h_conn_of(peer[0]);
    sipwire_target target = h_to_conn(id);
    h_sender *sender = h_sender_new();
    h_send_numbered(sender, &target, tag, 0, EACH, SIZE);
    /* More than the kernel ever takes (tcp_wmem), and then some instant. */
    WAIT(h_ledger_accepted(tag) > 400 + (uint32_t)random() % (EACH - 400), "the sender sends");
    for (int w = 0; w < 2; w++) h_expect_exit(h_worker_pid(w));
    h_kill(h_supervisor_pid());
    h_sender_wait(sender);
    for (int w = 0; w < 2; w++) WAIT(h_gone(h_worker_pid(w)), "worker %d ends", w);
    pid_t supervisor = h_fork_supervisor();
    for (int w = 0; w < 2; w++) h_fork_worker(w);
    h_sender_end(sender);
    WAIT(STAT(supervisor_pid) == (uint64_t)supervisor && h_workers_running() == 2, "a new supervisor with new workers");
    WAIT(STAT(queued_bytes) == 0, "queued_bytes stays at %llu", (unsigned long long)STAT(queued_bytes));
    WAIT(STAT(blocks_used) <= 4 * STAT(participants), "the reports are told");
    h_frame frame;
    peer[0]->paused = false;
    h_await_end(peer[0], "the peer's side");
    while (h_next(peer[0], &frame))
      if (!frame.code) h_ledger_take(&frame);
    h_account account = h_ledger_account(tag, true);
    CHECK(!account.wrong, "message %u %s", account.wrong_number, account.wrong);
    CHECK(account.failed >= QUEUED, "%u reports", account.failed);
    CHECK_NUM(0, account.returned_not);
    for (int i = 0; i < PEERS; i++) h_close(peer[i]);
    WAIT(STAT(slots_used) == 0, "%llu slots stay in use", (unsigned long long)STAT(slots_used));
  }
  return h_finish();
}
