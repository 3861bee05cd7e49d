/* modes: threads processes */
/* A peer that stops reading: the first write that the kernel refuses starts async mode, later messages of four
 * participants, one of them a worker inside on_message, queue without blocking, and when the peer reads again every
 * accepted message arrives whole, once and in each sender's order; then async mode ends and the next send is direct. */
#include "harness.h"

enum { SENDERS = 4, EACH = 150, SIZE = 4000, FILLER_TAG = 9, FILLER_SIZE = 16000 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  h_setting("wq_max", "16m");
  h_setting("send_timeout", "90s");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  h_sender *sender[SENDERS];
  for (int i = 0; i < SENDERS - 1; i++) sender[i] = h_sender_new();
  sender[SENDERS - 1] = h_sender_in_worker(peer); /* the one that reads the same connection */
  h_write_text(peer, h_request("OPTIONS", "hello", NULL, NULL));
  h_await_answer(peer, 200, "hello");
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  sipwire_conn_info info;
  CHECK(h_info(id, &info) && !(info.flags & SIPWIRE_CONN_ASYNC), "async mode before anything was sent");
  CHECK_NUM(0, STAT(async_started));

  peer->paused = true;
  uint32_t fillers = h_fill(&target, FILLER_TAG, 0, FILLER_SIZE, 1);
  sipwire_stats stats = h_stats();
  CHECK(h_info(id, &info), "the connection is gone");
  CHECK(info.flags & SIPWIRE_CONN_ASYNC, "flags are %#x after the kernel refused: ASYNC is missing", info.flags);
  CHECK_NUM(stats.async_ended + 1, stats.async_started); /* it may have ended once while the kernel's data still flowed */
  CHECK(info.queued_bytes > 0 && info.queued_bytes < 2 * FILLER_SIZE, "queued_bytes is %llu after one refused message",
        (unsigned long long)info.queued_bytes);
  WAIT_NUM(info.queued_bytes, STAT(queued_bytes));
  /* The kernel's buffer may still grow: queue so much that async mode cannot end by that. */
  fillers += h_fill(&target, FILLER_TAG, fillers, FILLER_SIZE, 60);
  stats = h_stats();

  /* Nobody reads: if one of these blocked, it would never come back. */
  for (int i = 0; i < SENDERS; i++) h_send_numbered(sender[i], &target, (uint32_t)i + 1, 0, EACH, SIZE);
  for (int i = 0; i < SENDERS; i++) h_sender_wait(sender[i]);
  for (int i = 0; i < SENDERS; i++) CHECK_NUM(EACH, sender[i]->job.queued);
  CHECK_NUM(1, h_count(EV_MESSAGE, id, "X-Run: "));
  CHECK_NUM(stats.sends_direct, STAT(sends_direct));
  CHECK_NUM(stats.sends_queued + SENDERS * EACH, STAT(sends_queued));
  WAIT(h_info(id, &info) && info.queued_bytes == STAT(queued_bytes), "queued_bytes of the connection and of all");
  CHECK(info.queued_bytes > SENDERS * EACH * SIZE - FILLER_SIZE, "queued_bytes is %llu", (unsigned long long)info.queued_bytes);
  CHECK_NUM(stats.async_started, STAT(async_started));

  peer->paused = false;
  WAIT_FOR(60, (h_ledger_receive(peer), h_ledger_settled()), "the peer reads again: %u + %u + %u + %u of 4 * %d arrived",
           h_ledger_received(1), h_ledger_received(2), h_ledger_received(3), h_ledger_received(4), EACH);
  for (uint32_t tag = 1; tag <= SENDERS; tag++) CHECK_NUM(EACH, h_ledger_received(tag));
  CHECK_NUM(fillers, h_ledger_received(FILLER_TAG));
  WAIT(STAT(async_ended) == stats.async_started, "async mode ends");
  WAIT(!(h_conn_flags(id) & SIPWIRE_CONN_ASYNC), "still ASYNC with nothing queued");
  WAIT_NUM(0, STAT(queued_bytes));

  uint64_t direct = STAT(sends_direct);
  CHECK_RC(SIPWIRE_SENT, h_send_numbered_here(&target, FILLER_TAG, fillers, 400));
  CHECK_NUM(direct + 1, STAT(sends_direct));
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "the direct message");

  /* Once more with the peer reading in fits and starts while all four send: begin and end of async mode race with
   * direct writes, and no order may break. */
  for (uint32_t round = 0; round < 6; round++) {
    for (int i = 0; i < SENDERS; i++) h_send_numbered(sender[i], &target, (uint32_t)i + 1, EACH + round * 400, 400, 1500);
    for (int i = 0; i < SENDERS; i++) {
      peer->paused = i % 2 == 0;
      h_sender_wait(sender[i]);
      CHECK_NUM(0, sender[i]->job.refused);
    }
    peer->paused = false;
    WAIT_FOR(60, (h_ledger_receive(peer), h_ledger_settled()), "round %u arrives", round);
  }
  WAIT(STAT(queued_bytes) == 0 && STAT(async_started) == STAT(async_ended), "async mode ends: %llu begun, %llu ended",
       (unsigned long long)STAT(async_started), (unsigned long long)STAT(async_ended));
  CHECK_NUM(0, h_total(EV_FAILED));
  h_close(peer);
  return h_finish();
}
