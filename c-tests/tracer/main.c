/* tracer: runs a program and fails when one of its participants could sleep anywhere but in its own poll.
 *
 *   tracer -o REPORT [--library] [--plugin FILE] [--host-lock FUNCTION]... PROGRAM [ARGUMENT]...
 *
 * A seccomp filter stops every thread of every process at the calls that can sleep, and at those that nobody has judged
 * yet; judge.c says of each whether it could sleep, with these arguments and these descriptors. What may sleep:
 *
 *   - A participant in its own poll. Participants are known by the names that they give themselves: sipwire-super,
 *     sipwire-w0 ..., sipd-udp2 ..., sipd-timer. The first wait of one is its own poll: that call on that epoll (or that
 *     array of poll) at that depth of the stack. Any other wait is a violation, and from then on so is every call that
 *     could sleep.
 *   - Before that first wait a participant is being made: it may wait, for the other threads of sipwire_start say. When
 *     sipwire_run_* has returned, the process is its host's again.
 *   - Every other thread (the main one of a server, a test's own) may sleep as it likes, but not inside the library:
 *     functions of the API do not sleep, but those that are there to (`sleeps_by_contract`).
 *   - malloc and free have a lock for all threads that share an arena, and a thread's first call registers its end with
 *     libc, under a lock too: both are libc's, short, and never held over a call that sleeps. Whoever is to be free of them
 *     has processes, or allocates nothing. They are counted.
 *   - With --library, what the host does in callbacks is the host's own: only calls by the library itself count. With --plugin,
 *     which names the shared object that the library is part of, calls by the rest of that object count as well.
 *   - With --host-lock, a futex in FUNCTION, which is a lock of the host. They are counted.
 *
 * The report names the call, why it could sleep, the participant, and its stack; at its end, what each participant did. The exit
 * code is the program's, or 98 when something could sleep, or 77 when this machine does not let us trace. */
#include "tracer.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_TASKS = 256, MAX_NAMES = 64, MAX_CALLS = 512, MAX_REPORTS = 64, CODE = 98 };

#define LIBRARYS "sipwire-" /* participants that run a loop of the library */

/* They run a role, or start and join threads. */
static const char *const sleeps_by_contract[] = {"sipwire_start", "sipwire_stop", "sipwire_run_supervisor", "sipwire_run_worker"};

/* A participant's name, which several processes may have had one after the other. */
typedef struct participant {
  char name[17];
  unsigned long polls, host_locks, libc_locks, calls[MAX_CALLS];
} participant;

typedef struct task {
  pid_t tid, pid;
  participant *as; /* NULL until its first own poll */
  call poll;
} task;

static FILE *report;
static bool library_only;
static const char *host_locks[8];
static int host_lock_count, violations, participant_count;
static pid_t program;
static participant participants[MAX_NAMES];
static task tasks[MAX_TASKS];

static void say_and_exit(const char *what) {
  fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void read_line(pid_t pid, const char *file, const char *format, void *out) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  FILE *f = fopen(path, "re");
  while (f && fgets(line, sizeof line, f) && sscanf(line, format, out) != 1) {}
  if (f) fclose(f);
}

static task *task_of(pid_t tid) {
  task *free = NULL;
  for (int i = 0; i < MAX_TASKS; i++) {
    if (tasks[i].tid == tid) return &tasks[i];
    if (tasks[i].tid == 0 && !free) free = &tasks[i];
  }
  if (!free) say_and_exit("too many threads");
  *free = (task){.tid = tid, .pid = tid};
  read_line(tid, "status", "Tgid: %d", &free->pid);
  return free;
}

static void task_ended(pid_t tid) {
  for (int i = 0; i < MAX_TASKS; i++)
    if (tasks[i].tid == tid) tasks[i].tid = 0;
  stack_forget(tid);
}

static participant *participant_of(const char *name) {
  for (int i = 0; i < participant_count; i++)
    if (strcmp(participants[i].name, name) == 0) return &participants[i];
  if (participant_count == MAX_NAMES) say_and_exit("too many participants");
  participant *p = &participants[participant_count++];
  snprintf(p->name, sizeof p->name, "%s", name);
  return p;
}

static void violation(const task *t, const char *name, const char *text, const stack *s) {
  static uint64_t seen[MAX_REPORTS];
  uint64_t mark = 1469598103934665603u;
  for (int i = 0; i < s->count && i < 8; i++) mark = (mark ^ s->frames[i].pc) * 1099511628211u;
  for (int i = 0; i < violations && i < MAX_REPORTS; i++)
    if (seen[i] == mark) return;
  if (violations < MAX_REPORTS) {
    seen[violations] = mark;
    fprintf(report, "COULD SLEEP: %s (process %d, thread %d) in %s\n", name, t->pid, t->tid, text);
    stack_print(report, t->pid, s, true);
    fflush(report);
  }
  violations++;
}

static bool is_own_poll(const task *t, const call *c) {
  return c->number == t->poll.number && c->args[0] == t->poll.args[0] && c->stack_pointer == t->poll.stack_pointer;
}

static bool is_host_lock(const call *c, const stack *s) {
  for (int i = 0; i < host_lock_count && c->number == SYS_futex; i++)
    if (stack_has(s, host_locks[i])) return true;
  return false;
}

static bool may_sleep_by_contract(const stack *s) {
  const char *entry = stack_entry(s);
  for (size_t i = 0; entry && i < sizeof sleeps_by_contract / sizeof *sleeps_by_contract; i++)
    if (strcmp(entry, sleeps_by_contract[i]) == 0) return true;
  return !entry; /* a thread of sipwire_start that is being made */
}

