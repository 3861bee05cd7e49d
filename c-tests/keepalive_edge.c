/* modes: threads processes */
/* rows: K9 K12 */
/* The peer has promised to ping (Flow-Timer, RFC 5626 5.4): silence for that time and the grace ends the connection, and
 * nothing else does; whatever arrives counts, what we send does not. */
#include "keepalive.h"

enum { TIMER_MS = 600, GRACE_MS = 500 };

static void flow_timer(uint32_t id, int64_t ms) {
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_flow_timer(h_instance, id, ms));
  CHECK_NUM(ms, info_of(id).flow_timer_ms);
}

/* As a registrar does: while it answers. */
static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  char value[16];
  if (h_header(message->data, message->header_length, "X-Flow-Timer", value, sizeof value))
    CHECK_RC(SIPWIRE_OK, sipwire_conn_set_flow_timer(instance, message->conn_id, atoi(value)));
  return h_default_script(instance, message);
}

/* `what` is sent often enough, 0: nothing at all. */
static void keeps(const char *what, size_t length, bool we_send) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  h_write_text(peer, h_request("REGISTER", "register", "X-Flow-Timer: 600\r\n", NULL));
  uint64_t began = h_now_ms(), before = began, after = began;
  h_await_answer(peer, 200, "register");
  while (length && h_now_ms() < began + 3000) {
    before = h_now_ms();
    h_write(peer, what, length);
    after = h_now_ms();
    for (int i = 0; i < 20; i++) h_tick();
    if (h_now_ms() > before + TIMER_MS) h_skip("this machine is too busy for a peer that keeps its promise");
    CHECK(!h_find(EV_CLOSE, id, NULL), "K9: closed although something came all the time");
  }
  while (!h_find(EV_CLOSE, id, NULL) && h_now_ms() < after + 20000) {
    if (we_send) h_send_here(&target, "SIP/2.0 100 Trying\r\nCall-ID: ours\r\nContent-Length: 0\r\n\r\n", 55, 1);
    for (int i = 0; i < 10; i++) h_tick();
  }
  CHECK_CLOSED("K9", id, SIPWIRE_REASON_FLOW_TIMER, before, after, TIMER_MS + GRACE_MS);
  h_await_end(peer, "the peer's side");
  h_close(peer);
}

/* What could not be written is reported with this reason, too. */
static void reports(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  uint32_t id = h_conn_of(peer);
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  uint32_t count = h_fill(&target, 1, 0, 16000, 4);
  flow_timer(id, TIMER_MS);
  WAIT(h_find(EV_CLOSE, id, NULL), "K9: closed");
  CHECK_NUM(SIPWIRE_REASON_FLOW_TIMER, h_find(EV_CLOSE, id, NULL)->reason);
  h_tail_failed(1, count, 16000, SIPWIRE_REASON_FLOW_TIMER);
  h_close(peer);
}

/* The peer keeps its promise, but its pings lie unread: on a connection in the script, and beside it. */
static void unread(void) {
  h_peer *in_script = h_client(), *beside = h_client(), *silent = h_client();
  ask(beside, "held");
  ask(silent, "held");
  uint32_t ids[] = {h_conn_of(in_script), h_conn_of(beside), h_conn_of(silent)};
  h_write_text(in_script, h_request("OPTIONS", "blocks", "X-Wait: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, ids[0], "Call-ID: blocks"), "the script blocks");
  h_write(beside, "\r\n\r\n", 4);
  for (int i = 0; i < 3; i++) flow_timer(ids[i], TIMER_MS);
  h_write(in_script, "\r\n\r\n", 4);
  WAIT(h_find(EV_CLOSE, ids[2], NULL) || h_conn_flags(ids[2]) & SIPWIRE_CONN_CLOSING || h_ended(silent), "K9: the silent one ends");
  STAYS(1500, !h_ended(in_script) && !h_ended(beside), "K9: closed with a ping that no worker has read");
  *h_word(1) = 1;
  h_await_answer(in_script, 200, "blocks");
  WAIT(crlfs(in_script) == 1 && crlfs(beside) == 1, "the pings are answered");
  for (int i = 0; i < 3; i++) WAIT(h_find(EV_CLOSE, ids[i], NULL), "K9: all end, being silent from now on");
  for (int i = 0; i < 3; i++) CHECK_NUM(SIPWIRE_REASON_FLOW_TIMER, h_find(EV_CLOSE, ids[i], NULL)->reason);
  h_close(in_script);
  h_close(beside);
  h_close(silent);
}

static void off_again(void) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  set_live("worker_hold", "30ms");
  ask(peer, "given back");
  flow_timer(id, FOUR_HOURS);
  set_live("connection_lifetime", "400ms");
  STAYS(1000, !h_find(EV_CLOSE, id, NULL), "K12: the lifetime ran although the peer is to ping");
  flow_timer(id, 0);
  WAIT(h_find(EV_CLOSE, id, NULL), "K9: without a flow timer the lifetime runs");
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, id, NULL)->reason);
  set_live("connection_lifetime", "10m");
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  h_setting("worker_hold", "30ms");
  h_setting("flow_timer_grace", "500ms");
  h_setting("connection_lifetime", "10m");
  h_setting("send_timeout", "10m");
  h_setting("conn_wq_max", "8m");
  h_start(1);
  keeps(NULL, 0, false);
  keeps(NULL, 0, true);
  keeps("\r\n\r\n", 4, false);
  keeps("\r\n", 2, false);
  h_text text = h_request("OPTIONS", "message", "X-Silent: 1\r\n", NULL);
  keeps(text.data, text.length, false);
  set_live("worker_hold", "60s");
  keeps("\r\n\r\n", 4, true);
  unread();
  reports();
  off_again();
  return h_finish();
}
