/* modes: threads processes */
/* A peer that never reads cannot hold a drain up: at its deadline the connection is cut and what it had is reported; so is one
 * whose request nobody answered. How many were cut is counted and logged; one with nothing to do is not among them. */
#include "deadline.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("send_timeout", "90s");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 1, 0, 16000, 40); /* more than the kernel may still find room for */
  h_peer *asked = h_client(), *idle = h_client();
  uint32_t asked_id = h_conn_of(asked), idle_id = h_conn_of(idle);
  h_write_text(asked, h_request("INVITE", "asked", "X-Silent: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, asked_id, NULL), "a request without an answer");
  CHECK_NUM(0, STAT(draining));
  uint64_t before = h_now_ms();
  CHECK_RC(SIPWIRE_OK, sipwire_drain(h_instance, 1000));
  uint64_t after = h_now_ms();
  WAIT(h_find(EV_CLOSE, id, NULL), "closed at the deadline");
  CHECK_ACTED("the deadline of the drain", before, after, 1000, h_find(EV_CLOSE, id, NULL)->time_ms);
  CHECK_NUM(SIPWIRE_REASON_SHUTDOWN, h_find(EV_CLOSE, id, NULL)->reason);
  h_tail_failed(1, count, 16000, SIPWIRE_REASON_SHUTDOWN);
  CHECK(h_ledger_failed(1) >= 4, "%u reports", h_ledger_failed(1));
  WAIT(STAT(queued_bytes) == 0, "queued bytes back to 0");
  WAIT(h_find(EV_CLOSE, asked_id, NULL) && h_find(EV_CLOSE, idle_id, NULL), "all are closed");
  CHECK_ACTED("the deadline of the drain", before, after, 1000, h_find(EV_CLOSE, asked_id, NULL)->time_ms);
  h_await_end(asked, "cut");
  WAIT_NUM(0, STAT(connections));
  CHECK_NUM(1, STAT(draining));
  CHECK_NUM(2, STAT(drain_cut));
  WAIT((sipwire_log_drain(h_instance), h_find(EV_LOG, 0, "drain: no connection is left; 2 were cut")), "a line says how it ended");
  CHECK(h_find(EV_LOG, 0, "drain: 2 connections with unfinished work were cut at the deadline"), "a line says that it was cut");
  return h_finish();
}
