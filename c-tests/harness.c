/* The shared part of the C tests; see harness.h. One unit, so that a test links one object: the parts in harness/
 * are included below. Floors, each used only by what follows it: failing and time, events, script, children, instance,
 * senders, peers, ledger, finish. */
#define H_IMPLEMENTATION
#include "harness.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { MAX_EVENTS = 1 << 18, MAX_CHILDREN = 1 << 14, MAX_PEERS = 4096, MAX_SENDERS = 32, MAX_TAGS = 64, MAX_NUMBERS = 1 << 18 };
enum { ACCEPTED = 1, RECEIVED = 2, FAILED = 4, REFUSED = 8, TRIED = 16 };

typedef struct shared {
  _Atomic int failed;
  _Atomic uint32_t next_event;
  _Atomic uint64_t unrecorded[EV_TYPES];
  _Atomic int recording;
  _Atomic int held, released; /* senders at the start line; the shot */
  _Atomic uint64_t words[64];
  _Atomic uint8_t ledger[MAX_TAGS][MAX_NUMBERS];
  _Atomic uint32_t ledger_end[MAX_TAGS]; /* behind the last number with a mark */
  h_sender senders[MAX_SENDERS];
  h_event events[MAX_EVENTS];
} shared;

/* How a child is to end. ENDS_NOT: not before the library is stopped, and then with 0. */
typedef enum end { ENDS_NOT, ENDS_CLEANLY, ENDS_WITH_CODE, ENDS_BY_SIGNAL } end;
typedef struct child { pid_t pid; char name[24]; bool gone, runs_loop; end end; int number; } child;

int h_mode, h_stderr = 2;
bool h_full, h_no_listener;
sipwire_instance *h_instance;
sipwire_config *h_config;
h_script_fn h_script = h_default_script;
void (*h_failed_hook)(const sipwire_failure *failure);
void (*h_closed_hook)(const sipwire_conn_info *info);
void (*h_log_hook)(const sipwire_log_record *record);
void (*h_capture_hook)(const sipwire_capture *capture);
uint64_t h_unseen;

static shared *mem;
static pid_t main_pid;
static child children[MAX_CHILDREN];
static int child_count;
static h_peer *peers[MAX_PEERS];
static size_t peer_count;
static int sender_count, worker_count, first_fds;
static bool started, attached;
static double time_scale = 1;
static uint64_t first_blocks;

/* ---- failing and time ---- */
static void end_children(void) {
  for (int i = 0; i < child_count; i++)
    if (!children[i].gone) kill(children[i].pid, SIGKILL);
}

static _Thread_local const char *at_file;
static _Thread_local int at_line;
void h_at(const char *file, int line) {
  at_file = file;
  at_line = line;
}

/* A function of the harness fails where the test called it. */
static _Noreturn void fail_text(const char *file, int line, const char *text) {
  char out[2048];
  bool inside = at_file && (line == 0 || strstr(file, "harness"));
  int n = snprintf(out, sizeof out, "FAILED %s:%d: %s\n", inside ? at_file : file, inside ? at_line : line, text);
  if (write(h_stderr, out, (size_t)(n < (int)sizeof out ? n : (int)sizeof out - 1)) < 0) _exit(1);
  if (mem) mem->failed = 1;
  if (getpid() == main_pid) end_children();
  _exit(1);
}

_Noreturn void h_fail(const char *file, int line, const char *format, ...) {
  char text[1536];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  fail_text(file, line, text);
}

_Noreturn void h_fail_check(const char *file, int line, const char *condition, const char *format, ...) {
  char text[1536];
  int n = snprintf(text, sizeof text, "%s: ", condition);
  va_list list;
  va_start(list, format);
  vsnprintf(text + n, sizeof text - (size_t)n, format, list);
  va_end(list);
  fail_text(file, line, text);
}

_Noreturn void h_skip(const char *reason) {
  end_children();
  printf("%s\n", reason);
  fflush(stdout);
  _exit(77);
}

uint64_t h_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t h_deadline_ms(double seconds) { return h_now_ms() + (uint64_t)(seconds * 1000 * time_scale); }

void h_sleep_ms(int ms) {
  struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
  while (nanosleep(&t, &t) < 0 && errno == EINTR) {}
}

static void out_of_time(int signal) {
  (void)signal;
  fail_text("harness", 0, "the whole test ran out of time");
}

