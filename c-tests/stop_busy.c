/* modes: threads processes */
/* sipwire_stop in the middle of traffic, dials and half-read messages: it ends, and everything accepted was received,
 * reported, or taken by the kernel. */
#include "harness.h"

enum { SENDERS = 4 };

/* Sends as long as it is allowed to: it is in the middle of it when the stop comes. */
static void send_until_refused(h_sender *self) {
  h_text text = h_request("MESSAGE", "chat", NULL, NULL);
  int32_t rc;
  do rc = h_send_here(&self->job.target, text.data, text.length, 7);
  while (rc >= 0 || rc == SIPWIRE_E_CONN_QUEUE_FULL);
  self->job.result = rc;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "4m");
  h_start(2);
  h_sender *sender[SENDERS];
  for (int i = 0; i < SENDERS; i++) sender[i] = h_sender_new();
  sipwire_addr addr, listener = h_listener(0);
  h_full_listener full = h_full_listener_open(&addr);
  h_peer *reading = h_client(), *silent = h_connect_small(&listener, 8192), *half = h_client(), *pipelining = h_client(), *chatting = h_client();
  sipwire_target to_reading = h_to_conn(h_conn_of(reading)), to_silent = h_to_conn(h_conn_of(silent)), dial = h_to_addr(&addr);
  silent->paused = true;
  h_write(half, "OPTIONS sip:x SIP/2.0\r\nVia: SIP", 31);
  /* The kernel's buffers for the silent peer are full before the others begin: what is queued then stays queued. */
  h_fill(&to_silent, 4, 0, 16000, 20);
  sipwire_conn_info info;
  CHECK(h_info(to_silent.conn_id, &info), "the silent peer's connection is gone");
  uint64_t stuck = info.queued_bytes;
  h_send_numbered(sender[0], &to_reading, 1, 0, 4000, 1000);
  h_send_numbered(sender[1], &to_silent, 2, 0, 300, 16000);
  h_send_numbered(sender[2], &dial, 3, 0, 100, 1000);
  sender[3]->job.target = h_to_conn(h_conn_of(chatting));
  h_sender_run(sender[3], send_until_refused);
  for (int i = 0; i < 50; i++) h_write_text(pipelining, h_request("OPTIONS", "busy", NULL, NULL));
  h_sender_wait(sender[2]);
  WAIT(h_info(to_silent.conn_id, &info) && info.queued_bytes > stuck + 200000, "the silent peer's queue grows");
  h_stop();
  for (int i = 0; i < SENDERS; i++) {
    /* processes: stopping ends the senders' children only when the test says so; their sends fail from now on */
    if (sender[i]->busy) h_sender_wait(sender[i]);
    h_sender_end(sender[i]);
  }
  CHECK(sender[3]->job.result == SIPWIRE_E_SHUTTING_DOWN || sender[3]->job.result == SIPWIRE_E_NO_CONNECTION ||
          sender[3]->job.result == SIPWIRE_E_SUPERVISOR_GONE, "a send after the stop: %d", sender[3]->job.result);
  WAIT(h_ended(reading), "the reading peer's connection ends");
  h_ledger_receive(reading);
  CHECK_NUM(h_ledger_accepted(1), h_ledger_received(1) + h_ledger_failed(1)); /* it took all that the kernel had */
  CHECK_NUM(100, h_ledger_failed(3)); /* never connected: each was reported */
  CHECK(h_ledger_failed(2) > 0, "queued messages were not reported at the stop");
  CHECK_NUM(h_total(EV_OPEN), h_total(EV_CLOSE));
  close(full.fd);
  return h_finish();
}
