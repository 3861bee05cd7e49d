/* Part of soak.c: the books, in memory that all processes share and no death can take back, and the text that carries
 * a message's number. Who is killed leaves in its hand which one message it was sending or telling of. */

enum { WORKERS = 3, SENDERS = 4, HANDS = WORKERS + SENDERS };
enum { MAX_MESSAGES = 1 << 24, MAX_CONNECTIONS = 1 << 21, MAX_PEERS_LIVE = 15000, LISTENERS = 64, DEAF_LISTENERS = 16 };

/* What is known of a message that the host sends. An outcome is noted when sipwire_send has returned: ABOUT alone was in
 * the hands of one that was killed, and only of such a one both is right, accepted and not. */
enum { CODES_FROM = 2000, MAX_CODES = 1000 }; /* errors are -2000 to -2999 */
enum { ABOUT = 1, SENT = 2, QUEUED = 4, REFUSED = 8, REPORTED = 16, RECEIVED = 32, AGAIN = 64, MAY_COME_AGAIN = 128 };
/* And of one that a peer sends. */
enum { BEGUN = 1, DELIVERED = 2 };
typedef enum phase { NOT_YET, RUN, WIND_DOWN } phase;
/* What a peer is, see peers.c. */
typedef enum kind { TALKER, DRIPPER, DEAF, SILENT, CUTTER, CARELESS } kind;

typedef struct hand {
  _Atomic uint32_t sending;    /* the message in sipwire_send, 0: none */
  _Atomic uint32_t telling;    /* the last one in on_send_failed */
  _Atomic bool in_message, in_failed;
  _Atomic uint64_t callbacks;  /* on_message, ever */
} hand;

typedef struct books {
  _Atomic int phase;
  _Atomic uint32_t next_message;
  _Atomic uint64_t told, told_again; /* on_send_failed; with REPEATED */
  hand hands[HANDS];
  _Atomic bool leave[HANDS];
  _Atomic uint32_t live, opened, accepted, ended_cleanly, turned_away, never_accepted, asked, answered; /* the peers' */
  sipwire_addr puzzle; /* of whom a peer wants to know whether the library has it */
  _Atomic bool puzzled;
  sipwire_addr server, listener[LISTENERS];
  _Atomic uint64_t target[MAX_PEERS_LIVE];  /* connection id, serial */
  _Atomic uint8_t kind[MAX_CONNECTIONS];    /* by serial: every connection of a peer has its own */
  _Atomic uint32_t refused_with[MAX_CODES]; /* [-code - CODES_FROM] */
  _Atomic bool refused[MAX_CONNECTIONS];    /* an answer was: all queues are full */
  _Atomic bool clean[MAX_CONNECTIONS];      /* the peer read to the FIN */
  _Atomic uint32_t id[MAX_CONNECTIONS];     /* the connection's in the library */
  sipwire_addr address[MAX_CONNECTIONS];
  _Atomic uint8_t in[MAX_MESSAGES], out[MAX_MESSAGES];
  uint8_t why[MAX_MESSAGES];               /* it was reported with this reason */
  uint32_t to[MAX_MESSAGES];                /* serial, 0: by address */
} books;

static books *shared;
static struct { int seconds, connections; uint64_t seed; } options = {15, 1500, 0};

/* splitmix64: everybody who decides has a state of its own, all from the seed. */
static uint64_t draw(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static uint32_t below(uint64_t *state, uint32_t bound) { return (uint32_t)(draw(state) % bound); }
static uint32_t between(uint64_t *state, uint32_t low, uint32_t high) { return low + below(state, high - low + 1); }
static bool chance(uint64_t *state, uint32_t percent) { return below(state, 100) < percent; }
static uint64_t state_of(uint32_t who, uint32_t life) {
  uint64_t state = options.seed * 1000003 + who * 7919 + life;
  draw(&state);
  return state;
}

/* ---- text ---- */
/* stream: of a peer its place, of the host who sends and how; life: of a peer the serial, of a sender which one it is in
 * its place; seq: in the connection. Fields of fixed width: a head always has the same length. */
typedef struct label { uint32_t number, stream, life, seq, flags, ms; } label;
enum { NO_ANSWER = 1, UNORDERED = 2 }; /* flags; to an id and an address: either way, and the two may overtake each other */
enum { ANSWERS = 0xffff };
enum { MAX_BODY = 30000 };
static const char head_text[] =
  "%sVia: SIP/2.0/TCP soak;branch=z9hG4bKsoak\r\nMax-Forwards: 70\r\nFrom: <sip:a@soak>;tag=1\r\nTo: <sip:b@soak>\r\n"
  "Call-ID: soak\r\nCSeq: 1 MESSAGE\r\nX-Label: %08x %08x %08x %08x %08x %08x\r\nContent-Length: %08zu\r\n\r\n";
static const char *const first_line[2] = {"MESSAGE sip:soak SIP/2.0\r\n", "SIP/2.0 200 Fine, thanks\r\n"};
static size_t head_length, label_at, length_at;
static char body_text[MAX_BODY + 26];

static void text_init(void) {
  char head[512];
  head_length = (size_t)snprintf(head, sizeof head, head_text, first_line[0], 0, 0, 0, 0, 0, 0, (size_t)0);
  label_at = (size_t)(strstr(head, "X-Label: ") + 9 - head);
  length_at = (size_t)(strstr(head, "Content-Length: ") + 16 - head);
  for (size_t i = 0; i < sizeof body_text; i++) body_text[i] = (char)('a' + i % 26);
}

static size_t text_write(char *out, bool answer, const label *l, size_t body) {
  snprintf(out, head_length + 1, head_text, first_line[answer], l->number, l->stream, l->life, l->seq, l->flags, l->ms, body);
  memcpy(out + head_length, body_text + l->number % 26, body);
  return head_length + body;
}

/* The length of the message that begins here, 0: not all of its head is there. Fails when it is none of ours. */
static size_t text_length(const char *data, size_t length) {
  if (length < head_length) return 0;
  CHECK(memcmp(data, first_line[0], 26) == 0 || memcmp(data, first_line[1], 26) == 0, "a message begins with '%.26s'", data);
  return head_length + strtoul(data + length_at, NULL, 10);
}

static label text_read(const char *data, size_t length) {
  CHECK(text_length(data, length) == length, "a message of %zu bytes says %zu", length, text_length(data, length));
  uint32_t field[6];
  for (size_t i = 0; i < 6; i++) field[i] = (uint32_t)strtoul(data + label_at + 9 * i, NULL, 16);
  label l = {field[0], field[1], field[2], field[3], field[4], field[5]};
  CHECK(l.number < MAX_MESSAGES, "message %u", l.number);
  CHECK(memcmp(data + head_length, body_text + l.number % 26, length - head_length) == 0, "the body of message %u is another one's", l.number);
  return l;
}

static void books_open(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(shared != MAP_FAILED, "mmap: %s", strerror(errno));
  shared->next_message = 1;
  text_init();
}
