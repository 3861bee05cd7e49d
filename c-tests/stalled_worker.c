/* modes: threads processes */
/* A script that blocks its worker delays only its own message: connections the worker holds, and ones lent to it but
 * not read, are served by the other worker meanwhile. */
#include "harness.h"

enum { PEERS = 12 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_setting("worker_stall", "500ms"); /* on a busy machine no worker passes for stalled before it is */
  h_start(2);
  h_peer *peer[PEERS], *blocked = h_client();
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  for (int i = 0; i < PEERS; i++) {
    h_write_text(peer[i], h_request("OPTIONS", "established", NULL, NULL));
    h_await_answer(peer[i], 200, "established");
  }
  CHECK(h_worker(0).held > 0 && h_worker(1).held > 0, "worker 0 holds %llu, worker 1 %llu", (unsigned long long)h_worker(0).held,
        (unsigned long long)h_worker(1).held);
  /* behind the message in the script lies another one of the same connection: it waits, in order */
  h_write_text(blocked, h_request("OPTIONS", "blocked", "X-Wait: 1\r\n", NULL));
  h_write_text(blocked, h_request("OPTIONS", "behind", NULL, NULL));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: blocked"), "the script blocks");
  int worker = h_find(EV_MESSAGE, 0, "Call-ID: blocked")->worker;
  WAIT(h_worker(worker).stalled, "the stall is visible");
  CHECK(h_worker(worker).busy_ms > 0, "busy_ms is 0 in a blocked callback");

  /* No times here: the script stays blocked until all of these were answered. */
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < PEERS; i++) h_write_text(peer[i], h_request("OPTIONS", "meanwhile", NULL, NULL));
    for (int i = 0; i < PEERS; i++) {
      h_await_answer(peer[i], 200, "meanwhile");
      CHECK(!h_ended(peer[i]), "peer %d was closed", i);
    }
  }
  for (int i = 0; i < 20; i++) { /* new connections as well */
    h_peer *fresh = h_client();
    h_write_text(fresh, h_request("OPTIONS", "fresh", NULL, NULL));
    h_await_answer(fresh, 200, "fresh");
    h_close(fresh);
  }
  CHECK(!h_find(EV_MESSAGE, 0, "Call-ID: behind"), "a connection's second message overtook its first");
  CHECK(STAT(relends) > 0, "nothing was taken back from the stalled worker");
  WAIT_NUM(1, STAT(callbacks_running));
  sipwire_target target = h_to_conn(h_find(EV_MESSAGE, 0, "Call-ID: blocked")->conn_id);
  CHECK(h_send_here(&target, "SIP/2.0 100 Trying\r\nCall-ID: blocked\r\nContent-Length: 0\r\n\r\n", 59, 1) > 0, "a send to the blocked connection");
  h_await_answer(blocked, 100, "blocked"); /* writing needs no reader */

  *h_word(1) = 1;
  h_await_answer(blocked, 200, "blocked");
  h_await_answer(blocked, 200, "behind");
  WAIT(!h_worker(worker).stalled, "recovered");
  for (int i = 0; i < PEERS; i++) h_write_text(peer[i], h_request("OPTIONS", "later", NULL, NULL));
  for (int i = 0; i < PEERS; i++) h_await_answer(peer[i], 200, "later");
  CHECK_NUM(PEERS * 5 + 20 + 2, h_total(EV_MESSAGE)); /* each delivered once, also those that changed hands */
  return h_finish();
}
