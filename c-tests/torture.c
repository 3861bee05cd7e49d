/* modes: threads processes */
/* timeout: 200 */
/* args: --full */
/* rows: F2 F3 F6 F7 F8 F9 F11 F16 C18 */
/* The torture messages of RFC 4475, as its archive has them, through the stream path: whole, with every byte in a read of
 * its own, and cut in two at every place. What makes one message is delivered as it is, however odd; what makes none is
 * answered and ends its connection. Whether headers make sense is the host's to say.
 *
 * Two have no empty line or length of their own that a stream could do with: baddn.dat has the empty line that its
 * archived form lacks, and inv2543.dat, where a datagram's end is the body's, comes once more with a Content-Length. */
#include "stream.h"

enum { MAX_SIZE = 4096 };
typedef struct torture {
  const char *name;
  int messages;      /* that are delivered */
  uint32_t body[2];  /* of each, in bytes */
  int reason, code;  /* what the rest ends the connection with, and the answer to it; 0: it is open */
  bool fin;          /* the peer ends with it */
  const char *row;
  /* filled in by load */
  char data[MAX_SIZE];
  size_t length;
  uint64_t hash[2];
  size_t end[2];
} torture;

static torture cases[] = {
  /* 3.1.1 valid */
  {.name = "wsinv", .messages = 1, .body = {150}, .row = "F5"},
  {.name = "intmeth", .messages = 1},
  {.name = "esc01", .messages = 1, .body = {150}},
  {.name = "escnull", .messages = 1},
  {.name = "esc02", .messages = 1},
  {.name = "lwsdisp", .messages = 1},
  {.name = "longreq", .messages = 1, .body = {150}, .row = "F11"},
  /* Two requests; the second one's length is smaller than its body, whose last line's end is no message. */
  {.name = "dblreq", .messages = 2, .body = {0, 150}, .reason = SIPWIRE_REASON_NOT_SIP, .row = "F2, F16"},
  {.name = "semiuri", .messages = 1},
  {.name = "transports", .messages = 1, .row = "C18"},
  {.name = "mpart01", .messages = 1, .body = {553}, .row = "F9"},
  {.name = "unreason", .messages = 1, .body = {154}},
  {.name = "noreason", .messages = 1},
  /* 3.1.2 invalid */
  {.name = "badinv01", .messages = 1, .body = {152}},
  {.name = "clerr", .reason = SIPWIRE_REASON_EOF_IN_MESSAGE, .code = 400, .fin = true, .row = "F6"},
  {.name = "ncl", .reason = SIPWIRE_REASON_BAD_LENGTH, .code = 400, .row = "F7"},
  {.name = "scalar02", .messages = 1},
  {.name = "scalarlg", .messages = 1},
  {.name = "quotbal", .messages = 1, .body = {152}},
  {.name = "ltgtruri", .messages = 1, .body = {159}},
  {.name = "lwsruri", .messages = 1, .body = {159}},
  {.name = "lwsstart", .messages = 1, .body = {150}},
  {.name = "trws", .messages = 1},
  {.name = "escruri", .messages = 1, .body = {150}},
  {.name = "baddate", .messages = 1, .body = {150}},
  {.name = "regbadct", .messages = 1},
  {.name = "badaspec", .messages = 1},
  {.name = "baddn", .messages = 1},
  {.name = "badvers", .messages = 1},
  {.name = "mismatch01", .messages = 1},
  {.name = "mismatch02", .messages = 1, .body = {138}},
  {.name = "bigcode", .messages = 1},
  /* 3.2 transaction layer, 3.3 application layer, 3.4 backward compatibility */
  {.name = "badbranch", .messages = 1},
  {.name = "insuf", .messages = 1, .body = {152}},
  {.name = "unkscm", .messages = 1},
  {.name = "novelsc", .messages = 1},
  {.name = "unksm2", .messages = 1},
  {.name = "bext01", .messages = 1},
  {.name = "invut", .messages = 1, .body = {40}},
  {.name = "regaut01", .messages = 1},
  {.name = "multi01", .messages = 1, .body = {154}}, /* with an empty line behind it */
  {.name = "mcl01", .reason = SIPWIRE_REASON_BAD_LENGTH, .code = 400, .row = "F8"},
  {.name = "bcast", .messages = 1, .body = {154}},
  {.name = "zeromf", .messages = 1},
  {.name = "cparam01", .messages = 1},
  {.name = "cparam02", .messages = 1},
  {.name = "regescrt", .messages = 1},
  {.name = "sdp01", .messages = 1, .body = {150}},
  {.name = "inv2543", .reason = SIPWIRE_REASON_BAD_LENGTH, .code = 400, .row = "F1"},
  {.name = "inv2543 with a length", .messages = 1, .body = {105}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* What the script and the test tell each other: which case, and of its messages how many came as expected, or not. */
enum { CASE, CAME, WRONG };

static void load(const char *folder, torture *c) {
  char path[600];
  snprintf(path, sizeof path, "%s/%.*s.dat", folder, (int)strcspn(c->name, " "), c->name);
  FILE *file = fopen(path, "rb");
  CHECK(file, "%s: %s", path, strerror(errno));
  c->length = fread(c->data, 1, sizeof c->data, file);
  CHECK(c->length && feof(file), "%s: empty, or larger than %d bytes", path, MAX_SIZE);
  fclose(file);
  if (strchr(c->name, ' ')) {
    static const char field[] = "Content-Length: 105\r\n";
    char *empty_line = (char *)memmem(c->data, c->length, "\r\n\r\n", 4) + 2;
    memmove(empty_line + sizeof field - 1, empty_line, (size_t)(c->data + c->length - empty_line));
    memcpy(empty_line, field, sizeof field - 1);
    c->length += sizeof field - 1;
  }
  const char *at = c->data, *end = c->data + c->length;
  for (int i = 0; i < c->messages; i++) {
    while (*at == '\r' || *at == '\n') at++;
    const char *header = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
    CHECK(header && header + 4 + c->body[i] <= end, "%s: message %d does not end in it", c->name, i);
    c->hash[i] = h_hash(at, (size_t)(header + 4 - at) + c->body[i]);
    at = header + 4 + c->body[i];
    c->end[i] = (size_t)(at - c->data);
  }
}

/* Compares, and answers requests so that the connection may end when its peer does. */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  const torture *c = &cases[*h_word(CASE)];
  uint64_t n = *h_word(CAME);
  bool right = n < (uint64_t)c->messages && h_hash(m->data, m->length) == c->hash[n] && m->body_length == c->body[n];
  if (right && strncmp(m->data, "SIP/", 4) != 0) {
    static const char answer[] = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
    sipwire_target target = h_to_conn(m->conn_id);
    sipwire_iov iov = {answer, sizeof answer - 1};
    right = sipwire_send(instance, &target, &iov, 1, 0) > 0;
  }
  *h_word(right ? CAME : WRONG) += 1;
  return 0;
}

static void all_came(const torture *c, const char *how, size_t cut) {
  uint64_t until = h_deadline_ms(20);
  while (*h_word(CAME) < (uint64_t)c->messages && !*h_word(WRONG) && h_now_ms() < until) sched_yield();
  CHECK(*h_word(CAME) == (uint64_t)c->messages && !*h_word(WRONG), "%s (%s) %s, cut at %zu: %llu of %d messages as expected, %llu others", c->name,
        c->row ? c->row : "F3", how, cut, (unsigned long long)*h_word(CAME), c->messages, (unsigned long long)*h_word(WRONG));
}

/* In pieces that are cut off at `cut` and behind that are `piece` long, each read by itself, on a connection of its own. */
static void alone(const torture *c, const char *how, size_t cut, size_t piece) {
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  const char *row = c->row ? c->row : "F3";
  *h_word(CASE) = (uint64_t)(c - cases);
  *h_word(CAME) = *h_word(WRONG) = 0;
  if (cut) s_write_in(peer, id, c->data, cut, cut);
  s_write_in(peer, id, c->data + cut, c->length - cut, piece);
  if (c->fin) h_half_close(peer);
  all_came(c, how, cut);
  h_frame frame;
  if (c->reason) {
    h_await_end(peer, c->name);
    CHECK(peer->eof, "%s (%s) %s, cut at %zu: reset (errno %d), expected FIN", c->name, row, how, cut, peer->error);
    for (int i = 0; i < c->messages; i++) h_await_answer(peer, 200, NULL);
    if (c->code) h_await_answer(peer, c->code, NULL);
  } else if (c->data[0] != 'S') {
    h_await_answer(peer, 200, NULL);
  }
  CHECK(!h_next(peer, &frame) && peer->parsed == peer->length, "%s (%s) %s, cut at %zu: more came back: %.*s", c->name, row, how, cut,
        (int)(peer->length - peer->parsed), peer->in + peer->parsed);
  CHECK_NUM(0, peer->pongs);
  CHECK(c->reason || !h_ended(peer), "%s (%s) %s, cut at %zu: the connection ended", c->name, row, how, cut);
  h_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "%s: on_close", c->name);
  int reason = h_find(EV_CLOSE, id, NULL)->reason, expected = c->reason ? c->reason : SIPWIRE_REASON_PEER_CLOSED;
  CHECK(reason == expected, "%s (%s) %s, cut at %zu: ended with %s, expected %s", c->name, row, how, cut, sipwire_reason_text(reason), sipwire_reason_text(expected));
  all_came(c, how, cut);
}

