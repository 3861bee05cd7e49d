/* modes: threads processes */
/* Bad input closes its own connection, is answered where possible, is counted by reason, and nobody else notices. */
#include "harness.h"

enum { MAX = 16384 };
typedef struct bad { const char *name, *length_field; int code, reason; size_t body; } bad;

#define HEAD "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKbad\r\nFrom: <sip:a@b>;tag=1\r\n" \
             "To: <sip:c@d>\r\nCall-ID: bad\r\nCSeq: 1 OPTIONS\r\n"

static const bad lengths[] = {
  {"missing", "", 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"negative", "Content-Length: -1\r\n", 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"not a number", "Content-Length: 5x\r\n", 400, SIPWIRE_REASON_BAD_LENGTH, 5},
  {"words", "Content-Length: many\r\n", 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"empty", "Content-Length:\r\n", 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"conflicting", "Content-Length: 3\r\nl: 4\r\n", 400, SIPWIRE_REASON_BAD_LENGTH, 4},
  {"above max_message_size", "Content-Length: 20000\r\n", 513, SIPWIRE_REASON_TOO_LARGE, 0},
  {"above 32 bits", "Content-Length: 4294967301\r\n", 513, SIPWIRE_REASON_TOO_LARGE, 5},
  {"above 64 bits", "Content-Length: 99999999999999999999999\r\n", 513, SIPWIRE_REASON_TOO_LARGE, 0},
};

static h_peer *bystander;
static uint32_t bystander_id;

static void check_bystander(const char *name) {
  static int turn;
  char id[32];
  snprintf(id, sizeof id, "bystander%d", turn++);
  h_write_text(bystander, h_request("OPTIONS", id, NULL, NULL));
  h_await_answer(bystander, 200, id);
  CHECK(h_conn_of(bystander) == bystander_id, "%s: the bystander has another connection", name);
}

/* code 0: closed without an answer; negative: it may be answered so or not at all. */
static void refused(const char *name, const void *data, size_t length, int code, int reason) {
  sipwire_stats before = h_stats();
  uint64_t messages = h_total(EV_MESSAGE);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  h_try_write(peer, data, length);
  WAIT(h_ended(peer), "%s: closed", name);
  CHECK(peer->eof, "%s: reset (errno %d) instead of an answer and FIN", name, peer->error);
  h_frame frame = {0};
  bool answered = h_next(peer, &frame);
  CHECK(!answered || frame.code == abs(code), "%s: answered %.*s", name, (int)frame.header_length, frame.data);
  CHECK(answered || code <= 0, "%s: expected %d, closed without an answer", name, code);
  if (code > 0) CHECK(memmem(frame.data, frame.header_length, "branch=z9hG4bKbad", 17), "%s: the Via is not in the answer: %.*s", name,
                  (int)frame.header_length, frame.data);
  CHECK_NUM(messages, h_total(EV_MESSAGE));
  h_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "%s: on_close", name);
  CHECK(h_find(EV_CLOSE, id, NULL)->reason == reason, "%s: reason %s, expected %s", name,
        sipwire_reason_text(h_find(EV_CLOSE, id, NULL)->reason), sipwire_reason_text(reason));
  WAIT(STAT(closed_by_reason)[reason] == before.closed_by_reason[reason] + 1, "%s: not counted by reason", name);
  WAIT(STAT(error_answers) == before.error_answers + answered, "%s: error_answers %llu, was %llu", name,
       (unsigned long long)STAT(error_answers), (unsigned long long)before.error_answers);
  check_bystander(name);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("max_message_size", "16384");
  h_setting("linger", "10m"); /* for a peer of this test that takes its time */
  h_start(1); /* one worker: the bystander is read by the same one */
  bystander = h_client();
  bystander_id = h_conn_of(bystander);
  check_bystander("before");

  char text[2048];
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    int n = snprintf(text, sizeof text, HEAD "%s\r\n%.*s", lengths[i].length_field, (int)lengths[i].body, "12345");
    refused(lengths[i].name, text, (size_t)n, lengths[i].code, lengths[i].reason);
  }

  /* a good request in front of bad input is served */
  h_peer *peer = h_client();
  h_text good = h_request("OPTIONS", "good", NULL, NULL);
  int n = snprintf(text, sizeof text, "%.*s" HEAD "Content-Length: -7\r\n\r\n", (int)good.length, good.data);
  h_write(peer, text, (size_t)n);
  h_await_answer(peer, 200, "good");
  h_await_answer(peer, 400, "bad");
  h_await_end(peer, "closed");
  h_close(peer);

  static const unsigned char hello[] = {0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 0, 'G', '\r', '\n', '\r', '\n', 0xFF, 0xFE};
  refused("TLS ClientHello", hello, sizeof hello, 0, SIPWIRE_REASON_NOT_SIP);
  /* May be answered 400 or closed at once: there is no Via to answer to. */
  const char *http = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  refused("HTTP", http, strlen(http), -400, SIPWIRE_REASON_NOT_SIP);
  char zeros[600] = {0};
  refused("zeros", zeros, sizeof zeros, 0, SIPWIRE_REASON_NOT_SIP);

  /* headers that never end */
  static char flood[MAX + 5000];
  int head = snprintf(flood, sizeof flood, HEAD "Subject: ");
  memset(flood + head, 'a', sizeof flood - (size_t)head);
  refused("headers without end", flood, sizeof flood, 513, SIPWIRE_REASON_TOO_LARGE);
  static char no_line[MAX + 5000];
  memset(no_line, 'a', sizeof no_line);
  refused("a first line without end", no_line, sizeof no_line, -400, SIPWIRE_REASON_NOT_SIP);

  CHECK_NUM(0, h_count(EV_CLOSE, bystander_id, NULL));
  return h_finish();
}
