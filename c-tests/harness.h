/* What every C test of sipwire shares. One test is one program that runs one idea:
 *
 *   int main(int argc, char **argv) {
 *     h_init(argc, argv);                 --threads | --processes, --full
 *     h_setting("worker_hold", "300ms");
 *     h_start(2);                         an instance with two workers on a free port of 127.0.0.1
 *     ...
 *     return h_finish();                  stops, and checks that nothing is left
 *   }
 *
 * Both modes run the same test code. What callbacks see goes to a record in shared memory, so the test
 * asserts on it the same way whether the workers are threads of this process or children of it.
 * Tests wait for conditions with a watchdog (WAIT); they never assert that something was fast. */
#ifndef SIPWIRE_TEST_HARNESS_H
#define SIPWIRE_TEST_HARNESS_H
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <sipwire.h>

/* ---- failing and waiting ---- */
_Noreturn void h_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void h_skip(const char *reason); /* exit 77, the reason as the last line */

/* CHECK(condition, "what was expected and what was seen", ...) */
#define CHECK(condition, ...)                                                                                          \
  do {                                                                                                                 \
    if (!(condition)) h_fail_check(__FILE__, __LINE__, #condition, __VA_ARGS__);                                       \
  } while (0)
#define CHECK_RC(expected, call)                                                                                       \
  do {                                                                                                                 \
    int64_t want_ = (expected), got_ = (call);                                                                         \
    if (want_ != got_)                                                                                                 \
      h_fail(__FILE__, __LINE__, "%s: expected %lld (%s), got %lld (%s)", #call, (long long)want_,                     \
             sipwire_strerror((int32_t)want_), (long long)got_, sipwire_strerror((int32_t)got_));                      \
  } while (0)
#define CHECK_NUM(expected, actual)                                                                                    \
  do {                                                                                                                 \
    int64_t want_ = (int64_t)(expected), got_ = (int64_t)(actual);                                                     \
    if (want_ != got_)                                                                                                 \
      h_fail(__FILE__, __LINE__, "%s: expected %lld, got %lld", #actual, (long long)want_, (long long)got_);           \
  } while (0)
_Noreturn void h_fail_check(const char *file, int line, const char *condition, const char *format, ...)
  __attribute__((format(printf, 4, 5)));

/* WAIT(condition, "what", ...): polls until the condition holds; fails after 20 s (times SIPWIRE_TEST_SCALE). */
#define WAIT(condition, ...) WAIT_FOR(20, condition, __VA_ARGS__)
/* Counters may move a moment after their effect is visible: WAIT_NUM, not CHECK_NUM. */
#define WAIT_NUM(expected, actual) WAIT((int64_t)(actual) == (int64_t)(expected), "expected %lld, got %lld", (long long)(expected), (long long)(actual))
#define WAIT_FOR(seconds, condition, ...)                                                                              \
  do {                                                                                                                 \
    uint64_t until_ = h_deadline_ms(seconds);                                                                          \
    while (!(condition)) {                                                                                             \
      if (h_now_ms() > until_) h_fail_check(__FILE__, __LINE__, "waited in vain for " #condition, __VA_ARGS__);        \
      h_tick();                                                                                                        \
    }                                                                                                                  \
  } while (0)
/* STAYS(ms, condition, ...): the condition must hold for the whole time. */
#define STAYS(ms, condition, ...)                                                                                      \
  do {                                                                                                                 \
    uint64_t until_ = h_now_ms() + (uint64_t)(ms);                                                                     \
    do {                                                                                                               \
      if (!(condition)) h_fail_check(__FILE__, __LINE__, "did not stay: " #condition, __VA_ARGS__);                    \
      h_tick();                                                                                                        \
    } while (h_now_ms() < until_);                                                                                     \
  } while (0)
uint64_t h_now_ms(void);
uint64_t h_deadline_ms(double seconds);
void h_sleep_ms(int ms);
void h_tick(void); /* sleeps 2 ms, takes dead children, reads every peer that is not paused */
void h_time_limit(int seconds); /* of the whole test; 100 s unless set */

/* ---- the instance ---- */
enum { H_NONE, H_THREADS, H_PROCESSES };
extern int h_mode;
extern int h_stderr; /* where failures are printed */
extern bool h_full; /* --full: full-length times */
extern sipwire_instance *h_instance;
extern sipwire_config *h_config; /* set it between h_init and h_start */
extern bool h_no_listener;       /* set before h_start: do not add tcp:127.0.0.1:0 */

void h_init(int argc, char **argv);
void h_setting(const char *key, const char *value);
void h_listen(const char *address);
void h_create(int workers);      /* sipwire_new only */
void h_start(int workers);       /* h_create, then threads or children; returns when all workers run */
int h_finish(void);              /* 0, or does not return */
void h_stop(void);               /* the stopping half of h_finish; senders stay */
sipwire_addr h_listener(int index);
const char *h_addr_text(const sipwire_addr *addr); /* static ring of buffers */
bool h_addr_equal(const sipwire_addr *a, const sipwire_addr *b);

sipwire_stats h_stats(void);
#define STAT(field) (h_stats().field)
sipwire_worker_stats h_worker(int worker);
uint64_t h_workers_running(void); /* the statistic `workers` is how many there can be */
bool h_info(uint32_t conn_id, sipwire_conn_info *out); /* false: no such connection */
uint32_t h_conn_flags(uint32_t conn_id);               /* 0 when gone */

/* children of the processes mode */
pid_t h_supervisor_pid(void);    /* threads: this process */
pid_t h_worker_pid(int worker);
pid_t h_fork_supervisor(void);
pid_t h_fork_worker(int worker); /* also to replace a dead one */
pid_t h_fork(void (*body)(void *), void *argument); /* a child that dies with us and holds none of our peers */
void h_runs_loop(pid_t pid);     /* a child of h_fork that ends by sipwire_stop */
/* Without a word about it a child ends with 0, and not before h_stop. Else say, before it can have ended, how it does: */
void h_expect_code(pid_t pid, int code);     /* with this exit code */
void h_expect_signal(pid_t pid, int signal); /* by this signal */
void h_expect_exit(pid_t pid);   /* with 0, or by SIGKILL or SIGTERM; a worker also because its supervisor is gone */
enum { H_SUPERVISOR_GONE = 3 };  /* exit code of h_fork_worker's child for SIPWIRE_E_SUPERVISOR_GONE */
void h_kill(pid_t pid);          /* SIGKILL, and waits for its end */
bool h_gone(pid_t pid);          /* has been waited for (and, after h_start, reported to the library) */
pid_t h_find_task(const char *name); /* thread or process of this test by its kernel name; 0: none */
int h_count_fds(pid_t pid);
typedef struct h_memory { long own_kb, shared_kb; } h_memory; /* resident */
h_memory h_memory_of(pid_t pid);
uint64_t h_cpu_ms(pid_t task);   /* that a thread of this process, or a child, has used */

/* ---- what callbacks saw ---- */
enum { EV_OPEN = 1, EV_MESSAGE, EV_FAILED, EV_CLOSE, EV_WRITABLE, EV_LOG, EV_WORKER_START, EV_WORKER_STOP, EV_TYPES };
typedef struct h_event {
  _Atomic uint32_t ready;
  int type;
  uint32_t conn_id;
  int32_t worker;
  pid_t pid, tid;
  uint64_t time_ms;   /* when the callback began */
  uint64_t cookie;    /* failures */
  int32_t reason;     /* failures, closes */
  int32_t error;
  uint32_t flags;
  int32_t listener;
  int32_t level;      /* logs */
  uint64_t length, header_length, body_length, written;
  uint64_t conn_user;
  sipwire_addr remote, local;
  uint64_t hash;      /* h_hash of the whole data */
  char text[640];     /* the beginning of the data, NUL-terminated */
} h_event;
uint64_t h_total(int type);                     /* cheap, counts even when not recording; h_nth has what it counts */
h_event *h_nth(int type, size_t n);             /* n-th of this type, NULL: not yet */
h_event *h_find(int type, uint32_t conn_id, const char *text); /* first; conn_id 0 and text NULL: any */
size_t h_count(int type, uint32_t conn_id, const char *text);
h_event *h_failure(uint64_t cookie);
size_t h_failure_count(uint64_t cookie);
void h_record(bool on);
uint64_t h_hash(const void *data, size_t length);

/* ---- the script ---- */
/* Runs as on_message after the event is recorded. The default answers requests but ACK with 200 and obeys
 * header fields: X-Silent (no answer), X-Code: N, X-Sleep: MS, X-Wait: N (until h_word(N) is not 0),
 * X-Close (sipwire_conn_close after the answer), X-Close-After (flag of the answer), X-Return: N,
 * X-Run: N (no answer: the worker does the job of sender N, see h_sender_in_worker). */
typedef int32_t (*h_script_fn)(sipwire_instance *instance, sipwire_message *message);
extern h_script_fn h_script;
extern void (*h_failed_hook)(const sipwire_failure *failure); /* in on_send_failed, after it was recorded */
/* A worker that was killed may have been between an on_open or on_close and our note of it: how many may be missing. */
extern uint64_t h_unseen;
extern void (*h_closed_hook)(const sipwire_conn_info *info);   /* in on_close, likewise */
extern void (*h_log_hook)(const sipwire_log_record *record);   /* in on_log */
extern void (*h_capture_hook)(const sipwire_capture *capture); /* set before h_start: the host has an on_capture */
int32_t h_default_script(sipwire_instance *instance, sipwire_message *message);
int32_t h_reply(sipwire_instance *instance, const sipwire_message *message, int code, uint32_t flags, uint64_t cookie);
bool h_header(const char *data, size_t header_length, const char *name, char *out, size_t size);
_Atomic uint64_t *h_word(int index); /* 64 words that all threads and children share, 0 at first */

/* ---- senders: participants that do what the test tells them ---- */
enum { H_JOB_MAX = 4096 };
typedef struct h_job {
  sipwire_target target;
  uint32_t tag, first, count; /* numbered messages: sender's tag, first number, how many */
  size_t size;                /* of each, exactly */
  uint64_t cookie;            /* of a text message; numbered ones have tag << 32 | number */
  size_t length;              /* text message */
  char text[70000];
  _Atomic bool held;          /* see h_hold */
  /* results */
  int32_t rc[H_JOB_MAX];
  uint32_t sent, queued, refused;
  uint64_t longest_ms;        /* the longest single sipwire_send */
  int32_t result;
} h_job;
struct h_peer;
typedef struct h_sender {
  sem_t go, done;
  struct h_peer *asks;        /* see h_sender_in_worker */
  void (*work)(struct h_sender *self); /* runs in the sender */
  int index;
  pid_t pid;
  bool busy, quit;
  h_job job;
} h_sender;
h_sender *h_sender_new(void);             /* a thread, or a forked child that attaches */
/* A worker, inside on_message: each job is a message of this peer, in whose connection's worker it is done. */
h_sender *h_sender_in_worker(struct h_peer *asks);
void h_sender_run(h_sender *sender, void (*work)(h_sender *)); /* starts, does not wait */
void h_sender_wait(h_sender *sender);
void h_sender_end(h_sender *sender);
void h_sender_kill(h_sender *sender);     /* processes: SIGKILL, whatever it does */
void h_send_text(h_sender *sender, const sipwire_target *target, const char *text, size_t length, uint64_t cookie);
void h_send_numbered(h_sender *sender, const sipwire_target *target, uint32_t tag, uint32_t first, uint32_t count,
                     size_t size);        /* both start, do not wait */
void h_hold(h_sender *sender);            /* its next job begins when h_release is called: all at the same instant */
void h_release(void);
sipwire_target h_to_addr(const sipwire_addr *remote);
sipwire_target h_to_conn(uint32_t conn_id);
int32_t h_send_here(const sipwire_target *target, const char *text, size_t length, uint64_t cookie); /* from the test itself */
int32_t h_send_numbered_here(const sipwire_target *target, uint32_t tag, uint32_t number, size_t size);

/* ---- SIP text ---- */
/* A request. extra: further header lines with CRLF, or NULL. Content-Length is added. Returns a static buffer (of 8). */
typedef struct h_text { const char *data; size_t length; } h_text;
h_text h_request(const char *method, const char *call_id, const char *extra, const char *body);
/* A MESSAGE of exactly `size` bytes that says who sent it as which. Returns the length, 0: does not fit. */
size_t h_numbered(char *buffer, size_t size, uint32_t tag, uint32_t number);
enum { H_NUMBERED_MIN = 320 };

/* ---- raw TCP peers ---- */
/* A peer that was closed is gone at the next connect or accept; data of a frame is gone at the next read. */
typedef struct h_peer {
  int fd;             /* -1: closed */
  bool paused;        /* do not read */
  bool eof;           /* FIN seen */
  int error;          /* errno of a read that failed (ECONNRESET ...) */
  char *in;           /* all that was received */
  size_t length, capacity, parsed;
  size_t pongs;       /* lone CRLFs between messages */
  sipwire_addr local;
} h_peer;
typedef struct h_frame { const char *data; size_t length, header_length, body_length; const char *body; int code; } h_frame;

h_peer *h_connect(const sipwire_addr *to);                    /* NULL only when told to expect it: errno */
h_peer *h_connect_small(const sipwire_addr *to, int rcvbuf);  /* with a small receive buffer */
h_peer *h_connect_from(const sipwire_addr *to, const char *source_ip, int rcvbuf);
h_peer *h_connect_as(const sipwire_addr *to, const sipwire_addr *source, int rcvbuf); /* port 0: any; NULL: any address */
h_peer *h_client(void);                                       /* connected to listener 0 */
void h_write(h_peer *peer, const void *data, size_t length);  /* all of it; fails when the peer closed */
void h_write_text(h_peer *peer, h_text text);
bool h_try_write(h_peer *peer, const void *data, size_t length);
void h_half_close(h_peer *peer);
void h_reset(h_peer *peer);    /* RST */
void h_close(h_peer *peer);    /* close(2): FIN, or RST with unread input */
bool h_ended(h_peer *peer);    /* FIN or RST seen */
bool h_next(h_peer *peer, h_frame *frame); /* the next whole message, if it is there */
h_frame h_await(h_peer *peer, const char *what);             /* waits for it */
h_frame h_await_answer(h_peer *peer, int code, const char *call_id);
void h_await_end(h_peer *peer, const char *what);
uint32_t h_conn_of(h_peer *peer); /* waits until the library knows it */
int h_library_fd(uint32_t conn_id); /* a copy of its descriptor, -1: the kernel does not let us have it */
int h_listening_fd(const sipwire_addr *addr); /* the same of a listener; -1 also when none listens there */
size_t h_open_peers(void);

int h_listener_open(int backlog, sipwire_addr *out);
int h_listener_small(int backlog, int rcvbuf, sipwire_addr *out); /* accepted peers have a small receive buffer */
h_peer *h_accept(int listener);   /* waits */
h_peer *h_accept_now(int listener);
int h_refusing_port(sipwire_addr *out);   /* bound, not listening: keep the fd to keep the port */
/* A listener whose accept queue is full: SYNs are dropped until one is accepted. */
typedef struct h_full_listener { int fd; h_peer *filler[8]; int fillers; } h_full_listener;
h_full_listener h_full_listener_open(sipwire_addr *out);

/* ---- the ledger: every numbered message is accounted for once ---- */
void h_ledger_receive(h_peer *peer);  /* takes every whole message the peer has and checks number, body, order */
void h_ledger_take(const h_frame *frame); /* the same for one message of a peer that receives others too */
uint32_t h_ledger_received(uint32_t tag);
uint32_t h_ledger_accepted(uint32_t tag);
uint32_t h_ledger_failed(uint32_t tag);
/* Sends numbered messages of this size from `first` until at least `want` - 1 of them stay queued: the peer does not
 * read, the kernel takes no more, nothing moves any longer. Returns how many it sent, all accepted. */
uint32_t h_fill(const sipwire_target *target, uint32_t tag, uint32_t first, size_t size, uint32_t want);
extern uint64_t h_last_sent_ms; /* when h_fill saw the last progress */
/* Waits until the reported messages are exactly the tail of `count` accepted ones, and checks reason and content. */
void h_tail_failed(uint32_t tag, uint32_t count, size_t size, int32_t reason);
/* Each accepted one was received or reported failed, exactly once, and no other was. */
void h_ledger_check(void);
bool h_ledger_settled(void); /* the same as a question, for WAIT */
/* One tag, of whose messages a death may have cost some: received, lost with what the kernel had, and reported, in this
 * order of their numbers if all went through one connection. `both`: received, and reported too, because the writer died
 * before it could note that. `returned_not`: sends that were begun and did not return. */
typedef struct h_account { uint32_t received, lost, failed, both, returned_not, wrong_number; const char *wrong; } h_account;
h_account h_ledger_account(uint32_t tag, bool one_connection);
void h_ledger_count_from(uint32_t tag, uint32_t number); /* the account leaves out the ones before; each still comes once, in order */

/* Functions that can fail say where the test called them. */
void h_at(const char *file, int line);
#ifndef H_IMPLEMENTATION
#define h_setting(...) (h_at(__FILE__, __LINE__), h_setting(__VA_ARGS__))
#define h_listen(...) (h_at(__FILE__, __LINE__), h_listen(__VA_ARGS__))
#define h_create(...) (h_at(__FILE__, __LINE__), h_create(__VA_ARGS__))
#define h_start(...) (h_at(__FILE__, __LINE__), h_start(__VA_ARGS__))
#define h_stop(...) (h_at(__FILE__, __LINE__), h_stop(__VA_ARGS__))
#define h_finish(...) (h_at(__FILE__, __LINE__), h_finish(__VA_ARGS__))
#define h_stats(...) (h_at(__FILE__, __LINE__), h_stats(__VA_ARGS__))
#define h_worker(...) (h_at(__FILE__, __LINE__), h_worker(__VA_ARGS__))
#define h_info(...) (h_at(__FILE__, __LINE__), h_info(__VA_ARGS__))
#define h_conn_flags(...) (h_at(__FILE__, __LINE__), h_conn_flags(__VA_ARGS__))
#define h_expect_code(...) (h_at(__FILE__, __LINE__), h_expect_code(__VA_ARGS__))
#define h_expect_signal(...) (h_at(__FILE__, __LINE__), h_expect_signal(__VA_ARGS__))
#define h_expect_exit(...) (h_at(__FILE__, __LINE__), h_expect_exit(__VA_ARGS__))
#define h_kill(...) (h_at(__FILE__, __LINE__), h_kill(__VA_ARGS__))
#define h_sender_new(...) (h_at(__FILE__, __LINE__), h_sender_new(__VA_ARGS__))
#define h_sender_in_worker(...) (h_at(__FILE__, __LINE__), h_sender_in_worker(__VA_ARGS__))
#define h_sender_run(...) (h_at(__FILE__, __LINE__), h_sender_run(__VA_ARGS__))
#define h_sender_wait(...) (h_at(__FILE__, __LINE__), h_sender_wait(__VA_ARGS__))
#define h_sender_end(...) (h_at(__FILE__, __LINE__), h_sender_end(__VA_ARGS__))
#define h_send_text(...) (h_at(__FILE__, __LINE__), h_send_text(__VA_ARGS__))
#define h_send_numbered(...) (h_at(__FILE__, __LINE__), h_send_numbered(__VA_ARGS__))
#define h_release(...) (h_at(__FILE__, __LINE__), h_release(__VA_ARGS__))
#define h_connect(...) (h_at(__FILE__, __LINE__), h_connect(__VA_ARGS__))
#define h_connect_small(...) (h_at(__FILE__, __LINE__), h_connect_small(__VA_ARGS__))
#define h_connect_from(...) (h_at(__FILE__, __LINE__), h_connect_from(__VA_ARGS__))
#define h_client(...) (h_at(__FILE__, __LINE__), h_client(__VA_ARGS__))
#define h_write(...) (h_at(__FILE__, __LINE__), h_write(__VA_ARGS__))
#define h_write_text(...) (h_at(__FILE__, __LINE__), h_write_text(__VA_ARGS__))
#define h_try_write(...) (h_at(__FILE__, __LINE__), h_try_write(__VA_ARGS__))
#define h_next(...) (h_at(__FILE__, __LINE__), h_next(__VA_ARGS__))
#define h_await(...) (h_at(__FILE__, __LINE__), h_await(__VA_ARGS__))
#define h_await_answer(...) (h_at(__FILE__, __LINE__), h_await_answer(__VA_ARGS__))
#define h_await_end(...) (h_at(__FILE__, __LINE__), h_await_end(__VA_ARGS__))
#define h_conn_of(...) (h_at(__FILE__, __LINE__), h_conn_of(__VA_ARGS__))
#define h_accept(...) (h_at(__FILE__, __LINE__), h_accept(__VA_ARGS__))
#define h_full_listener_open(...) (h_at(__FILE__, __LINE__), h_full_listener_open(__VA_ARGS__))
#define h_ledger_receive(...) (h_at(__FILE__, __LINE__), h_ledger_receive(__VA_ARGS__))
#define h_fill(...) (h_at(__FILE__, __LINE__), h_fill(__VA_ARGS__))
#define h_tail_failed(...) (h_at(__FILE__, __LINE__), h_tail_failed(__VA_ARGS__))
#define h_ledger_check(...) (h_at(__FILE__, __LINE__), h_ledger_check(__VA_ARGS__))
#endif
#endif
