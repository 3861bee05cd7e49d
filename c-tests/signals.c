/* modes: threads processes */
/* Signals are the host's: no disposition and no mask is another one after any call or in any role, our threads take none,
 * and whoever writes to a peer that is gone raises no SIGPIPE. */
#include "harness.h"
#include <dirent.h>
#include <signal.h>

enum { WAIT_WORD = 5 };
static const unsigned long long of_libc = 3ULL << 31; /* glibc handles two of its own in a program with threads */
typedef struct signals { unsigned long long pending, blocked, ignored, caught; } signals;

static unsigned long long line_of(const char *text, const char *name) {
  const char *found = strstr(text, name);
  return found ? strtoull(found + strlen(name), NULL, 16) : 0;
}

static signals signals_at(const char *path) {
  static char text[8192];
  FILE *file = fopen(path, "re");
  size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
  if (file) fclose(file);
  CHECK(n, "%s: %s", path, strerror(errno));
  text[n] = 0;
  return (signals){line_of(text, "SigPnd:") | line_of(text, "ShdPnd:"), line_of(text, "SigBlk:"), line_of(text, "SigIgn:"), line_of(text, "SigCgt:") & ~of_libc};
}

static signals of(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, pid);
  return signals_at(path);
}

static signals first;

static void same(const char *when, signals now) {
  CHECK(now.blocked == first.blocked, "%s: the mask is %llx, was %llx", when, now.blocked, first.blocked);
  CHECK(now.ignored == first.ignored, "%s: ignored are %llx, were %llx", when, now.ignored, first.ignored);
  CHECK(now.caught == first.caught, "%s: handlers for %llx, were %llx", when, now.caught, first.caught);
  CHECK(now.pending == 0, "%s: %llx are pending", when, now.pending);
}

/* Every thread but the test's own blocks all that can be blocked, and was sent none. */
static void look_at_threads(void) {
  DIR *dir = opendir("/proc/self/task");
  int ours = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    char path[300];
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid()) continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
    signals now = signals_at(path);
    for (int number = 1; number < 32; number++)
      CHECK(number == SIGKILL || number == SIGSTOP || now.blocked >> (number - 1) & 1, "a thread takes signal %d", number);
    CHECK(now.pending == 0, "a thread was sent %llx", now.pending);
    ours++;
  }
  closedir(dir);
  CHECK_NUM(2, ours);
}

static void look(const char *when) {
  same(when, of(getpid()));
  if (h_mode == H_THREADS) return look_at_threads();
  same("the supervisor", of(h_supervisor_pid()));
  same("the worker", of(h_worker_pid(0)));
}

static void handler(int number) { (void)number; }

static h_sender *sender;

/* The peer has said that it ends and is gone before anybody can have read of it: the kernel tells EPIPE. The worker has the
 * connection, waits in its script, and then answers. `reads`: nothing is queued for it. */
static h_peer *gone(bool reads) {
  static int number;
  char id[32], extra[32];
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  uint32_t conn = h_conn_of(peer);
  sipwire_target target = h_to_conn(conn);
  peer->paused = !reads;
  for (int i = 0; reads && i < 3; i++) { /* at the second it is passed the descriptor */
    h_send_text(sender, &target, "\r\n", 2, 0);
    h_sender_wait(sender);
    h_sleep_ms(5);
  }
  *h_word(WAIT_WORD) = 0;
  snprintf(id, sizeof id, "gone%d", number++);
  snprintf(extra, sizeof extra, "X-Wait: %d\r\n", WAIT_WORD);
  h_write_text(peer, h_request("OPTIONS", id, extra, NULL));
  WAIT(h_find(EV_MESSAGE, 0, id), "the worker has it");
  static char much[60000];
  memset(much, 'x', sizeof much);
  for (uint64_t i = 0; !reads && h_send_here(&target, much, sizeof much, i) == SIPWIRE_SENT; i++) {}
  h_half_close(peer);
  h_reset(peer);
  if (reads) {
    h_send_text(sender, &target, "late", 4, 0);
    h_sender_wait(sender);
  }
  h_sleep_ms(20); /* the supervisor sees it, and tries to write what is queued */
  *h_word(WAIT_WORD) = 1;
  WAIT(h_find(EV_CLOSE, conn, NULL), "its end is told");
  return peer;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_stall", "60s");
  h_setting("conn_wq_max", "8m");
  sigset_t some;
  sigemptyset(&some);
  sigaddset(&some, SIGHUP);
  sigprocmask(SIG_BLOCK, &some, NULL);
  signal(SIGUSR1, handler);
  signal(SIGUSR2, SIG_IGN);
  first = of(getpid());
  CHECK(!(first.ignored >> (SIGPIPE - 1) & 1) && !(first.blocked >> (SIGPIPE - 1) & 1), "SIGPIPE would end us");
  h_start(1);
  look("running");
  sender = h_sender_new();
  if (h_mode == H_PROCESSES) same("a sender", of(sender->pid));
  gone(true);
  gone(false);
  h_sender_end(sender);
  look("after peers that were gone");
  sipwire_addr refusing;
  int port = h_refusing_port(&refusing);
  sipwire_target target = h_to_addr(&refusing);
  CHECK(h_send_here(&target, "x", 1, 7) >= 0, "a dial");
  WAIT(h_failure(7), "it failed");
  close(port);
  look("after a dial that failed");
  h_stop();
  same("stopped", of(getpid()));
  int rc = h_finish();
  same("freed", of(getpid()));
  return rc;
}
