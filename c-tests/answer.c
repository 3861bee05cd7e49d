/* modes: threads processes */
/* The smallest thing that works: one request, one answer, and what on_message is told about it. */
#include "harness.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  sipwire_addr listener = h_listener(0);
  CHECK_NUM(1, sipwire_listener_count(h_instance));
  CHECK(listener.family == 4 && listener.port != 0, "the listener's address is %s", h_addr_text(&listener));

  h_peer *peer = h_client();
  h_text request = h_request("OPTIONS", "first", NULL, "hello");
  h_write_text(peer, request);
  h_await_answer(peer, 200, "first");

  h_event *e = h_nth(EV_MESSAGE, 0);
  CHECK_NUM(request.length, e->length);
  CHECK_NUM(5, e->body_length);
  CHECK_NUM(h_hash(request.data, request.length), e->hash);
  CHECK_NUM(0, e->listener);
  CHECK(e->worker == 0 || e->worker == 1, "worker is %d", e->worker);
  CHECK(e->flags & SIPWIRE_MESSAGE_FIRST, "flags are %u: the first message of its connection is not marked", e->flags);
  CHECK(h_addr_equal(&e->remote, &peer->local), "remote is %s, the peer is %s", h_addr_text(&e->remote), h_addr_text(&peer->local));
  CHECK(h_addr_equal(&e->local, &listener), "local is %s, the listener is %s", h_addr_text(&e->local), h_addr_text(&listener));
  CHECK((e->conn_id & 0xC0000000u) == 0x40000000u, "conn_id %#x is not 0x40000000 | 30 bits", e->conn_id);
  CHECK_NUM(e->conn_id, h_conn_of(peer));
  if (h_mode == H_PROCESSES) CHECK(e->pid == h_worker_pid(e->worker), "on_message ran in process %d, worker %d is %d", e->pid,
                                   e->worker, h_worker_pid(e->worker));
  else CHECK(e->pid == getpid() && e->tid != getpid(), "on_message ran in process %d thread %d", e->pid, e->tid);

  h_write_text(peer, h_request("OPTIONS", "second", NULL, NULL));
  h_await_answer(peer, 200, "second");
  CHECK(!(h_nth(EV_MESSAGE, 1)->flags & SIPWIRE_MESSAGE_FIRST), "the second message is marked as the first");
  CHECK_NUM(0, h_nth(EV_MESSAGE, 1)->body_length);
  WAIT_NUM(2, STAT(messages_in));
  WAIT_NUM(2, STAT(messages_out));
  WAIT_NUM(1, STAT(accepted));
  WAIT_NUM(1, STAT(connections));
  CHECK_NUM(1, h_count(EV_OPEN, e->conn_id, NULL));

  h_close(peer);
  WAIT(h_total(EV_CLOSE) == 1, "on_close after the peer's FIN");
  CHECK_NUM(SIPWIRE_REASON_PEER_CLOSED, h_nth(EV_CLOSE, 0)->reason);
  return h_finish();
}