void h_time_limit(int seconds) { alarm((unsigned)(seconds * time_scale)); }

static void reap(void);
static void peer_fill(h_peer *peer);

void h_tick(void) {
  if (getpid() == main_pid) {
    reap();
    if (mem && mem->failed) fail_text("harness", 0, "a child failed, see above");
    for (size_t i = 0; i < peer_count; i++)
      if (peers[i]->fd >= 0 && !peers[i]->paused) peer_fill(peers[i]);
  }
  h_sleep_ms(2);
}

_Atomic uint64_t *h_word(int index) { return &mem->words[index]; }

/* ---- events ---- */
uint64_t h_hash(const void *data, size_t length) {
  const unsigned char *p = data;
  uint64_t h = 1469598103934665603u;
  for (size_t i = 0; i < length; i++) h = (h ^ p[i]) * 1099511628211u;
  return h;
}

static h_event *event_new(int type) {
  if (!mem->recording) {
    mem->unrecorded[type]++;
    return NULL;
  }
  uint32_t n = mem->next_event++;
  if (n >= MAX_EVENTS) fail_text("harness", 0, "more events than the record holds");
  h_event *e = &mem->events[n];
  e->type = type;
  e->pid = getpid();
  e->tid = (pid_t)syscall(SYS_gettid);
  e->time_ms = h_now_ms();
  return e;
}

static void event_text(h_event *e, const char *data, size_t length) {
  size_t n = length < sizeof e->text - 1 ? length : sizeof e->text - 1;
  if (n) memcpy(e->text, data, n);
  e->text[n] = 0;
  e->length = length;
  e->hash = h_hash(data, length);
}

void h_record(bool on) { mem->recording = on; }

static h_event *event_at(uint32_t i) { return i < mem->next_event && i < MAX_EVENTS && mem->events[i].ready ? &mem->events[i] : NULL; }

/* Counted in the record, so that what is counted can be read and the other way round, also when the one that records is
 * killed. The beginning of the record, in which all is ready, is not counted again. */
uint64_t h_total(int type) {
  static _Thread_local uint32_t begun;
  static _Thread_local uint64_t counted[EV_TYPES];
  for (h_event *e; (e = event_at(begun)); begun++) counted[e->type]++;
  uint64_t n = mem->unrecorded[type] + counted[type];
  for (uint32_t i = begun; i < mem->next_event; i++) n += event_at(i) && event_at(i)->type == type;
  return n;
}

static bool event_is(const h_event *e, int type, uint32_t conn_id, const char *text) {
  return e && e->type == type && (!conn_id || e->conn_id == conn_id) && (!text || strstr(e->text, text));
}

h_event *h_nth(int type, size_t n) {
  for (uint32_t i = 0; i < mem->next_event; i++)
    if (event_is(event_at(i), type, 0, NULL) && n-- == 0) return event_at(i);
  return NULL;
}

h_event *h_find(int type, uint32_t conn_id, const char *text) {
  for (uint32_t i = 0; i < mem->next_event; i++)
    if (event_is(event_at(i), type, conn_id, text)) return event_at(i);
  return NULL;
}

size_t h_count(int type, uint32_t conn_id, const char *text) {
  size_t n = 0;
  for (uint32_t i = 0; i < mem->next_event; i++) n += event_is(event_at(i), type, conn_id, text);
  return n;
}

h_event *h_failure(uint64_t cookie) {
  for (uint32_t i = 0; i < mem->next_event; i++)
    if (event_is(event_at(i), EV_FAILED, 0, NULL) && event_at(i)->cookie == cookie) return event_at(i);
  return NULL;
}

size_t h_failure_count(uint64_t cookie) {
  size_t n = 0;
  for (uint32_t i = 0; i < mem->next_event; i++)
    n += event_is(event_at(i), EV_FAILED, 0, NULL) && event_at(i)->cookie == cookie;
  return n;
}

static void ledger_mark(uint32_t tag, uint32_t number, uint8_t mark, const char *what) {
  if (tag >= MAX_TAGS || number >= MAX_NUMBERS) h_fail("ledger", 0, "%s: no such message %u/%u", what, tag, number);
  if (mem->ledger[tag][number] & mark) h_fail("ledger", 0, "message %u/%u was %s twice", tag, number, what);
  mem->ledger[tag][number] |= mark;
  for (uint32_t end = mem->ledger_end[tag]; end <= number && !atomic_compare_exchange_weak(&mem->ledger_end[tag], &end, number + 1);) {}
}

