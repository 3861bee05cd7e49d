/* modes: threads processes */
/* The kernel tells a connection's error once, and EPIPE to those who write later. A worker whose read was told is stopped
 * before it can say so; the supervisor's write fails meanwhile. The reason is what the worker knows, also when the
 * connection was to be closed behind its last message: that message was not written. */
#include "tracer.h"

static void told_once(uint32_t stream, bool close_after) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  char call[16], name[16];
  snprintf(call, sizeof call, "first-%u", stream);
  h_write_text(peer, h_request("OPTIONS", call, NULL, NULL));
  h_await_answer(peer, 200, call);
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_HELD, "held");
  snprintf(name, sizeof name, "sipwire-w%d", info.worker);
  sipwire_target to = h_to_conn(id);
  peer->paused = true;
  uint32_t last = h_fill(&to, stream, 0, 16000, 10) - 1;
  uint64_t closes = h_total(EV_CLOSE);

  tracer *supervisor = trace_named("sipwire-super"), *worker = trace_named(name);
  trace_stop(worker);
  trace_begin(worker, TRACE_ENTRY, SYS_recvfrom);
  halt(supervisor);
  to.flags = close_after ? SIPWIRE_SEND_CLOSE_AFTER : 0;
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&to, stream, ++last, 400));
  h_reset(peer);
  trace_end(worker, "to its read");
  CHECK_NUM(-ECONNRESET, trace_do(worker, TRACE_EXIT, 0, "out of it"));
  go_on(supervisor);
  STAYS(100, h_total(EV_CLOSE) == closes && h_info(id, &info) && !(info.flags & SIPWIRE_CONN_CLOSING), "it ends before its reader has said why");
  trace_leave(worker, 0);

  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_PEER_RESET, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(ECONNRESET, h_find(EV_CLOSE, id, NULL)->error);
  uint64_t cookie = (uint64_t)stream << 32 | last;
  WAIT(h_failure(cookie), "the report");
  CHECK_NUM(SIPWIRE_REASON_PEER_RESET, h_failure(cookie)->reason);
  CHECK_NUM(ECONNRESET, h_failure(cookie)->error);
  trace_free(supervisor);
  trace_free(worker);
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_setting("worker_stall", "60s");
  h_setting("send_timeout", "10m");
  h_setting("conn_wq_max", "8m");
  h_start(2);
  told_once(1, false);
  told_once(2, true);
  return h_finish();
}
