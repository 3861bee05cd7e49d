/* The connections of one round of the crash tests. Each is one kind of talk; some are to end, all others must go on
 * whoever dies, but for the few that a death may cost. What was asked is answered once, in order. */
#include "crash.h"
#include "../deadline.h"
#include <poll.h>
#include <sys/socket.h>

typedef enum kind { CHAT, PARTS, SLOW, FULL, HOST_ENDS, BAD, HALF, RESET, READER, DIALLED, PAUSES } kind;
enum { STEADY = 4 };
typedef struct talk {
  h_peer *peer;
  sipwire_addr to; /* the kernel gives one port to several peers, if they go to different listeners */
  kind kind;
  const char *extra; /* of its requests */
  bool to_end, may_end, silent;
  int number;
  uint32_t last, asked, answered; /* number of the last request */
  size_t ponged;                  /* pings that were answered */
  char text[80000]; /* of a request that comes in parts */
  size_t length, written;
} talk;

static talk steady[STEADY], talks[TALKS];
static int count, round_number, small_fd, dialled_fd, refused_fd;
static uint32_t requests;
static talk *reader, *slow, *full, *gone;
static h_peer *dialled[8];
static int dialled_count;

static void call_id(const talk *t, uint32_t n, char *out, size_t size) { snprintf(out, size, "r%d-t%d-n%u", round_number, t->number, n); }

static h_text request(talk *t) {
  char id[64], extra[160];
  call_id(t, t->asked, id, sizeof id);
  t->asked += !t->silent;
  t->last = ++requests;
  snprintf(extra, sizeof extra, "X-Once: %u\r\nX-Tag: %d\r\n%s", requests, OF_TALK + t->number, t->extra ? t->extra : "");
  return h_request(t->kind == FULL ? "ACK" : "OPTIONS", id, extra, NULL); /* nobody answers the one whose queue is full */
}

/* Also of a peer that does not read. */
static bool over(const talk *t) {
  struct pollfd fd = {.fd = t->peer ? t->peer->fd : -1, .events = POLLRDHUP};
  return !t->peer || h_ended(t->peer) || (t->peer->paused && poll(&fd, 1, 0) > 0);
}
static void end(talk *t) {
  if (t->peer) h_close(t->peer);
  t->peer = NULL; /* a closed one is gone at the next connect */
}

static void try_write(talk *t, const void *data, size_t length) {
  if (!over(t)) h_try_write(t->peer, data, length);
}
static void ask(talk *t) {
  h_text text = request(t);
  try_write(t, text.data, text.length);
}

/* A request with so many bytes of body; a third of it at a time. */
static void prepare(talk *t, size_t body) {
  char *length = NULL;
  h_text text = request(t);
  size_t head = text.length - strlen("Content-Length: 0\r\n\r\n");
  memcpy(t->text, text.data, head);
  length = t->text + head;
  t->length = head + (size_t)sprintf(length, "Content-Length: %zu\r\n\r\n", body);
  memset(t->text + t->length, 'b', body);
  t->length += body;
  t->written = 0;
}
static void write_part(talk *t, size_t most) {
  size_t n = t->length - t->written < most ? t->length - t->written : most;
  try_write(t, t->text + t->written, n);
  t->written += n;
}

/* Two requests and a ping at once. */
static void ask_both(talk *t) {
  char both[4096];
  h_text first = request(t);
  memcpy(both, first.data, first.length);
  h_text second = request(t);
  memcpy(both + first.length, second.data, second.length);
  memcpy(both + first.length + second.length, "\r\n\r\n", 4);
  try_write(t, both, first.length + second.length + 4);
}
/* If it is paused: by its script, or by a sender that died before it came to resume it. */
static void resume(const talk *t) {
  uint32_t id = 0;
  if (!over(t) && sipwire_conn_find(h_instance, &t->peer->local, &t->to, &id) == SIPWIRE_OK && h_conn_flags(id) & SIPWIRE_CONN_PAUSED)
    sipwire_conn_resume(h_instance, id);
}

static void talk_to(talk *t, kind kind, const char *extra, int listener) {
  bool small = listener == SMALL_BUFFERS;
  *t = (talk){.kind = kind, .extra = extra, .number = t >= steady && t < steady + STEADY ? TALKS + (int)(t - steady) : (int)(t - talks)};
  t->to = h_listener(listener);
  t->peer = h_connect_small(&t->to, small ? 4096 : 0);
  t->peer->paused = small;
  shared->reason[t->peer->local.port] = SIPWIRE_REASON_NONE;
  t->to_end = kind == HOST_ENDS || kind == BAD || kind == HALF || kind == RESET;
  t->silent = kind == FULL || (kind == HALF && extra);
}
static talk *talk_open(kind kind, const char *extra) {
  talk_to(&talks[count], kind, extra, kind == SLOW || kind == FULL ? SMALL_BUFFERS : PLAIN);
  return &talks[count++];
}

