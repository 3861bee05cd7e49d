/* modes: threads processes */
/* rows: F2 F3 F4 F5 F8 F9 F10 F11 F13 */
/* What is one message in a byte stream, and what is no part of it: each case arrives whole, and with every byte in a read
 * of its own; the script gets exactly the bytes of each message. */
#include "stream.h"

#define START "MESSAGE sip:x@127.0.0.1 SIP/2.0\r\n"
#define FIELDS "Via: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKframe\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: frame\r\nCSeq: 1 MESSAGE\r\n"
#define REQUEST "OPTIONS sip:y@127.0.0.1 SIP/2.0\r\nContent-Length: 3\r\n\r\nabc"

/* `pongs`: how many pings there are in front of it. */
typedef struct good { const char *row, *name, *before, *header, *body; size_t body_length; size_t pongs; } good;
#define BODY(text) text, sizeof text - 1

static const good cases[] = {
  {"F4", "one CRLF before it", "\r\n", START FIELDS "l: 5\r\n\r\n", BODY("hello"), 0},
  {"F4", "two CRLFs before it, which are a ping", "\r\n\r\n", START FIELDS "l: 5\r\n\r\n", BODY("hello"), 1},
  {"F4", "three CRLFs before it", "\r\n\r\n\r\n", START FIELDS "l: 5\r\n\r\n", BODY("hello"), 1},
  {"F4", "seven CRLFs before it", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n", START FIELDS "l: 5\r\n\r\n", BODY("hello"), 3},
  {"F4", "bare LFs before it", "\n\n\n\n", START FIELDS "l: 5\r\n\r\n", BODY("hello"), 0},
  {"F4", "bare CRs and blanks before it", "\r\r \t", START FIELDS "l: 5\r\n\r\n", BODY("hello"), 0},

  {"F5", "compact, a blank before the colon", "", START FIELDS "l : 5\r\n\r\n", BODY("hello"), 0},
  {"F5", "compact capital, tabs before the colon", "", START FIELDS "L\t\t:5\r\n\r\n", BODY("hello"), 0},
  {"F5", "capitals, folded", "", START FIELDS "CONTENT-LENGTH:\r\n 5\r\n\r\n", BODY("hello"), 0},
  {"F5", "folded twice, with a tab", "", START FIELDS "content-Length \t:\r\n \r\n\t5 \r\n\r\n", BODY("hello"), 0},
  {"F5", "bare line feeds", "", "MESSAGE sip:x@127.0.0.1 SIP/2.0\nVia: SIP/2.0/TCP h;branch=z9hG4bKlf\nCall-ID: frame\nl: 5\n\n", BODY("hello"), 0},
  {"F5", "in front of all other headers, leading zeros", "", START "l: 0005\r\n" FIELDS "\r\n", BODY("hello"), 0},

  {"F8", "two equal lengths", "", START FIELDS "Content-Length: 5\r\nl: 5\r\n\r\n", BODY("hello"), 0},
  {"F8", "two equal lengths that were joined", "", START FIELDS "Content-Length: 5, 5\r\n\r\n", BODY("hello"), 0},
  {"F8", "three equal lengths, written differently", "", START FIELDS "l: 05,\r\n 5\r\nContent-Length:5\r\n\r\n", BODY("hello"), 0},

  {"F9", "a body of empty lines and NULs", "", START FIELDS "l: 12\r\n\r\n", BODY("\r\n\r\n\0\r\n\r\n\0\r\n"), 0},
  {"F9", "a body that is a request", "", START FIELDS "l: 57\r\n\r\n", BODY(REQUEST), 0},
  {"F9", "a body that goes on like a header block", "", START FIELDS "l: 34\r\n\r\n", BODY("l: 99\r\nContent-Length: 99\r\n\r\nhello"), 0},

  {"F10", "a folded line that begins with l:", "", START FIELDS "Subject: x\r\n l: 99\r\nl: 5\r\n\r\n", BODY("hello"), 0},
  {"F10", "a folded line that begins with l:, behind the length", "", START FIELDS "l: 5\r\nSubject: x\r\n\tl: 99\r\n\r\n", BODY("hello"), 0},
  {"F10", "a folded Content-Length", "", START FIELDS "Subject: x\r\n Content-Length: 99\r\nl: 5\r\n\r\n", BODY("hello"), 0},
  {"F10", "a folded Content-Length behind a blank fold", "", START FIELDS "Subject: x\r\n \r\n Content-Length: 99\r\nl: 5\r\n\r\n", BODY("hello"), 0},
  {"F10", "a folded l: behind the first line", "", START " l: 99\r\n" FIELDS "l: 5\r\n\r\n", BODY("hello"), 0},
  {"F10", "one in quotes, one behind a bare CR", "", START FIELDS "Subject: \"Content-Length: 99\" \rl: 99\r\nl: 5\r\n\r\n", BODY("hello"), 0},
  {"F10", "names that only begin or end like it", "", START FIELDS "Content-Lengthy: 99\r\nX-Content-Length: 99\r\nll: 99\r\nl: 5\r\n\r\n", BODY("hello"), 0},
};

/* The n-th message of all is `data`. */
static void delivered(size_t n, const char *row, const char *name, const char *data, size_t length, size_t body_length) {
  h_event *e = NULL;
  WAIT((e = h_nth(EV_MESSAGE, n)) != NULL, "%s %s: in on_message", row, name);
  CHECK(e->length == length && e->hash == h_hash(data, length), "%s %s: %llu bytes, expected %zu: %s", row, name, (unsigned long long)e->length, length, e->text);
  CHECK(e->body_length == body_length, "%s %s: a body of %llu bytes, expected %zu", row, name, (unsigned long long)e->body_length, body_length);
}

/* On one connection: with a wrong length, what follows would not be a message. */
static void accepted(h_peer *peer, uint32_t id, const good *c, bool bytes) {
  char stream[2048];
  size_t before = strlen(c->before), header = strlen(c->header), pongs = peer->pongs, n = h_total(EV_MESSAGE);
  memcpy(stream, c->before, before);
  memcpy(stream + before, c->header, header);
  memcpy(stream + before + header, c->body, c->body_length);
  s_write_in(peer, id, stream, before + header + c->body_length, bytes ? 1 : sizeof stream);
  delivered(n, c->row, c->name, stream + before, header + c->body_length, c->body_length);
  h_await_answer(peer, 200, "frame");
  CHECK(peer->pongs - pongs == c->pongs, "%s %s: %zu pongs, expected %zu", c->row, c->name, peer->pongs - pongs, c->pongs);
}

/* F2: requests back to back, in one write and byte by byte. */
static void pipelined(h_peer *peer, uint32_t id, bool bytes) {
  char all[4096], call_id[3][16];
  size_t end[4] = {0}, n = h_total(EV_MESSAGE);
  for (int i = 0; i < 3; i++) {
    snprintf(call_id[i], sizeof call_id[i], "F2-%d", i);
    h_text text = h_request("MESSAGE", call_id[i], NULL, i == 1 ? NULL : REQUEST);
    memcpy(all + end[i], text.data, text.length);
    end[i + 1] = end[i] + text.length;
  }
  s_write_in(peer, id, all, end[3], bytes ? 1 : sizeof all);
  for (size_t i = 0; i < 3; i++) {
    delivered(n + i, "F2", call_id[i], all + end[i], end[i + 1] - end[i], i == 1 ? 0 : strlen(REQUEST));
    h_await_answer(peer, 200, call_id[i]);
  }
}

/* F3: cut in two at every place. */
static void cut_anywhere(h_peer *peer, uint32_t id) {
  static const char text[] = "\r\n" START FIELDS "Content-Length: 7\r\n\r\n\r\n\r\nabc";
  sipwire_conn_info info;
  for (size_t cut = 1; cut < sizeof text - 1; cut++) {
    size_t n = h_total(EV_MESSAGE);
    CHECK(h_info(id, &info), "F3 cut at %zu: the connection is gone", cut);
    h_write(peer, text, cut);
    s_read(peer, id, info.bytes_in + cut);
    h_write(peer, text + cut, sizeof text - 1 - cut);
    delivered(n, "F3", "cut in two", text + 2, sizeof text - 3, 7);
    h_await_answer(peer, 200, "frame");
  }
}

/* F11, F13: with the default max_message_size. `fields`: how many header fields the size is divided between. */
static void large(h_peer *peer, uint32_t id, const char *row, size_t header, size_t body, int fields, size_t piece) {
  static char text[1 << 17];
  size_t n = h_total(EV_MESSAGE), at = (size_t)snprintf(text, sizeof text, START FIELDS "l: %zu\r\n", body), left = header - at - 2;
  for (int i = 0; i < fields; i++) {
    size_t size = left / (size_t)(fields - i);
    memset(text + at, 'x', size);
    memcpy(text + at, "X: ", 3);
    memcpy(text + at + size - 2, "\r\n", 2);
    at += size, left -= size;
  }
  memcpy(text + at, "\r\n", 2);
  memset(text + header, '\n', body);
  s_write_in(peer, id, text, header + body, piece);
  delivered(n, row, "large", text, header + body, body);
  h_await_answer(peer, 200, "frame");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  for (int bytes = 0; bytes < 2; bytes++) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) accepted(peer, id, &cases[i], bytes);
    pipelined(peer, id, bytes);
  }
  cut_anywhere(peer, id);
  for (int k = 0; k < 2; k++) {
    size_t piece = k ? 997 : 1 << 17;
    large(peer, id, "F11 one field", 60000, 0, 1, piece);
    large(peer, id, "F11 many fields", 60000, 5000, 500, piece);
    large(peer, id, "F13 65,535 bytes", 1000, 65535 - 1000, 1, piece);
    large(peer, id, "F13 65,536 bytes, which is max_message_size", 1000, 65536 - 1000, 1, piece);
  }
  CHECK_NUM(0, h_count(EV_CLOSE, id, NULL));
  return h_finish();
}
