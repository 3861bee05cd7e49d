/* modes: threads processes */
/* A worker that gives a connection back has armed it in the supervisor's poll, and stands still before it lets go.
 * Meanwhile output is queued, for which the supervisor arms the connection anew, and is written: when the worker goes on
 * nothing of that is left to see. What the peer sends afterwards is read all the same. */
#include "tracer.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "0s");
  h_setting("worker_stall", "60s");
  h_setting("send_timeout", "10m");
  h_setting("conn_wq_max", "8m");
  h_start(1);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  /* It was lent for its on_open, and the worker has armed it behind that. */
  WAIT(h_find(EV_OPEN, id, NULL) && h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "its first turn does not end");
  tracer *worker = trace_named("sipwire-w0");
  trace_stop(worker);
  trace_begin(worker, TRACE_ENTRY, SYS_epoll_ctl);
  h_write_text(peer, h_request("OPTIONS", "first", NULL, NULL));
  h_await_answer(peer, 200, "first");
  trace_end(worker, "to its arming");
  CHECK_NUM(0, trace_do(worker, TRACE_EXIT, 0, "behind it"));
  CHECK(h_info(id, &info) && info.owner == SIPWIRE_OWNER_READING, "it has let go already");

  sipwire_target to = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&to, 1, 0, 16000, 10);
  peer->paused = false;
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == count), "%u of %u messages arrived", h_ledger_received(1), count);
  WAIT(h_info(id, &info) && info.queued_bytes == 0 && !(info.flags & SIPWIRE_CONN_ASYNC), "async mode ends");
  trace_leave(worker, 0);
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "it lets go");
  trace_free(worker);

  h_write_text(peer, h_request("OPTIONS", "second", NULL, NULL));
  h_await_answer(peer, 200, "second");
  h_close(peer);
  return h_finish();
}