/* For itself, as its PROXY header says, of which `n` bytes are written now. */
static talk *talk_open_proxied(kind kind, size_t n) {
  talk *t = &talks[count++];
  talk_to(t, kind, NULL, PROXIED);
  sipwire_addr to = h_listener(PROXIED);
  t->length = (size_t)sipwire_proxy_header(1 + round_number % 2, &t->peer->local, &to, t->text, sizeof t->text);
  write_part(t, n);
  return t;
}

/* Small buffers, so that a sender soon finds them full. */
void traffic_begin(void) {
  sipwire_addr addr;
  int bytes = 4096;
  small_fd = h_listener_open(64, &addr);
  setsockopt(small_fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  CHECK(sipwire_config_listen_fd(h_config, small_fd) >= 0, "listen_fd: %s", sipwire_config_error(h_config));
  h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_OK, sipwire_config_listener_set(h_config, PROXIED, "proxy_protocol", "required"));
  dialled_fd = h_listener_open(64, &shared->dialled);
  refused_fd = h_refusing_port(&shared->refused);
}

static const char *const host_ends[] = {"X-Close: 1\r\n", "X-Close-After: 1\r\n", "X-Return: -1\r\n"};
static const char *const bad[] = {
  "this is not SIP at all\r\n\r\n",
  "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n"
  "CSeq: 1 OPTIONS\r\nContent-Length: oops\r\n\r\n",
  "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/T"};

void traffic_open(bool reject, bool stall) {
  round_number++;
  count = dialled_count = 0;
  set_live("queue_full", reject ? "reject" : "close");
  for (int i = 0; i < STEADY; i++) {
    if (!steady[i].peer) talk_to(&steady[i], CHAT, NULL, PLAIN);
    steady[i].asked = steady[i].answered = 0;
    ask(&steady[i]);
  }
  talk *proxied = talk_open_proxied(CHAT, 9), *liar = talk_open_proxied(BAD, 9);
  for (int i = 0; i < 2; i++) {
    ask(talk_open(CHAT, i ? "X-Dial: 1\r\n" : stall ? "X-Sleep: 60\r\n" : NULL));
    ask(talk_open(READER, "X-Alias: 1\r\n"));
    talk *parts = talk_open(PARTS, NULL);
    prepare(parts, i ? 5000 : 65400); /* all that may be parked, so that there is no room for the other */
    write_part(parts, i ? 2500 : 65600);
    ask(talk_open(SLOW, "X-Big: 3\r\n"));
  }
  for (int i = 0; i < 2; i++) {
    talk *pauses = talk_open(PAUSES, "X-Pause: 1\r\n");
    ask_both(pauses);
    pauses->to_end = i;
    if (i) h_half_close(pauses->peer);
  }
  for (int i = 0; i < 2; i++) { /* in turn, so that each worker gets one */
    talk *flood = talk_open(FULL, "X-Flood: 1\r\nX-Silent: 1\r\n");
    flood->may_end = !reject;
    ask(flood);
  }
  for (int i = 0; i < 3; i++) ask(talk_open(HOST_ENDS, host_ends[i]));
  for (int i = 0; i < 3; i++) {
    talk *t = talk_open(BAD, NULL);
    try_write(t, bad[i], strlen(bad[i]));
    if (i == 2) h_half_close(t->peer);
  }
  talk *reset = talk_open(RESET, round_number % 2 ? "X-Sleep: 3\r\n" : NULL);
  ask(reset);
  h_reset(reset->peer);
  end(reset);
  for (int i = 0; i < 2; i++) {
    talk *half = talk_open(HALF, i ? "X-Silent: 1\r\n" : NULL);
    ask(half);
    h_half_close(half->peer);
  }
  try_write(liar, bad[0], strlen(bad[0]));
  write_part(proxied, proxied->length);
  ask(proxied);
  reader = talk_open(READER, NULL), slow = talk_open(SLOW, NULL), full = talk_open(FULL, NULL), gone = talk_open(READER, NULL);
  full->may_end = !reject, gone->may_end = true;
  shared->reader_addr = reader->peer->local;
  shared->reader = shared->slow = shared->full = shared->gone = 0;
  shared->begin = shared->done = shared->leave = shared->worker_leaves = false;
}

void traffic_read(void) {
  for (int i = 0; i < count; i++)
    if (talks[i].peer) talks[i].peer->paused = false;
}