/* The rules of the head, for a call that could sleep and is not the own poll. */
static bool is_allowed(task *t, const call *c, const char *name, const stack *s) {
  if (!s->whole) return false; /* who knows */
  if (c->number == SYS_futex && stack_is_libc_lock(s)) {
    if (t->as) t->as->libc_locks++;
    return true;
  }
  if (t->as && is_host_lock(c, s)) {
    t->as->host_locks++;
    return true;
  }
  if (t->as && strncmp(name, LIBRARYS, strlen(LIBRARYS)) == 0 && !stack_has_library(s)) return true; /* its role has ended */
  if ((library_only || !t->as) && !stack_is_librarys(s)) return true;
  return !t->as && may_sleep_by_contract(s);
}

/* The first wait of a participant: it is in its loop now. False: it is none. */
static bool begins_loop(task *t, const call *c, const char *name, const char *text, const stack *s) {
  bool librarys = strncmp(name, LIBRARYS, strlen(LIBRARYS)) == 0;
  if (librarys ? !stack_is_librarys(s) : strncmp(name, "sipd-", 5) != 0) return false;
  t->as = participant_of(name);
  t->poll = *c;
  fprintf(report, "PARTICIPANT %s (process %d, thread %d) polls in %s\n", name, t->pid, t->tid, text);
  stack_print(report, t->pid, s, false);
  fflush(report);
  return true;
}

/* SIGKILL ends the stop too: registers and stack are out of reach then. The kernel does not begin the call any more. */
static bool was_killed(const task *t) {
  struct __ptrace_syscall_info info;
  return ptrace(PTRACE_GET_SYSCALL_INFO, t->tid, sizeof info, &info) < 0 && errno == ESRCH;
}

static void look(task *t, const call *c) {
  char text[600], name[17] = "?";
  stack s;
  verdict v = judge(t->pid, c, text, sizeof text);
  if (t->as && c->number >= 0 && c->number < MAX_CALLS) t->as->calls[c->number]++;
  if (v == CANNOT) return;
  if (t->as && v == POLLS && is_own_poll(t, c)) {
    t->as->polls++;
    return;
  }
  stack_of(t->pid, t->tid, &s);
  if (!s.whole && was_killed(t)) return;
  read_line(t->tid, "comm", "%16[^\n]", name);
  if (!t->as && v == POLLS && begins_loop(t, c, name, text, &s)) return;
  if (is_allowed(t, c, name, &s)) return;
  if (v == POLLS) strncat(text, ": not its own poll", sizeof text - strlen(text) - 1);
  violation(t, name, text, &s);
}

static void stopped_at_call(pid_t tid) {
  struct __ptrace_syscall_info info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_SECCOMP) return;
  call c = {.number = (long)info.seccomp.nr, .stack_pointer = info.stack_pointer};
  memcpy(c.args, info.seccomp.args, sizeof c.args);
  look(task_of(tid), &c);
}

/* A stopped thread goes on; it may have been killed meanwhile. */
static void handle_stop(pid_t tid, int status) {
  int event = status >> 16, signal = WSTOPSIG(status);
  bool group_stop = event == PTRACE_EVENT_STOP && signal != SIGTRAP;
  if (event == PTRACE_EVENT_SECCOMP) stopped_at_call(tid);
  if (event == PTRACE_EVENT_EXEC) stack_forget(tid);
  ptrace(group_stop ? PTRACE_LISTEN : PTRACE_CONT, tid, 0, event ? 0 : signal);
}

static void pass_on(int signal) { kill(program, signal); }

static pid_t start(char **command) {
  pid_t pid = fork();
  int status;
  if (pid < 0) say_and_exit("fork");
  if (pid == 0) {
    raise(SIGSTOP);
    install_filter();
    execvp(command[0], command);
    say_and_exit(command[0]);
  }
  long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                 PTRACE_O_EXITKILL;
  if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) || ptrace(PTRACE_SEIZE, pid, 0, options) != 0) {
    kill(pid, SIGKILL);
    printf("tracing is not allowed here: %s\n", strerror(errno));
    exit(77);
  }
  kill(pid, SIGCONT);
  return pid;
}

static void print_summary(void) {
  for (int i = 0; i < participant_count; i++) {
    const participant *p = &participants[i];
    fprintf(report, "TRACED %s: polls=%lu host_locks=%lu libc_locks=%lu", p->name, p->polls, p->host_locks, p->libc_locks);
    for (int number = 0; number < MAX_CALLS; number++)
      if (p->calls[number]) fprintf(report, " %s=%lu", call_name(number), p->calls[number]);
    fprintf(report, "\n");
  }
  fprintf(report, "%d calls could sleep\n", violations);
  fclose(report);
}

int main(int argc, char **argv) {
  int i = 1, status, result = 1;
  pid_t tid;
  report = stderr;
  for (; i < argc && argv[i][0] == '-'; i++) {
    if (strcmp(argv[i], "--library") == 0) library_only = true;
    else if (strcmp(argv[i], "--host-lock") == 0 && host_lock_count < 8) host_locks[host_lock_count++] = argv[++i];
    else if (strcmp(argv[i], "--plugin") == 0) stack_plugin = argv[++i];
    else if (strcmp(argv[i], "-o") == 0) report = fopen(argv[++i], "we");
    else say_and_exit(argv[i]);
  }
  if (i >= argc || !report) say_and_exit("usage: tracer -o REPORT [--library] [--plugin FILE] [--host-lock FUNCTION]... PROGRAM [ARGUMENT]...");
  program = start(argv + i);
  struct sigaction action = {.sa_handler = pass_on};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  while ((tid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
    if (tid <= 0) continue;
    if (WIFSTOPPED(status)) {
      handle_stop(tid, status);
      continue;
    }
    task_ended(tid);
    if (tid == program) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  print_summary();
  return violations ? CODE : result;
}
