/* modes: threads processes */
/* Every graceful end delivers all accepted output even while the peer has more input under way: close(2) with unread
 * input would make the kernel send RST and throw the peer's unread data away. The answer to bad input takes its place
 * behind what was queued before it. */
#include "harness.h"

enum { SIZE = 16000 };
typedef enum { CLOSE_AFTER_SEND, HOST_CLOSE, RETURN_NEGATIVE, ERROR_ANSWER } how;
static const char *const names[] = {"close after send", "close by the host", "on_message < 0", "error answer"};
static const int reasons[] = {SIPWIRE_REASON_CLOSE_AFTER_SEND, SIPWIRE_REASON_HOST, SIPWIRE_REASON_HOST, SIPWIRE_REASON_BAD_LENGTH};

static void one(how end) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  uint32_t id = h_conn_of(peer), tag = (uint32_t)end + 1, n = 0;
  sipwire_target target = h_to_conn(id);
  peer->paused = true;
  n = h_fill(&target, tag, 0, SIZE, 20);
  char half[30000]; /* input under way: a message that never becomes whole */
  memset(half, 'x', sizeof half);
  h_text head = h_request("OPTIONS", "half", "Subject: ", NULL);
  memcpy(half, head.data, head.length - 40);

  if (end == CLOSE_AFTER_SEND) {
    target.flags = SIPWIRE_SEND_CLOSE_AFTER;
    CHECK(h_send_numbered_here(&target, tag, n++, SIZE) > 0, "the last message");
    target.flags = 0;
  } else if (end == HOST_CLOSE) {
    CHECK_RC(SIPWIRE_OK, sipwire_conn_close(h_instance, id));
  } else if (end == RETURN_NEGATIVE) {
    h_write_text(peer, h_request("OPTIONS", "negative", "X-Silent: 1\r\nX-Return: -1\r\n", NULL));
  } else {
    h_write_text(peer, h_request("OPTIONS", "bad", "l: 7\r\n", NULL)); /* two lengths that contradict each other */
  }
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_RETIRING, "%s: not read any more", names[end]);
  h_write(peer, half, sizeof half); /* nobody reads it before our FIN */
  if (end == CLOSE_AFTER_SEND || end == HOST_CLOSE) {
    int32_t rc = h_send_numbered_here(&target, tag, n, SIZE);
    CHECK(rc < 0, "%s: a message was accepted behind the last one (%d)", names[end], rc);
  }
  STAYS(100, h_conn_flags(id) != 0, "%s: the connection is gone before its output was read", names[end]);

  /* The answer to bad input is the last thing and not numbered: read up to it by hand. */
  peer->paused = false;
  if (end == ERROR_ANSWER) {
    WAIT_FOR(60, h_ended(peer), "%s: the end", names[end]);
    char *answer = memmem(peer->in, peer->length, "SIP/2.0 400", 11);
    CHECK(answer, "%s: there is none", names[end]);
    size_t length = peer->length;
    peer->length = (size_t)(answer - peer->in);
    h_ledger_receive(peer);
    CHECK(peer->parsed == peer->length, "%s: it is inside a message", names[end]);
    peer->length = length;
    h_await_answer(peer, 400, "bad");
    CHECK(peer->parsed == peer->length, "%s: more behind it", names[end]);
  } else {
    WAIT_FOR(60, (h_ledger_receive(peer), h_ended(peer)), "%s: the end", names[end]);
    h_ledger_receive(peer);
  }
  CHECK(peer->eof && !peer->error, "%s: reset (errno %d), expected FIN", names[end], peer->error);
  CHECK(h_ledger_received(tag) == n, "%s: %u of %u messages arrived", names[end], h_ledger_received(tag), n);
  h_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "%s: on_close", names[end]);
  CHECK(h_find(EV_CLOSE, id, NULL)->reason == reasons[end], "%s: reason %s", names[end],
        sipwire_reason_text(h_find(EV_CLOSE, id, NULL)->reason));
  h_ledger_check();
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("send_timeout", "10m");
  h_setting("linger", "10m"); /* as long as the peer of this test takes */
  h_start(2);
  for (how end = CLOSE_AFTER_SEND; end <= ERROR_ANSWER; end++) one(end);
  CHECK_NUM(0, h_total(EV_FAILED));
  return h_finish();
}