void traffic_go_on(void) {
  for (int i = 0; i < count; i++) {
    talk *t = &talks[i];
    if (t->kind == PARTS) write_part(t, t->length);
    if (t->kind == CHAT || (t->kind == SLOW && t->extra)) {
      t->extra = NULL;
      ask_both(t);
    }
  }
  traffic_read();
}

static void take(talk *t) {
  h_frame frame;
  char expected[64], value[64];
  while (t->peer && h_next(t->peer, &frame)) {
    if (!frame.code) h_ledger_take(&frame);
    if (!frame.code || t->to_end || t->kind == DIALLED) continue;
    call_id(t, t->answered++, expected, sizeof expected);
    if (!h_header(frame.data, frame.header_length, "Call-ID", value, sizeof value) || strcmp(value, expected) != 0 || t->answered > t->asked)
      h_fail("traffic", 0, "expected the answer to %s, got one to %s", expected, value);
  }
}

static void answer_pings(talk *t) {
  for (; t->peer && t->ponged < t->peer->pongs / 2; t->ponged++) try_write(t, "\r\n", 2);
}

static void learn(_Atomic uint32_t *id, talk *t) {
  uint32_t found = 0;
  if (!*id && t->peer && sipwire_conn_find(h_instance, &t->peer->local, &t->to, &found) == SIPWIRE_OK) *id = found;
}

/* The peer has sent FIN and waits; its request was delivered. */
static void answer_late(talk *t) {
  static const char answer[] = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
  sipwire_conn_info info;
  uint32_t id = 0;
  if (over(t) || sipwire_conn_find(h_instance, &t->peer->local, &t->to, &id) != SIPWIRE_OK) return;
  sipwire_target target = h_to_conn(id);
  if (h_info(id, &info) && info.pending_answers > 0) h_send_here(&target, answer, sizeof answer - 1, 0);
}

void traffic_look(void) {
  h_peer *accepted;
  while (dialled_count < 8 && (accepted = h_accept_now(dialled_fd))) dialled[dialled_count++] = accepted;
  for (int i = 0; i < STEADY; i++) take(&steady[i]);
  for (int i = 0; i < count; i++) {
    take(&talks[i]);
    if (talks[i].kind == HALF && talks[i].silent) answer_late(&talks[i]);
    if (talks[i].kind == READER) answer_pings(&talks[i]);
    if (talks[i].kind == PAUSES) resume(&talks[i]);
  }
  for (int i = 0; i < dialled_count; i++) h_ledger_receive(dialled[i]);
  if (shared->begin) return;
  learn(&shared->reader, reader), learn(&shared->slow, slow), learn(&shared->full, full), learn(&shared->gone, gone);
  shared->begin = (shared->reader || over(reader)) && (shared->slow || over(slow)) && (shared->full || over(full)) && (shared->gone || over(gone));
}

bool traffic_idle(void) {
  sipwire_conn_info info;
  uint32_t id = 0;
  return over(&steady[0]) || sipwire_conn_find(h_instance, &steady[0].peer->local, &steady[0].to, &id) != SIPWIRE_OK || !h_info(id, &info) ||
         info.owner == SIPWIRE_OWNER_IDLE;
}

static const char *waits(talk *t) {
  static char text[300];
  sipwire_conn_info info = {.struct_size = sizeof info};
  uint32_t id = 0;
  bool whole = t->last && t->written == t->length;
  bool open = !over(t) && (t->to_end || (whole && (t->silent ? !shared->delivered[t->last] : t->answered < t->asked)));
  snprintf(text, sizeof text, "talk %d of kind %d: %u asked, %u answered%s", t->number, t->kind, t->asked, t->answered, t->to_end ? ", to end" : "");
  if (open && sipwire_conn_find(h_instance, &t->peer->local, &t->to, &id) == SIPWIRE_OK && sipwire_conn_info_get(h_instance, id, &info) == SIPWIRE_OK) {
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "; flags %u, owner %d, worker %d, %llu messages, %llu bytes in, %llu parked, %llu queued", info.flags, info.owner, info.worker,
             (unsigned long long)info.messages_in, (unsigned long long)info.bytes_in, (unsigned long long)info.partial_bytes, (unsigned long long)info.queued_bytes);
  }
  return open ? text : NULL;
}

const char *traffic_waits(void) {
  for (int i = 0; i < STEADY; i++)
    if (waits(&steady[i])) return waits(&steady[i]);
  for (int i = 0; i < count; i++)
    if (waits(&talks[i])) return waits(&talks[i]);
  return NULL;
}

