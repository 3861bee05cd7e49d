/* modes: threads processes */
/* rows: F1 F6 F7 F8 F12 F14 F16 */
/* Bad input closes its own connection, is answered where possible and wanted, is counted by reason; what follows it is
 * never read as a message, and nobody else notices. */
#include "deadline.h"

enum { MAX = 16384, CUT = 1, CUT_LATER = 2 };
/* `ends`: the peer's FIN comes with the data, or when the data was read. */
typedef struct bad { const char *name, *data; size_t length; int code, reason, ends; } bad;
#define TEXT(text) text, sizeof text - 1

#define FIELDS "Via: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKbad\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: bad\r\nCSeq: 1 OPTIONS\r\n"
#define HEAD "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\n" FIELDS
#define RESPONSE "SIP/2.0 200 OK\r\n" FIELDS
/* Never to be delivered: it would be a message that somebody hid behind a bad one. */
#define NEXT "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKnext\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n" \
             "Call-ID: next\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

static const bad cases[] = {
  {"F1 no Content-Length", TEXT(HEAD "\r\n" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F1 no Content-Length, with a body", TEXT(HEAD "Content-Type: text/plain\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F1 a response without Content-Length", TEXT(RESPONSE "\r\n" NEXT), 0, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F1 an ACK without Content-Length", TEXT("ACK sip:x@127.0.0.1 SIP/2.0\r\n" FIELDS "\r\n" NEXT), 0, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F1 nobody to answer", TEXT("OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nCall-ID: bad\r\n\r\n" NEXT), 0, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F10 only a folded Content-Length", TEXT(HEAD "Subject: x\r\n Content-Length: 0\r\n\r\n" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},

  {"F6 half a body and FIN", TEXT(HEAD "l: 10\r\n\r\nhello"), 400, SIPWIRE_REASON_EOF_IN_MESSAGE, CUT},
  {"F6 half a body, and FIN later", TEXT(HEAD "l: 10\r\n\r\nhello"), 400, SIPWIRE_REASON_EOF_IN_MESSAGE, CUT_LATER},
  {"F6 no body and FIN", TEXT(HEAD "l: 10\r\n\r\n"), 400, SIPWIRE_REASON_EOF_IN_MESSAGE, CUT},
  {"F6 half a body of a response and FIN", TEXT(RESPONSE "l: 10\r\n\r\nhello"), 0, SIPWIRE_REASON_EOF_IN_MESSAGE, CUT},
  {"F6 half a header block and FIN", TEXT(HEAD "Subject: hal"), 0, SIPWIRE_REASON_EOF_IN_MESSAGE, CUT},
  {"F6 half a first line and FIN", TEXT("OPTIO"), 0, SIPWIRE_REASON_EOF_IN_MESSAGE, CUT_LATER},

  {"F7 negative", TEXT(HEAD "Content-Length: -999\r\n\r\n" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 with a sign", TEXT(HEAD "Content-Length: +5\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 not a number", TEXT(HEAD "Content-Length: 5x\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 words", TEXT(HEAD "Content-Length: many\r\n\r\n" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 empty", TEXT(HEAD "Content-Length:\r\n\r\n" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 two numbers", TEXT(HEAD "Content-Length: 5 5\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 a second number in a folded line", TEXT(HEAD "l: 5\r\n l: 5\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 above 32 bits", TEXT(HEAD "Content-Length: 4294967301\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 above 64 bits", TEXT(HEAD "Content-Length: 99999999999999999999\r\n\r\n" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F7 a response", TEXT(RESPONSE "Content-Length: -1\r\n\r\n" NEXT), 0, SIPWIRE_REASON_BAD_LENGTH, 0},

  {"F8 two lengths, the first longer", TEXT(HEAD "Content-Length: 13\r\nl: 5\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F8 two lengths, the first shorter", TEXT(HEAD "Content-Length: 0\r\nl: 5\r\n\r\nhello" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F8 two equal ones and another", TEXT(HEAD "l: 5\r\nl: 5\r\nContent-Length: 6\r\n\r\nhello!" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},
  {"F8 two that were joined", TEXT(HEAD "l: 5, 6\r\n\r\nhello!" NEXT), 400, SIPWIRE_REASON_BAD_LENGTH, 0},

  {"F12 far above max_message_size", TEXT(HEAD "Content-Length: 4294967295\r\n\r\n" NEXT), 513, SIPWIRE_REASON_TOO_LARGE, 0},
  {"F12 a response", TEXT(RESPONSE "Content-Length: 20000\r\n\r\n" NEXT), 0, SIPWIRE_REASON_TOO_LARGE, 0},

  {"F14 TLS ClientHello", TEXT("\x16\x03\x01\0\xc8\x01\0\0\xc4\x03\x03\0G\r\n\r\n\xff\xfe" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
  {"F14 HTTP", TEXT("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
  {"F14 an HTTP response", TEXT("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
  {"F14 SMTP", TEXT("EHLO mail.example.org\r\n" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
  {"F14 SSH", TEXT("SSH-2.0-OpenSSH_9.2\r\n" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
  {"F14 zeros", TEXT("\0\0\0\0\0\0\0\0" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
  {"F14 a header field", TEXT("Via: SIP/2.0/TCP h\r\n" NEXT), 0, SIPWIRE_REASON_NOT_SIP, 0},
};

static h_peer *bystander;
static uint32_t bystander_id;
static bool answers; /* what error_answers is */

static void check_bystander(const char *name) {
  static int turn;
  char id[32];
  snprintf(id, sizeof id, "bystander%d", turn++);
  h_write_text(bystander, h_request("OPTIONS", id, NULL, NULL));
  h_await_answer(bystander, 200, id);
  CHECK(h_conn_of(bystander) == bystander_id, "%s: the bystander has another connection", name);
}

/* code 0: closed without an answer. `served`: requests in front of it that are answered with 200. */
static void refused_behind(int served, const bad *c) {
  sipwire_stats before = h_stats();
  uint64_t messages = h_total(EV_MESSAGE);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  h_try_write(peer, c->data, c->length);
  if (c->ends == CUT_LATER) WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE && info.partial_bytes == c->length, "%s: parked", c->name);
  if (c->ends) h_half_close(peer);
  WAIT(h_ended(peer), "%s: closed", c->name);
  CHECK(peer->eof, "%s: reset (errno %d) instead of FIN", c->name, peer->error);
  h_frame frame = {0};
  for (int i = 0; i < served; i++) CHECK(h_next(peer, &frame) && frame.code == 200, "%s: what is in front of it is answered", c->name);
  int code = answers ? c->code : 0;
  bool answered = h_next(peer, &frame);
  CHECK(!answered || frame.code == code, "%s: answered %.*s", c->name, (int)frame.header_length, frame.data);
  CHECK(answered || code == 0, "%s: expected %d, closed without an answer", c->name, code);
  if (answered) CHECK(memmem(frame.data, frame.header_length, "branch=z9hG4bKbad", 17), "%s: the Via is not in the answer: %.*s", c->name,
                  (int)frame.header_length, frame.data);
  CHECK(peer->parsed == peer->length, "%s: more came: %.*s", c->name, (int)(peer->length - peer->parsed), peer->in + peer->parsed);
  h_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "%s: on_close", c->name);
  CHECK(h_total(EV_MESSAGE) == messages + (uint64_t)served, "%s: %s was delivered", c->name, h_nth(EV_MESSAGE, messages)->text);
  CHECK(h_find(EV_CLOSE, id, NULL)->reason == c->reason, "%s: reason %s, expected %s", c->name,
        sipwire_reason_text(h_find(EV_CLOSE, id, NULL)->reason), sipwire_reason_text(c->reason));
  WAIT(STAT(closed_by_reason)[c->reason] == before.closed_by_reason[c->reason] + 1, "%s: not counted by reason", c->name);
  WAIT(STAT(error_answers) == before.error_answers + answered, "%s: error_answers %llu, was %llu", c->name,
       (unsigned long long)STAT(error_answers), (unsigned long long)before.error_answers);
  check_bystander(c->name);
}
static void refused(const char *name, const void *data, size_t length, int code, int reason) {
  refused_behind(0, &(bad){name, data, length, code, reason, 0});
}

/* F12: the header block alone, or with the body that it announces, is one byte larger than max_message_size. */
static void one_byte_too_large(void) {
  static char text[2 * MAX];
  int head = snprintf(text, sizeof text, HEAD "Content-Length: %d\r\n\r\n", MAX);
  head = snprintf(text, sizeof text, HEAD "Content-Length: %d\r\n\r\n", MAX + 1 - head);
  memset(text + head, 'b', sizeof text - (size_t)head);
  refused("F12 one byte above max_message_size", text, (size_t)head, 513, SIPWIRE_REASON_TOO_LARGE);
  refused("F12 one byte above max_message_size, and all of it comes", text, MAX + 1, 513, SIPWIRE_REASON_TOO_LARGE);

  head = snprintf(text, sizeof text, HEAD "l: 0\r\nSubject: ");
  memset(text + head, 'a', sizeof text - (size_t)head);
  refused("F12 headers without end", text, MAX + 5000, 513, SIPWIRE_REASON_TOO_LARGE);
  memcpy(text + MAX + 1 - 4, "\r\n\r\n", 4);
  refused("F12 a header block one byte above max_message_size", text, MAX + 1, 513, SIPWIRE_REASON_TOO_LARGE);
}

/* F14: bytes that nobody chose. */
static void random_bytes(void) {
  uint32_t state = 2463534242;
  for (int round = 0; round < 20; round++) {
    char text[600], name[40];
    for (size_t i = 0; i < sizeof text; i++) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5; /* xorshift32 */
      text[i] = (char)(state >> 11);
    }
    snprintf(name, sizeof name, "F14 random bytes %d", round);
    refused(name, text, sizeof text, 0, SIPWIRE_REASON_NOT_SIP);
  }
  static char no_line[MAX + 5000];
  memset(no_line, 'a', sizeof no_line);
  refused("F14 a first line without end", no_line, sizeof no_line, 0, SIPWIRE_REASON_NOT_SIP);
}

static void behind_a_good_one(void) {
  char text[2048];
  h_text good = h_request("OPTIONS", "good", NULL, "hello");
  int n = snprintf(text, sizeof text, "%.*s" HEAD "Content-Length: -7\r\n\r\n" NEXT, (int)good.length, good.data);
  refused_behind(1, &(bad){"F7 behind a good request", text, (size_t)n, 400, SIPWIRE_REASON_BAD_LENGTH, 0});
  n = snprintf(text, sizeof text, "%.*stail\r\n" NEXT, (int)good.length, good.data);
  refused_behind(1, &(bad){"F16 stray bytes after the body", text, (size_t)n, 0, SIPWIRE_REASON_NOT_SIP, 0});
  n = snprintf(text, sizeof text, "%.*s\r\n\x01" NEXT, (int)good.length, good.data);
  refused_behind(1, &(bad){"F16 a stray line end and a byte", text, (size_t)n, 0, SIPWIRE_REASON_NOT_SIP, 0});
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("max_message_size", "16384");
  h_setting("worker_hold", "100ms"); /* so that it does not take long until what is begun lies with the supervisor */
  h_setting("linger", "10m"); /* for a peer of this test that takes its time */
  h_start(1); /* one worker: the bystander is read by the same one */
  bystander = h_client();
  bystander_id = h_conn_of(bystander);
  check_bystander("before");
  for (int off = 0; off < 2; off++) {
    answers = !off;
    set_live("error_answers", answers ? "yes" : "no");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused_behind(0, &cases[i]);
    one_byte_too_large();
    behind_a_good_one();
  }
  random_bytes();
  CHECK_NUM(0, h_count(EV_CLOSE, bystander_id, NULL));
  return h_finish();
}