/* ---- callbacks and script ---- */
static int32_t cb_message(void *user, sipwire_instance *instance, sipwire_message *m) {
  (void)user;
  h_event *e = event_new(EV_MESSAGE);
  if (m->data[m->length] != 0) h_fail("on_message", 0, "data[length] is not 0");
  if (m->length != m->header_length + m->body_length)
    h_fail("on_message", 0, "length %zu is not header %zu + body %zu", m->length, m->header_length, m->body_length);
  if (m->struct_size < sizeof *m) h_fail("on_message", 0, "struct_size is %u", m->struct_size);
  if (e) {
    e->conn_id = m->conn_id;
    e->worker = m->worker;
    e->flags = m->flags;
    e->listener = m->listener;
    e->header_length = m->header_length;
    e->body_length = m->body_length;
    e->conn_user = m->conn_user;
    e->remote = m->remote;
    e->local = m->local;
    event_text(e, m->data, m->length);
    e->ready = 1;
  }
  int32_t rc = h_script(instance, m);
  memset(m->data, 'x', m->length); /* the buffer is ours to write in */
  return rc;
}

static void cb_failed(void *user, sipwire_instance *instance, sipwire_failure *f) {
  (void)user, (void)instance;
  if (f->data[f->length] != 0) h_fail("on_send_failed", 0, "data[length] is not 0");
  uint32_t tag = (uint32_t)(f->cookie >> 32), number = (uint32_t)f->cookie;
  if (tag && tag < MAX_TAGS && number < MAX_NUMBERS) {
    /* Who told it first may have died before the host's callback began, or after. */
    if (f->flags & SIPWIRE_FAILURE_REPEATED) mem->ledger[tag][number] |= FAILED;
    else ledger_mark(tag, number, FAILED, "reported failed");
  }
  h_event *e = event_new(EV_FAILED);
  if (e) {
    e->conn_id = f->conn_id;
    e->worker = f->worker;
    e->cookie = f->cookie;
    e->reason = f->reason;
    e->error = f->error;
    e->flags = f->flags;
    e->written = f->written;
    e->remote = f->remote;
    event_text(e, f->data, f->length);
    e->ready = 1;
  }
  if (h_failed_hook) h_failed_hook(f);
}

static void cb_capture(void *user, sipwire_instance *instance, const sipwire_capture *capture) {
  if (user != mem || instance != h_instance) h_fail("on_capture", 0, "user or instance is not what sipwire_new was given");
  h_capture_hook(capture);
}

static void conn_event(int type, const sipwire_conn_info *info) {
  if (info->idle_ms > info->age_ms)
    h_fail("callback", 0, "connection %u: idle for %llu ms, %llu ms old", info->conn_id, (unsigned long long)info->idle_ms, (unsigned long long)info->age_ms);
  h_event *e = event_new(type);
  if (!e) return;
  e->conn_id = info->conn_id;
  e->worker = info->worker;
  e->flags = info->flags;
  e->listener = info->listener;
  e->reason = info->close_reason;
  e->error = info->close_error;
  e->conn_user = info->conn_user;
  e->remote = info->remote;
  e->local = info->local;
  e->ready = 1;
}
static void cb_open(void *u, sipwire_instance *i, const sipwire_conn_info *info) { (void)u, (void)i, conn_event(EV_OPEN, info); }
static void cb_close(void *u, sipwire_instance *i, const sipwire_conn_info *info) {
  (void)u, (void)i, conn_event(EV_CLOSE, info);
  if (h_closed_hook) h_closed_hook(info);
}
static void cb_writable(void *u, sipwire_instance *i, const sipwire_conn_info *info) {
  (void)u, (void)i, conn_event(EV_WRITABLE, info);
}

static void cb_log(void *user, const sipwire_log_record *record) {
  (void)user;
  h_event *e = event_new(EV_LOG);
  if (record->text[record->length] != 0 || memchr(record->text, '\n', record->length))
    h_fail("on_log", 0, "not one NUL-terminated line: %s", record->text);
  if (h_log_hook) h_log_hook(record);
  if (!e) return;
  e->conn_id = record->conn_id;
  e->level = record->level;
  event_text(e, record->text, record->length);
  e->ready = 1;
}