static bool is_lost(const talk *t) { return !t->to_end && !t->may_end && over(t); }

uint32_t traffic_lost(void) {
  uint32_t n = 0;
  for (int i = 0; i < STEADY; i++) n += is_lost(&steady[i]);
  for (int i = 0; i < count; i++) n += is_lost(&talks[i]);
  return n;
}

const char *traffic_lost_text(void) {
  static char text[400];
  size_t n = 0;
  for (talk *t = steady; t < steady + STEADY + count; t++) {
    talk *one = t < steady + STEADY ? t : &talks[t - steady - STEADY];
    if (is_lost(one) && n < sizeof text)
      n += (size_t)snprintf(text + n, sizeof text - n, "[talk %d of kind %d: %s] ", one->number, one->kind, sipwire_reason_text(shared->reason[one->peer->local.port]));
  }
  return text;
}

static bool dialled_ended(void) {
  for (int i = 0; i < dialled_count; i++)
    if (h_ended(dialled[i])) return true;
  return false;
}

/* A tag's messages; `lossy`: its connection may have taken some with it. */
static bool check_tag(uint32_t tag, bool lossy, bool one_connection, uint32_t *returned_not) {
  h_account a = h_ledger_account(tag, one_connection);
  WAIT((traffic_look(), a = h_ledger_account(tag, one_connection), !a.wrong && (lossy || a.lost == 0)), "tag %u: %u received, %u reported, %u neither; %u: %s",
       tag, a.received, a.failed, a.lost, a.wrong_number, a.wrong ? a.wrong : "in order");
  *returned_not += a.returned_not;
  h_ledger_count_from(tag, shared->next[tag]); /* one whose sender died in its send may still come: nobody waited for it */
  return a.both > 0;
}

void traffic_check(uint32_t deaths, uint32_t supervisors) {
  uint32_t returned_not = 0, both = 0;
  bool dialled_both = false;
  h_tick();
  traffic_look(); /* what was written by now is here */
  for (int i = 0; i < count; i++) {
    bool one = talks[i].kind != CHAT; /* the others dial */
    bool here = check_tag((uint32_t)(OF_TALK + i), one ? over(&talks[i]) : dialled_ended(), one, &returned_not);
    both += here && one;
    dialled_both |= here && !one;
  }
  both += check_tag(TO_READER, over(reader), true, &returned_not) + check_tag(TO_SLOW, over(slow), true, &returned_not) +
          check_tag(TO_FULL, over(full), true, &returned_not) + check_tag(TO_GONE, over(gone), true, &returned_not) +
          (check_tag(TO_DIALLED, dialled_ended(), false, &returned_not) || dialled_both) + check_tag(TO_REFUSED, false, false, &returned_not);
  /* After a bug in a callback each further call in it says so, too. */
  CHECK(panics || returned_not <= deaths, "%u sends did not return, %u processes died", returned_not, deaths);
  CHECK(both <= supervisors, "messages of %u connections were received and reported failed, %u supervisors died", both, supervisors);
}

void traffic_close(bool all) {
  for (int i = 0; i < count; i++) {
    resume(&talks[i]); /* or its FIN would wait */
    end(&talks[i]);
  }
  for (int i = 0; i < dialled_count; i++) h_close(dialled[i]);
  dialled_count = 0;
  for (int i = 0; i < STEADY; i++)
    if (all || over(&steady[i])) end(&steady[i]);
}

void traffic_end(void) {
  traffic_close(true);
  close(small_fd), close(dialled_fd), close(refused_fd);
}

uint32_t traffic_steady(void) {
  uint32_t n = 0;
  for (int i = 0; i < STEADY; i++) n += steady[i].peer != NULL;
  return n;
}

void traffic_again(void) {
  for (int i = 0; i < STEADY; i++) ask(&steady[i]);
  for (int i = 0; i < count; i++)
    if (talks[i].kind == CHAT || talks[i].kind == PARTS) ask(&talks[i]);
}

const char *traffic_stays(void) {
  static char text[100];
  for (talk *t = steady; t < steady + STEADY + count; t++) {
    const talk *one = t < steady + STEADY ? t : &talks[t - steady - STEADY];
    snprintf(text, sizeof text, "talk %d of kind %d", one->number, one->kind);
    /* One that its predecessor had not accepted is a new one. */
    uint32_t id = 0;
    if (!over(one) && sipwire_conn_find(h_instance, &one->peer->local, &one->to, &id) != SIPWIRE_OK) return text;
  }
  h_account refused = h_ledger_account(TO_REFUSED, false);
  snprintf(text, sizeof text, "%u reports", refused.lost);
  return refused.lost ? text : NULL;
}
