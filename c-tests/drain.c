/* modes: threads processes */
/* sipwire_drain: no new connections, each connection closes when its output is written, nothing accepted is lost. */
#include "harness.h"

enum { PEERS = 6, SIZE = 16000 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("send_timeout", "60s");
  h_setting("linger", "10s");
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
  h_write(peer[1], partial.data, partial.length / 2); /* more input under way */

  CHECK_RC(SIPWIRE_OK, sipwire_drain(h_instance, 60000));
  h_await_end(peer[0], "a connection with nothing queued closes");
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
  close(fd);
  return h_finish();
}
