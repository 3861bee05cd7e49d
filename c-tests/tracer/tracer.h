/* What the parts of the tracer know of each other; main.c says what it is for. */
#ifndef SIPWIRE_TRACER_H
#define SIPWIRE_TRACER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct call {
  long number;
  uint64_t args[6];
  uint64_t stack_pointer;
} call;

/* ---- calls.c: which calls there are ---- */
const char *call_name(long number); /* static text */
void install_filter(void);          /* from now on this process stops at every call but those that cannot sleep */

/* ---- judge.c: could this very call sleep? ---- */
typedef enum verdict { CANNOT, POLLS, COULD } verdict; /* POLLS: it waits for events of descriptors, and not only looks */
/* `text` gets the call with its arguments and, for COULD, why. */
verdict judge(pid_t pid, const call *c, char *text, size_t size);

/* ---- stack.c: who makes it? ---- */
enum { MAX_FRAMES = 64 };
typedef struct frame {
  uint64_t pc;
  enum { OF_LIBC, OF_PROGRAM, OF_OTHERS } kind; /* the program is what the library is linked into */
  char name[200];
} frame;
typedef struct stack {
  int count;
  bool whole; /* to the thread's beginning: what is not on it, is not */
  frame frames[MAX_FRAMES];
} stack;
/* The library is part of this plug-in, and not of the program; what else there is, is others'. NULL: of the program, and
 * every shared library counts as libc. */
extern const char *stack_plugin;
void stack_of(pid_t pid, pid_t tid, stack *out); /* the thread is stopped; the innermost first */
void stack_print(FILE *file, pid_t pid, const stack *s, bool lines); /* lines: of the source, which takes its time */
void stack_forget(pid_t pid);                    /* the process has ended or runs another program */
/* The call comes from the library: the innermost frame that is not libc's is its own. The rest of a plug-in counts too. */
bool stack_is_librarys(const stack *s);
bool stack_has_library(const stack *s);       /* or it has called whoever makes it */
const char *stack_entry(const stack *s);      /* the innermost function of the API; NULL: a thread of the library's own */
bool stack_has(const stack *s, const char *function);
bool stack_is_libc_lock(const stack *s);      /* malloc, free, or what a thread's first call has to register with libc */
#endif