static void worker_event(int type, int32_t worker) {
  h_event *e = event_new(type);
  if (!e) return;
  e->worker = worker;
  e->ready = 1;
}
static void cb_worker_start(void *u, sipwire_instance *i, int32_t worker) { (void)u, (void)i, worker_event(EV_WORKER_START, worker); }
static void cb_worker_stop(void *u, sipwire_instance *i, int32_t worker) { (void)u, (void)i, worker_event(EV_WORKER_STOP, worker); }

bool h_header(const char *data, size_t header_length, const char *name, char *out, size_t size) {
  size_t name_length = strlen(name);
  for (const char *line = data, *end = data + header_length; line < end;) {
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    if (!stop) break;
    if ((size_t)(stop - line) > name_length && strncasecmp(line, name, name_length) == 0 && line[name_length] == ':') {
      const char *value = line + name_length + 1, *last = stop;
      while (value < stop && *value == ' ') value++;
      while (last > value && (last[-1] == '\r' || last[-1] == ' ')) last--;
      size_t n = (size_t)(last - value) < size - 1 ? (size_t)(last - value) : size - 1;
      memcpy(out, value, n);
      out[n] = 0;
      return true;
    }
    line = stop + 1;
  }
  return false;
}

int32_t h_reply(sipwire_instance *instance, const sipwire_message *m, int code, uint32_t flags, uint64_t cookie) {
  char out[4096], value[1024];
  int n = snprintf(out, sizeof out, "SIP/2.0 %d Test\r\n", code);
  static const char *const copied[] = {"Via", "From", "To", "Call-ID", "CSeq"};
  for (size_t i = 0; i < 5; i++)
    if (h_header(m->data, m->header_length, copied[i], value, sizeof value) && n < 3000)
      n += snprintf(out + n, sizeof out - (size_t)n, "%s: %s\r\n", copied[i], value);
  n += snprintf(out + n, sizeof out - (size_t)n, "X-Worker: %d\r\nX-Conn: %u\r\nContent-Length: 0\r\n\r\n", m->worker, m->conn_id);
  sipwire_target target = h_to_conn(m->conn_id);
  target.flags = flags;
  sipwire_iov iov = {out, (size_t)n};
  return sipwire_send(instance, &target, &iov, 1, cookie);
}

static int number_header(const sipwire_message *m, const char *name, int otherwise) {
  char value[32];
  return h_header(m->data, m->header_length, name, value, sizeof value) ? atoi(value) : otherwise;
}

static void job_in_callback(int sender);

int32_t h_default_script(sipwire_instance *instance, sipwire_message *m) {
  int sender = number_header(m, "X-Run", -1);
  if (sender >= 0) return job_in_callback(sender), 0;
  int wait = number_header(m, "X-Wait", -1), ms = number_header(m, "X-Sleep", 0);
  if (ms) h_sleep_ms(ms);
  while (wait >= 0 && *h_word(wait) == 0) h_sleep_ms(1);
  bool is_response = strncmp(m->data, "SIP/2.0 ", 8) == 0, is_ack = strncmp(m->data, "ACK ", 4) == 0;
  if (!is_response && !is_ack && !number_header(m, "X-Silent", 0)) {
    uint32_t flags = number_header(m, "X-Close-After", 0) ? SIPWIRE_SEND_CLOSE_AFTER : 0;
    int32_t rc = h_reply(instance, m, number_header(m, "X-Code", 200), flags, 0);
    /* A peer that is gone already cannot be answered; every other refusal of a 200-byte answer is a defect. */
    if (rc < 0 && rc != SIPWIRE_E_NO_CONNECTION && rc != SIPWIRE_E_SHUTTING_DOWN)
      h_fail("script", 0, "answer refused: %d %s", rc, sipwire_strerror(rc));
  }
  if (number_header(m, "X-Close", 0)) sipwire_conn_close(instance, m->conn_id);
  return number_header(m, "X-Return", 0);
}

#include "harness/children.c"

