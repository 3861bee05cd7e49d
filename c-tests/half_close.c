/* modes: threads processes */
/* rows: F17 */
/* A client that sends FIN after its request still gets its answers, which another participant sends over the next
 * time; then the connection closes. Bounded by half_close_timeout; with nothing to answer it closes at once. */
#include "deadline.h"

static void send_answer(h_sender *sender, uint32_t id, int code, const char *call_id, bool invite) {
  char text[512];
  int n = snprintf(text, sizeof text,
                   "SIP/2.0 %d Test\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK%s\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\n"
                   "To: <sip:test@127.0.0.1>;tag=2\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nContent-Length: 0\r\n\r\n",
                   code, call_id, call_id, invite ? "INVITE" : "OPTIONS");
  sipwire_target target = h_to_conn(id);
  h_send_text(sender, &target, text, (size_t)n, (uint64_t)code);
  h_sender_wait(sender);
  CHECK(sender->job.result > 0, "answer %d: %d (%s)", code, sender->job.result, sipwire_strerror(sender->job.result));
}

/* F17 */
static void answered_later(h_sender *sender) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("INVITE", "half", "X-Silent: 1\r\n", "v=0"));
  h_half_close(peer);
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: half"), "the INVITE is delivered");
  uint32_t id = h_find(EV_MESSAGE, 0, "Call-ID: half")->conn_id;
  WAIT(h_conn_flags(id) & SIPWIRE_CONN_HALF_CLOSED, "HALF_CLOSED is visible");
  sipwire_conn_info info;
  static const int codes[] = {100, 180, 200};
  for (int i = 0; i < 3; i++) {
    STAYS(300, !h_ended(peer), "F17: closed with the final answer still to come");
    CHECK(h_info(id, &info), "the connection is gone");
    CHECK_NUM(1, info.pending_answers);
    send_answer(sender, id, codes[i], "half", true);
    h_await_answer(peer, codes[i], "half");
  }
  h_await_end(peer, "after the final answer");
  CHECK(peer->eof, "F17: reset (errno %d) instead of FIN", peer->error);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_PEER_CLOSED, h_find(EV_CLOSE, id, NULL)->reason);
  h_close(peer);
}

/* The FIN comes together with two requests, one answered at once, one later. */
static void two_requests(h_sender *sender) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "now", NULL, NULL));
  h_write_text(peer, h_request("OPTIONS", "later", "X-Silent: 1\r\n", NULL));
  h_half_close(peer);
  h_await_answer(peer, 200, "now");
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: later"), "the second request is delivered");
  uint32_t id = h_find(EV_MESSAGE, 0, "Call-ID: later")->conn_id;
  STAYS(200, !h_ended(peer), "closed with one answer still to come");
  send_answer(sender, id, 200, "later", false);
  h_await_answer(peer, 200, "later");
  h_await_end(peer, "after the last answer");
  h_close(peer);
}

static void never_answered(void) {
  set_live("half_close_timeout", "2s");
  h_peer *peer = h_client();
  h_write_text(peer, h_request("INVITE", "never", "X-Silent: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: never"), "delivered");
  uint32_t id = h_find(EV_MESSAGE, 0, "Call-ID: never")->conn_id;
  uint64_t before = h_now_ms();
  h_half_close(peer);
  WAIT(h_conn_flags(id) & SIPWIRE_CONN_HALF_CLOSED || h_find(EV_CLOSE, id, NULL), "the FIN is known");
  uint64_t after = h_now_ms();
  WAIT_FOR(60, h_find(EV_CLOSE, id, NULL), "closed at half_close_timeout");
  CHECK_NUM(SIPWIRE_REASON_HALF_CLOSE_TIMEOUT, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("half_close_timeout", before, after, 2000, h_find(EV_CLOSE, id, NULL)->time_ms);
  h_await_end(peer, "our FIN");
  CHECK(peer->eof, "reset (errno %d) instead of FIN", peer->error);
  h_close(peer);
}

static void nothing_to_answer(void) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "done", NULL, NULL));
  h_await_answer(peer, 200, "done");
  uint32_t id = h_conn_of(peer);
  h_write_text(peer, h_request("ACK", "ack", NULL, NULL)); /* an ACK is never answered and must not keep it open */
  h_half_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "closes at once");
  CHECK_NUM(SIPWIRE_REASON_PEER_CLOSED, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(2, h_count(EV_MESSAGE, id, NULL));
  h_await_end(peer, "FIN back");
  h_close(peer);
}

/* The host ends the wait. */
static void host_closes(void) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("INVITE", "host", "X-Silent: 1\r\n", NULL));
  h_half_close(peer);
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: host"), "delivered");
  uint32_t id = h_find(EV_MESSAGE, 0, "Call-ID: host")->conn_id;
  WAIT(h_conn_flags(id) & SIPWIRE_CONN_HALF_CLOSED, "HALF_CLOSED is visible");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id));
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(1, h_count(EV_CLOSE, id, NULL));
  h_close(peer);
}

/* Output that is queued when the FIN comes is delivered. */
static void queued_output(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer), n = 0;
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  n = h_fill(&target, 1, 0, 16000, 10);
  h_half_close(peer);
  WAIT(h_conn_flags(id) & SIPWIRE_CONN_HALF_CLOSED, "HALF_CLOSED is visible");
  STAYS(200, h_conn_flags(id) & SIPWIRE_CONN_ASYNC, "closed with output queued");
  peer->paused = false;
  WAIT_FOR(60, (h_ledger_receive(peer), h_ledger_settled()), "queued output after the peer's FIN");
  CHECK_NUM(n, h_ledger_received(1));
  h_await_end(peer, "after the output");
  CHECK(peer->eof, "reset (errno %d) instead of FIN", peer->error);
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("half_close_timeout", "10m"); /* no answer of this test may come too late */
  h_setting("worker_hold", "200ms"); /* shorter than the wait for the answers: the supervisor owns it meanwhile */
  h_setting("conn_wq_max", "1m");
  h_start(2);
  h_sender *sender = h_sender_new();
  answered_later(sender);
  two_requests(sender);
  nothing_to_answer();
  host_closes();
  queued_output();
  never_answered();
  return h_finish();
}
