/* modes: threads processes */
/* rows: K1 K8 K9 */
/* Others are late, the peer is not: the supervisor stands still for longer than pong wait and flow timer, a worker is
 * stalled for longer, a sender stands still with the gate. No healthy flow fails, and pings and pongs go out afterwards. */
#include "keepalive.h"
#include "tracer.h"

enum { SIZE = 1000 };

/* Pongs lie with the supervisor or are read by workers meanwhile. */
static void supervisor_stands_still(void) {
  enum { HELD, IDLE, SILENT, EDGE, EDGE_SILENT, PEERS };
  h_peer *peer[PEERS];
  uint32_t id[PEERS];
  for (int i = PEERS - 1; i >= 0; i--) {
    if (i == HELD) set_live("worker_hold", "60s");
    ask(peer[i] = h_client(), "first");
    id[i] = h_conn_of(peer[i]);
    if (i != HELD) WAIT(info_of(id[i]).owner == SIPWIRE_OWNER_IDLE, "given back");
  }
  for (int i = 0; i < EDGE; i++) keepalive(id[i], 10);
  for (int i = EDGE; i < PEERS; i++) CHECK_RC(SIPWIRE_OK, sipwire_conn_set_flow_timer(h_instance, id[i], FOUR_HOURS));
  for (int i = 0; i < EDGE; i++) WAIT(pings(peer[i]) == 1, "K8: a ping to peer %d", i);
  tracer *supervisor = trace_named("sipwire-super");
  halt(supervisor);
  set_live("pong_timeout", "1s");
  set_live("flow_timer_grace", "500ms");
  for (int i = EDGE; i < PEERS; i++) CHECK_RC(SIPWIRE_OK, sipwire_conn_set_flow_timer(h_instance, id[i], 500));
  for (int i = 0; i < EDGE; i++) keepalive(id[i], FOUR_HOURS);
  pong(peer[HELD]);
  pong(peer[IDLE]);
  h_write(peer[EDGE], "\r\n\r\n", 4);
  for (uint64_t until = h_now_ms() + 2500; h_now_ms() < until;) h_tick();
  CHECK_NUM(0, h_total(EV_CLOSE));
  go_on(supervisor);
  WAIT(h_find(EV_CLOSE, id[SILENT], NULL) && h_find(EV_CLOSE, id[EDGE_SILENT], NULL), "K8 K9: the silent ones are closed");
  CHECK_NUM(SIPWIRE_REASON_FLOW_FAILED, h_find(EV_CLOSE, id[SILENT], NULL)->reason);
  CHECK_NUM(SIPWIRE_REASON_FLOW_TIMER, h_find(EV_CLOSE, id[EDGE_SILENT], NULL)->reason);
  WAIT_NUM(2, STAT(pongs_heard));
  WAIT(crlfs(peer[EDGE]) == 1, "K9: its ping is answered");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_flow_timer(h_instance, id[EDGE], 0));
  CHECK(!h_find(EV_CLOSE, id[HELD], NULL) && !h_find(EV_CLOSE, id[IDLE], NULL), "K8: failed by a late supervisor");
  ask(peer[HELD], "still");
  ask(peer[IDLE], "still");
  set_live("pong_timeout", "10m");
  trace_free(supervisor);
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
}

/* The ping is due while the supervisor stands still: it goes out then, and the wait begins then. */
static void ping_is_late(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  ask(peer, "first");
  tracer *supervisor = trace_named("sipwire-super");
  set_live("pong_timeout", "1500ms");
  halt(supervisor);
  keepalive(id, 10);
  for (uint64_t until = h_now_ms() + 2500; h_now_ms() < until;) h_tick();
  CHECK_NUM(0, crlfs(peer));
  uint64_t before = h_now_ms();
  go_on(supervisor);
  WAIT(pings(peer) == 1, "K8: the ping");
  CHECK_CLOSED("K8", id, SIPWIRE_REASON_FLOW_FAILED, before, h_now_ms(), 1500);
  set_live("pong_timeout", "10m");
  trace_free(supervisor);
  h_close(peer);
}

/* Both workers are in scripts for longer than the pong wait: pongs of connections that they read, hold, or that wait for
 * one of them lie unread. A peer that sent none is not judged by that. */
static void workers_stall(void) {
  enum { IN_SCRIPT, IN_SCRIPT_TOO, HELD, IDLE, SILENT, PEERS };
  h_peer *peer[PEERS];
  uint32_t id[PEERS];
  uint64_t heard = STAT(pongs_heard), messages = h_total(EV_MESSAGE);
  set_live("worker_hold", "30ms");
  for (int i = PEERS - 1; i >= 0; i--) {
    if (i == HELD) set_live("worker_hold", "60s");
    ask(peer[i] = h_client(), "first");
    id[i] = h_conn_of(peer[i]);
    if (i > HELD) WAIT(info_of(id[i]).owner == SIPWIRE_OWNER_IDLE, "given back");
    keepalive(id[i], FOUR_HOURS);
  }
  for (int i = 0; i < HELD; i++) h_write_text(peer[i], h_request("OPTIONS", "blocks", "X-Wait: 1\r\n", NULL));
  WAIT(h_total(EV_MESSAGE) == messages + PEERS + 2 || STAT(callbacks_running) == 1, "a script blocks");
  /* The second one goes to the worker that has none. */
  WAIT_NUM(2, STAT(callbacks_running));
  WAIT(h_worker(0).stalled && h_worker(1).stalled, "both are stalled");
  for (int i = 0; i < PEERS; i++) keepalive(id[i], 10);
  for (int i = 0; i < PEERS; i++) WAIT(pings(peer[i]) == 1, "K8: a ping to peer %d", i);
  for (int i = 0; i < PEERS; i++) keepalive(id[i], FOUR_HOURS);
  for (int i = 0; i < SILENT; i++) pong(peer[i]);
  set_live("pong_timeout", "500ms");
  for (int i = 0; i < PEERS; i++) keepalive(id[i], FOUR_HOURS); /* looks at the time */
  WAIT(h_ended(peer[SILENT]), "K8: no pong at all");
  for (int i = 0; i < SILENT; i++)
    STAYS(300, !h_ended(peer[i]), "K8: peer %d failed, its pong unread", i);
  STAYS(1000, STAT(flows_failed) == 2 + 1, "%llu flows failed", (unsigned long long)STAT(flows_failed));
  *h_word(1) = 1;
  for (int i = 0; i < HELD; i++) h_await_answer(peer[i], 200, "blocks");
  WAIT_NUM(heard + SILENT, STAT(pongs_heard));
  for (int i = 0; i < SILENT; i++) {
    CHECK(!h_find(EV_CLOSE, id[i], NULL), "K8: peer %d failed", i);
    ask(peer[i], "still");
  }
  set_live("pong_timeout", "10m");
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
}