/* Cut in two at every place, all on one connection: its messages, without what would end it. */
static void cut_anywhere(h_peer *peer, uint32_t id, const torture *c) {
  size_t length = c->reason ? c->end[c->messages - 1] : c->length;
  *h_word(CASE) = (uint64_t)(c - cases);
  for (size_t cut = 1; cut < length; cut++) {
    *h_word(CAME) = *h_word(WRONG) = 0;
    s_write_in(peer, id, c->data, cut, cut);
    s_write_in(peer, id, c->data + cut, length - cut, length);
    all_came(c, "cut in two", cut);
    if (cut % 64 == 0) h_tick(); /* takes the answers */
  }
}

int main(int argc, char **argv) {
  char folder[500];
  snprintf(folder, sizeof folder, "%.*s/../../c-tests/torture", (int)(strrchr(argv[0], '/') ? strrchr(argv[0], '/') - argv[0] : 1),
           strrchr(argv[0], '/') ? argv[0] : ".");
  h_init(argc, argv);
  for (int i = 0; i < CASES; i++) load(folder, &cases[i]);
  h_script = script;
  h_setting("linger", "10m"); /* for a peer of this test that takes its time */
  h_start(2);
  for (int i = 0; i < CASES; i++) {
    alone(&cases[i], "whole", 0, MAX_SIZE);
    alone(&cases[i], "byte by byte", 0, 1);
    if (cases[i].code) /* each cut needs a connection */
      for (size_t cut = 1; cut < cases[i].length; cut += h_full ? 1 : 41) alone(&cases[i], "cut in two", cut, MAX_SIZE);
  }
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  h_record(false);
  for (int i = 0; i < CASES; i++)
    if (cases[i].messages) cut_anywhere(peer, id, &cases[i]);
  return h_finish();
}