/* ---- instance ---- */
void h_init(int argc, char **argv) {
  main_pid = getpid();
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--threads") == 0) h_mode = H_THREADS;
    else if (strcmp(argv[i], "--processes") == 0) h_mode = H_PROCESSES;
    else if (strcmp(argv[i], "--full") == 0) h_full = true;
    else h_fail("harness", 0, "unknown argument %s", argv[i]);
  }
  const char *scale = getenv("SIPWIRE_TEST_SCALE"); /* valgrind and busy machines: all watchdogs times this */
  if (scale && atof(scale) > 0) time_scale = atof(scale);
  mem = mmap(NULL, sizeof *mem, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mem == MAP_FAILED) h_fail("harness", 0, "mmap: %s", strerror(errno));
  mem->recording = 1;
  signal(SIGALRM, out_of_time);
  signal(SIGPIPE, SIG_DFL); /* a write of the library that raises it must kill the test */
  h_time_limit(100);
  first_fds = h_count_fds(getpid());
  h_config = sipwire_config_new();
  CHECK(h_config, "sipwire_config_new returned NULL");
}

void h_setting(const char *key, const char *value) {
  if (sipwire_config_set(h_config, key, value) != SIPWIRE_OK)
    h_fail("harness", 0, "setting %s=%s: %s", key, value, sipwire_config_error(h_config));
}

void h_listen(const char *address) {
  if (sipwire_config_listen(h_config, address) < 0)
    h_fail("harness", 0, "listen %s: %s", address, sipwire_config_error(h_config));
}

void h_create(int workers) {
  char number[16];
  snprintf(number, sizeof number, "%d", workers);
  h_setting("workers", number);
  if (!h_no_listener) h_listen("tcp:127.0.0.1:0");
  sipwire_callbacks callbacks = {
    .struct_size = sizeof callbacks, .on_message = cb_message, .on_send_failed = cb_failed, .on_open = cb_open,
    .on_close = cb_close, .on_writable = cb_writable, .on_log = cb_log, .on_worker_start = cb_worker_start,
    .on_worker_stop = cb_worker_stop, .on_capture = h_capture_hook ? cb_capture : NULL};
  int32_t rc = sipwire_new(h_config, &callbacks, mem, &h_instance);
  if (rc != SIPWIRE_OK) h_fail("harness", 0, "sipwire_new: %d %s: %s", rc, sipwire_strerror(rc), sipwire_config_error(h_config));
  worker_count = workers;
}

void h_start(int workers) {
  h_create(workers);
  if (h_mode == H_PROCESSES) {
    h_fork_supervisor();
    for (int i = 0; i < workers; i++) h_fork_worker(i);
    started = true;
    CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
    attached = true;
  } else {
    CHECK_RC(SIPWIRE_OK, sipwire_start(h_instance));
    started = true;
  }
  WAIT(h_workers_running() == (uint64_t)workers && h_total(EV_WORKER_START) == (uint64_t)workers,
       "%llu of %d workers run, %llu called on_worker_start", (unsigned long long)h_workers_running(), workers,
       (unsigned long long)h_total(EV_WORKER_START));
  for (int i = 0; i < workers && h_mode == H_PROCESSES; i++) WAIT(polls_of(h_worker_pid(i)) == 2, "worker %d has %d polls", i, polls_of(h_worker_pid(i)));
  first_blocks = STAT(blocks_used);
}

sipwire_addr h_listener(int index) {
  sipwire_addr addr = {0};
  CHECK_RC(SIPWIRE_OK, sipwire_listener_addr(h_instance, index, &addr));
  return addr;
}

const char *h_addr_text(const sipwire_addr *addr) {
  static char text[8][80];
  static int turn;
  char *out = text[turn++ & 7];
  sipwire_addr_format(addr, out, sizeof text[0]);
  return out;
}

