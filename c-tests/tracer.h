/* For tests that stop a task (a process, or one thread of this one) between two instructions of the library, for as
 * long as they like. A child of the test does the tracing, so that the test itself goes on. */
#ifndef SIPWIRE_TEST_TRACER_H
#define SIPWIRE_TEST_TRACER_H
#include "harness.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

typedef enum trace_order { TRACE_STOP, TRACE_ENTRY, TRACE_EXIT, TRACE_STEPS, TRACE_COUNT, TRACE_LEAVE, TRACE_END } trace_order;
enum { TRACE_SEND = -2 }; /* as a number: sendto and sendmsg, by which a message goes in one part or in several */
typedef struct tracer {
  sem_t go, done;
  pid_t pid, task;
  trace_order order;
  long number;  /* of the system call (TRACE_COUNT: -1 any), how many steps, the signal */
  long result;  /* what the system call returned; the instructions of its own up to the next such call */
  _Atomic int error;
} tracer;

/* ---- in the child ---- */
static inline void trace_wait_stop(tracer *t, int *status) {
  if (waitpid(t->task, status, __WALL) != t->task || !WIFSTOPPED(*status)) _exit(2);
}

/* Lets it run on to the next stop; signals of its own are delivered. */
static inline int trace_on(tracer *t, int request, int status) {
  int stop = status ? WSTOPSIG(status) : 0, signal = stop == SIGTRAP || stop == (SIGTRAP | 0x80) || status >> 16 ? 0 : stop;
  if (ptrace(request, t->task, NULL, (void *)(intptr_t)signal) != 0) _exit(2);
  trace_wait_stop(t, &status);
  return status;
}

static inline bool trace_wants(const tracer *t, long number) {
  return t->number == TRACE_SEND ? number == SYS_sendto || number == SYS_sendmsg : number == t->number;
}
static inline struct __ptrace_syscall_info trace_info(tracer *t) {
  struct __ptrace_syscall_info info = {0};
  if (ptrace(PTRACE_GET_SYSCALL_INFO, t->task, (void *)sizeof info, &info) < 0) _exit(2);
  return info;
}

static inline bool trace_at_syscall(tracer *t) {
  errno = 0;
  long word = ptrace(PTRACE_PEEKTEXT, t->task, (void *)(uintptr_t)trace_info(t).instruction_pointer, NULL);
#if defined(__x86_64__)
  return errno == 0 && (word & 0xFFFF) == 0x050F;
#elif defined(__aarch64__)
  return errno == 0 && (word & 0xFFFFFFFF) == 0xD4000001;
#else
#error "the instruction of a system call"
#endif
}

static inline void trace_body(void *argument) {
  tracer *t = argument;
  close_range(3, ~0u, 0); /* copies of what the library has open would keep it open */
  int status = 0;
  for (;;) {
    while (sem_wait(&t->go) < 0) {}
    if (t->order == TRACE_STOP) {
      if (ptrace(PTRACE_SEIZE, t->task, NULL, (void *)PTRACE_O_TRACESYSGOOD) != 0) t->error = errno;
      else if (ptrace(PTRACE_INTERRUPT, t->task, NULL, NULL) == 0) trace_wait_stop(t, &status);
      status = 0; /* nothing to deliver */
    } else if (t->order == TRACE_ENTRY) {
      struct __ptrace_syscall_info info = {0};
      do {
        status = trace_on(t, PTRACE_SYSCALL, status);
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) info = trace_info(t);
      } while (info.op != PTRACE_SYSCALL_INFO_ENTRY || !trace_wants(t, (long)info.entry.nr));
    } else if (t->order == TRACE_EXIT) {
      status = trace_on(t, PTRACE_SYSCALL, status);
      struct __ptrace_syscall_info info = trace_info(t);
      if (info.op != PTRACE_SYSCALL_INFO_EXIT) _exit(2);
      t->result = (long)info.exit.rval;
    } else if (t->order == TRACE_STEPS) {
      for (long n = 0; n < t->number; n++) status = trace_on(t, PTRACE_SINGLESTEP, status);
    } else if (t->order == TRACE_COUNT) {
      for (t->result = 0; t->result < 10000000;) {
        for (; !trace_at_syscall(t); t->result++) status = trace_on(t, PTRACE_SINGLESTEP, status);
        if (t->number < 0) break;
        status = trace_on(t, PTRACE_SYSCALL, status);
        if ((long)trace_info(t).entry.nr == t->number) break;
        status = trace_on(t, PTRACE_SYSCALL, status);
      }
    } else if (t->order == TRACE_LEAVE) {
      if (t->number) kill(t->task, (int)t->number);
      ptrace(PTRACE_DETACH, t->task, NULL, NULL);
    }
    bool end = t->order == TRACE_END || t->error;
    sem_post(&t->done);
    if (end) _exit(0); /* without a word to the library: it takes no part */
  }
}

/* ---- in the test ---- */
static inline void trace_begin(tracer *t, trace_order order, long number) {
  t->order = order;
  t->number = number;
  sem_post(&t->go);
}
static inline long trace_end(tracer *t, const char *what) {
  WAIT(sem_trywait(&t->done) == 0, "the task never comes %s", what);
  return t->result;
}
static inline long trace_do(tracer *t, trace_order order, long number, const char *what) {
  trace_begin(t, order, number);
  return trace_end(t, what);
}

static inline tracer *trace_new(pid_t task) {
  tracer *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(t != MAP_FAILED && task > 0, "no task to trace");
  t->task = task;
  sem_init(&t->go, 1, 0);
  sem_init(&t->done, 1, 0);
  t->pid = h_fork(trace_body, t);
  h_expect_code(t->pid, 0);
  return t;
}

/* A thread names itself when it comes to run. */
static inline tracer *trace_named(const char *name) {
  pid_t task = 0;
  WAIT((task = h_find_task(name)) > 0, "no task is named %s", name);
  return trace_new(task);
}

/* The task stands still when this returns. */
static inline void trace_stop(tracer *t) {
  trace_do(t, TRACE_STOP, 0, "to a stop");
  if (t->error) h_skip("ptrace is not allowed here");
}

/* It runs on, or stays stopped by this signal. */
static inline void trace_leave(tracer *t, int signal) { trace_do(t, TRACE_LEAVE, signal, "free"); }

/* Of a task that was left. */
static inline void trace_free(tracer *t) {
  trace_do(t, TRACE_END, 0, "free");
  WAIT(h_gone(t->pid), "the tracer does not end");
  munmap(t, sizeof *t);
}

/* ---- SIGSTOP and SIGCONT, for a thread what comes to the same ---- */
static inline void halt(tracer *t) {
  if (h_mode == H_THREADS) trace_stop(t);
  else CHECK(kill(t->task, SIGSTOP) == 0, "SIGSTOP: %s", strerror(errno));
}
static inline void go_on(tracer *t) {
  if (h_mode == H_THREADS) trace_leave(t, 0);
  else kill(t->task, SIGCONT);
}
#endif