/* A worker is in a script, not long enough to count as stalled, and holds another connection, whose pong it will read. */
static void beside_a_script(void) {
  enum { PEERS = 3 }; /* two of them are held by one worker */
  h_peer *peer[PEERS];
  uint32_t id[PEERS];
  uint64_t heard = STAT(pongs_heard);
  set_live("worker_stall", "60s");
  set_live("worker_hold", "60s");
  int a = 0, b = 1;
  for (int i = 0; i < PEERS; i++) {
    ask(peer[i] = h_client(), "first");
    id[i] = h_conn_of(peer[i]);
  }
  if (info_of(id[0]).worker != info_of(id[1]).worker) b = 2;
  if (info_of(id[a]).worker != info_of(id[b]).worker) a = 1;
  CHECK_NUM(info_of(id[a]).worker, info_of(id[b]).worker);
  *h_word(2) = 0;
  h_write_text(peer[a], h_request("OPTIONS", "blocks", "X-Wait: 2\r\n", NULL));
  WAIT_NUM(1, STAT(callbacks_running));
  keepalive(id[b], 10);
  WAIT(pings(peer[b]) == 1, "K8: a ping");
  set_live("pong_timeout", "500ms");
  pong(peer[b]);
  keepalive(id[b], FOUR_HOURS);
  STAYS(1500, !h_ended(peer[b]), "K8: failed, its pong unread");
  CHECK_NUM(SIPWIRE_OWNER_HELD, info_of(id[b]).owner);
  *h_word(2) = 1;
  WAIT_NUM(heard + 1, STAT(pongs_heard));
  ask(peer[b], "still");
  set_live("pong_timeout", "10m");
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
}

static void say_task(h_sender *self) {
  (void)self;
  *h_word(0) = (uint64_t)syscall(SYS_gettid);
}

/* A sender stands still in its write, with the gate in its hand and nothing queued: ping and pong wait for it, and go out
 * when it goes on. */
static void gate_is_held(bool for_good) {
  h_sender *sender = h_sender_new();
  h_sender_run(sender, say_task);
  h_sender_wait(sender);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer), n = 0, tag = for_good ? 2 : 1;
  sipwire_target target = h_to_conn(id);
  while (sender->job.sent == 0) { /* a process writes itself when it was passed the descriptor */
    CHECK(n < 1000, "the sender never writes itself");
    h_send_numbered(sender, &target, tag, n++, 1, SIZE);
    h_sender_wait(sender);
    WAIT((h_ledger_receive(peer), h_ledger_received(tag) == n), "its message");
  }
  tracer *t = trace_new((pid_t)*h_word(0));
  trace_stop(t);
  trace_begin(t, TRACE_ENTRY, TRACE_SEND);
  h_send_numbered(sender, &target, tag, n++, 1, SIZE);
  trace_end(t, "to its write");
  uint64_t bytes = info_of(id).bytes_in;
  h_write(peer, "\r\n\r\n", 4);
  WAIT(info_of(id).bytes_in == bytes + 4, "the peer's ping is read");
  set_live("pong_timeout", "100ms");
  keepalive(id, 10);
  STAYS(500, peer->length == peer->parsed && !h_find(EV_CLOSE, id, NULL), "K8: written or failed beside the gate's holder");
  set_live("pong_timeout", "10m");
  if (for_good) { /* what is owed has a limit, too */
    set_live("send_timeout", "500ms");
    WAIT(h_conn_flags(id) & SIPWIRE_CONN_CLOSING, "it ends at send_timeout");
    set_live("send_timeout", "10m");
    trace_leave(t, 0);
    h_sender_wait(sender);
    WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
    CHECK_NUM(SIPWIRE_REASON_SEND_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
    trace_free(t);
    h_close(peer);
    return;
  }
  trace_leave(t, 0);
  h_sender_wait(sender);
  WAIT((h_ledger_receive(peer), h_ledger_received(tag) == n), "the message");
  WAIT(crlfs(peer) == 3, "K1 K8: ping and pong: %zu CRLFs", crlfs(peer));
  trace_free(t);
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "30ms");
  h_setting("pong_timeout", "10m");
  h_setting("connection_lifetime", "10m");
  h_setting("send_timeout", "10m");
  h_start(2);
  supervisor_stands_still();
  ping_is_late();
  workers_stall();
  beside_a_script();
  gate_is_held(false);
  gate_is_held(true);
  return h_finish();
}
