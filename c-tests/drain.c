/* modes: threads processes */
/* sipwire_drain: no new connections, each connection closes when what was asked on it is answered and its output is
 * written; nothing accepted is lost, not even when input comes that nobody reads any more. */
#include "harness.h"

enum { PEERS = 6, SIZE = 16000 };

/* Reads no more than is needed for the library's own queue to become empty: the kernel still has output for the peer. */
static void read_until_written(h_peer *peer, uint32_t id) {
  sipwire_conn_info info;
  for (uint64_t until = h_deadline_ms(60); h_info(id, &info) && info.queued_bytes > 0;) {
    CHECK(h_now_ms() < until, "%llu bytes stay queued although the peer reads", (unsigned long long)info.queued_bytes);
    CHECK(peer->capacity - peer->length >= 4096, "no room");
    ssize_t n = read(peer->fd, peer->in + peer->length, 4096);
    if (n > 0) peer->length += (size_t)n;
    else h_tick();
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("send_timeout", "10m");
  h_setting("linger", "10m"); /* as long as the peers of this test take */
  h_start(2);
  sipwire_addr listener = h_listener(0);
  h_peer *peer[PEERS];
  uint32_t id[PEERS], count[PEERS] = {0};
  for (int i = 0; i < PEERS; i++) {
    peer[i] = h_connect_small(&listener, 8192);
    id[i] = h_conn_of(peer[i]);
    if (i == 0) continue; /* the first one has nothing queued */
    sipwire_target target = h_to_conn(id[i]);
    peer[i]->paused = true;
    count[i] = h_fill(&target, (uint32_t)i + 1, 0, SIZE, 5);
  }
  h_text partial = h_request("OPTIONS", "partial", NULL, NULL);
  h_write(peer[1], partial.data, partial.length / 2);
  h_peer *asked = h_client(); /* answered while we drain */
  uint32_t asked_id = h_conn_of(asked);
  h_write_text(asked, h_request("INVITE", "asked", "X-Silent: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, asked_id, NULL), "a request without an answer yet");

  CHECK_RC(SIPWIRE_OK, sipwire_drain(h_instance, 600000));
  h_await_end(peer[0], "a connection with nothing queued closes");
  /* Input that is there and unread when the socket is closed makes the kernel reset, and what is under way to the peer
   * is gone: it comes when the library has stopped to read. */
  sipwire_conn_info info;
  for (int i = 1; i < PEERS; i++) {
    WAIT(h_info(id[i], &info) && info.owner == SIPWIRE_OWNER_RETIRING, "connection %d is not read any more", i);
    h_write(peer[i], partial.data, partial.length);
  }
  sipwire_target target = h_to_conn(id[1]);
  int32_t rc = h_send_numbered_here(&target, 40, 0, 400);
  CHECK(rc == SIPWIRE_E_SHUTTING_DOWN || rc == SIPWIRE_E_NO_CONNECTION || rc > 0, "send while draining: %d (%s)", rc, sipwire_strerror(rc));
  if (rc > 0) count[1]++;
  sipwire_addr nobody;
  int fd = h_listener_open(8, &nobody);
  target = h_to_addr(&nobody);
  CHECK_RC(SIPWIRE_E_SHUTTING_DOWN, h_send_numbered_here(&target, 41, 0, 400)); /* no new dials either */
  /* Refused, so that a client goes elsewhere at once instead of waiting for an answer that nobody gives. */
  h_peer *late = NULL;
  WAIT((late = h_connect(&listener)) == NULL || (h_close(late), false), "new connections are still taken while draining");
  CHECK(errno == ECONNREFUSED, "connect while draining: %s", strerror(errno));

  STAYS(100, !h_ended(asked), "closed with an answer still to come");
  CHECK_NUM(0, h_conn_flags(asked_id) & SIPWIRE_CONN_CLOSING);
  sipwire_target to_asked = h_to_conn(asked_id);
  static const char answer[] = "SIP/2.0 200 OK\r\nCall-ID: asked\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
  CHECK(h_send_here(&to_asked, answer, sizeof answer - 1, 1) > 0, "the answer");
  h_await_answer(asked, 200, "asked");
  h_await_end(asked, "after the answer");
  CHECK(asked->eof, "reset (errno %d), expected FIN", asked->error);

  /* All is written, the peers have not read it and send once more: the connections stay until they have. */
  for (int i = 1; i < PEERS; i++) {
    peer[i]->in = realloc(peer[i]->in, peer[i]->capacity = 4 << 20);
    CHECK(peer[i]->in, "no memory");
    read_until_written(peer[i], id[i]);
    h_write(peer[i], partial.data, partial.length);
  }
  h_close(peer[0]);
  h_close(asked);
  WAIT_NUM(PEERS - 1, STAT(connections));
  STAYS(200, STAT(connections) == PEERS - 1, "a connection ended whose peer has not read its output");
  for (int i = 1; i < PEERS; i++) peer[i]->paused = false;
  for (int i = 1; i < PEERS; i++) {
    WAIT_FOR(60, (h_ledger_receive(peer[i]), h_ended(peer[i])), "connection %d closes when its output is written", i);
    h_ledger_receive(peer[i]);
    CHECK(peer[i]->eof && !peer[i]->error, "connection %d: reset (errno %d), expected FIN", i, peer[i]->error);
    h_close(peer[i]);
    WAIT(h_find(EV_CLOSE, id[i], NULL), "on_close");
    CHECK_NUM(SIPWIRE_REASON_SHUTDOWN, h_find(EV_CLOSE, id[i], NULL)->reason);
  }
  WAIT(h_ledger_settled(), "all that was accepted is accounted for");
  for (uint32_t tag = 2; tag <= PEERS; tag++) CHECK_NUM(0, h_ledger_failed(tag));
  CHECK_NUM(0, STAT(drain_cut));
  WAIT((sipwire_log_drain(h_instance), h_find(EV_LOG, 0, "drain: no connection is left; 0 were cut")), "a line says how it ended");
  close(fd);
  return h_finish();
}