bool h_addr_equal(const sipwire_addr *a, const sipwire_addr *b) {
  return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

sipwire_stats h_stats(void) {
  sipwire_stats stats = {.struct_size = sizeof stats};
  CHECK_RC(SIPWIRE_OK, sipwire_stats_get(h_instance, &stats));
  return stats;
}

sipwire_worker_stats h_worker(int worker) {
  sipwire_worker_stats stats = {.struct_size = sizeof stats};
  CHECK_RC(SIPWIRE_OK, sipwire_worker_stats_get(h_instance, worker, &stats));
  return stats;
}
uint64_t h_workers_running(void) {
  uint64_t running = 0;
  for (int worker = (int)h_stats().workers; worker-- > 0;) running += h_worker(worker).running;
  return running;
}

bool h_info(uint32_t conn_id, sipwire_conn_info *out) {
  memset(out, 0, sizeof *out);
  out->struct_size = sizeof *out;
  int32_t rc = sipwire_conn_info_get(h_instance, conn_id, out);
  if (rc != SIPWIRE_OK && rc != SIPWIRE_E_NO_CONNECTION)
    h_fail("harness", 0, "sipwire_conn_info_get: %d %s", rc, sipwire_strerror(rc));
  return rc == SIPWIRE_OK;
}

uint32_t h_conn_flags(uint32_t conn_id) {
  sipwire_conn_info info;
  return h_info(conn_id, &info) ? info.flags : 0;
}

#include "harness/senders.c"
#include "harness/peers.c"
#include "harness/ledger.c"

/* ---- finish ---- */
/* on_open first, on_close last, each once, and no callback of a connection before or after: no failure report either. */
static void check_callback_order(void) {
  for (uint32_t i = 0; i < mem->next_event; i++) {
    h_event *e = event_at(i);
    if (!e || !e->conn_id || e->type != EV_CLOSE) continue;
    size_t opens = 0, closes = 0;
    for (uint32_t k = 0; k < mem->next_event; k++) {
      h_event *other = event_at(k);
      if (!other || other->conn_id != e->conn_id) continue;
      opens += other->type == EV_OPEN;
      closes += other->type == EV_CLOSE;
      if (other->type == EV_MESSAGE && (opens != 1 || closes != 0))
        h_fail("finish", 0, "connection %u: on_message after %zu on_open and %zu on_close", e->conn_id, opens, closes);
      if ((other->type == EV_FAILED || other->type == EV_WRITABLE) && closes != 0)
        h_fail("finish", 0, "connection %u: %s after on_close", e->conn_id, other->type == EV_FAILED ? "on_send_failed" : "on_writable");
      if (other->type == EV_CLOSE && opens != 1) h_fail("finish", 0, "connection %u: on_close without on_open", e->conn_id);
    }
    if (opens != 1 || closes != 1) h_fail("finish", 0, "connection %u: %zu on_open, %zu on_close", e->conn_id, opens, closes);
  }
}

void h_stop(void) {
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  started = false; /* from now on children may end */
  for (int i = 0; i < child_count; i++) /* a sender ends when the test says so */
    if (children[i].runs_loop) WAIT(children[i].gone, "child %s does not end after sipwire_stop", children[i].name);
}

int h_finish(void) {
  for (size_t i = 0; i < peer_count; i++) h_close(peers[i]);
  for (int i = 0; i < sender_count; i++) h_sender_end(&mem->senders[i]);
  if (started) {
    WAIT(STAT(slots_used) == 0, "%llu slots are still used after every peer has closed", (unsigned long long)STAT(slots_used));
    WAIT(STAT(queued_bytes) == 0, "queued_bytes stays at %llu", (unsigned long long)STAT(queued_bytes));
    WAIT(STAT(partial_bytes) == 0, "partial_bytes stays at %llu", (unsigned long long)STAT(partial_bytes));
    /* A participant may keep a few private blocks in reserve. */
    WAIT(STAT(blocks_used) <= first_blocks + 4 * STAT(participants), "blocks_used stays at %llu, was %llu at the start",
         (unsigned long long)STAT(blocks_used), (unsigned long long)first_blocks);
    WAIT(h_total(EV_OPEN) + h_unseen >= h_total(EV_CLOSE) && h_total(EV_CLOSE) + h_unseen >= h_total(EV_OPEN),
         "%llu on_open, %llu on_close", (unsigned long long)h_total(EV_OPEN), (unsigned long long)h_total(EV_CLOSE));
    sipwire_stats stats = h_stats();
    CHECK_NUM(0, stats.messages_lost_report);
    CHECK_NUM(0, stats.degraded);
    CHECK_NUM(0, stats.connections);
    if (h_total(EV_OPEN) < 2000 && mem->recording) check_callback_order();
    h_stop();
  }
  if (attached) CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
  if (h_instance) sipwire_free(h_instance);
  if (h_config) sipwire_config_free(h_config);
  h_instance = NULL;
  reap();
  if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) h_fail("finish", 0, "a child process is left");
  WAIT(h_count_fds(getpid()) <= first_fds, "%d fds are open, %d at the start", h_count_fds(getpid()), first_fds);
  for (size_t i = 0; i < peer_count; i++) {
    free(peers[i]->in);
    free(peers[i]);
  }
  peer_count = 0;
  return 0;
}
