/* The stack of a stopped thread, by elfutils' libdw; see tracer.h. */
#include "tracer.h"
#include <elfutils/libdwfl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROCESSES = 64 };
static struct process { pid_t pid; Dwfl *dwfl; char program[PATH_MAX]; bool attached; } processes[MAX_PROCESSES];

static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_linux_proc_find_elf, .find_debuginfo = dwfl_standard_find_debuginfo};

const char *stack_plugin;

void stack_forget(pid_t pid) {
  for (int i = 0; i < MAX_PROCESSES; i++)
    if (processes[i].pid == pid) {
      if (processes[i].dwfl) dwfl_end(processes[i].dwfl);
      processes[i] = (struct process){.pid = 0};
    }
}

static struct process *process_of(pid_t pid) {
  struct process *free = NULL;
  char path[64];
  for (int i = 0; i < MAX_PROCESSES; i++) {
    if (processes[i].pid == pid) return &processes[i];
    if (processes[i].pid == 0 && !free) free = &processes[i];
  }
  if (!free) return NULL;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  ssize_t n = readlink(path, free->program, sizeof free->program - 1);
  free->program[n > 0 ? n : 0] = 0;
  free->pid = pid;
  free->dwfl = dwfl_begin(&callbacks);
  return free;
}

/* What is mapped now: a plug-in comes later than its program. What was known already is kept. */
static bool read_maps(struct process *process) {
  if (!process || !process->dwfl) return false;
  dwfl_report_begin(process->dwfl);
  if (dwfl_linux_proc_report(process->dwfl, process->pid) != 0 || dwfl_report_end(process->dwfl, NULL, NULL) != 0) return false;
  process->attached = process->attached || dwfl_linux_proc_attach(process->dwfl, process->pid, true) == 0;
  return process->attached;
}

static int kind_of(const struct process *process, const char *path) {
  static const char *const libc[] = {"libc.", "libm.", "libpthread.", "ld-linux"};
  const char *name = path && strrchr(path, '/') ? strrchr(path, '/') + 1 : "";
  if (!stack_plugin) return path && strcmp(path, process->program) == 0 ? OF_PROGRAM : OF_LIBC;
  for (size_t i = 0; i < sizeof libc / sizeof *libc; i++)
    if (strncmp(name, libc[i], strlen(libc[i])) == 0) return OF_LIBC;
  return strcmp(name, stack_plugin) == 0 ? OF_PROGRAM : OF_OTHERS;
}

struct walk { struct process *process; stack *out; };

static int one_frame(Dwfl_Frame *state, void *argument) {
  struct walk *walk = argument;
  Dwarf_Addr pc;
  bool is_activation;
  if (walk->out->count == MAX_FRAMES || !dwfl_frame_pc(state, &pc, &is_activation)) return DWARF_CB_ABORT;
  Dwarf_Addr at = pc - (is_activation ? 0 : 1); /* in the call, not behind it */
  frame *f = &walk->out->frames[walk->out->count++];
  *f = (frame){.pc = at};
  Dwfl_Module *module = dwfl_addrmodule(walk->process->dwfl, at);
  const char *path = NULL, *name = module ? dwfl_module_addrname(module, at) : NULL;
  if (module) dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, &path, NULL);
  f->kind = kind_of(walk->process, path);
  snprintf(f->name, sizeof f->name, "%s", name ? name : "?");
  return DWARF_CB_OK;
}

void stack_of(pid_t pid, pid_t tid, stack *out) {
  struct walk walk = {process_of(pid), out};
  out->count = 0;
  out->whole = read_maps(walk.process) && dwfl_getthread_frames(walk.process->dwfl, tid, one_frame, &walk) == 0;
}

void stack_print(FILE *file, pid_t pid, const stack *s, bool lines) {
  struct process *process = process_of(pid);
  for (int i = 0; i < s->count; i++) {
    Dwfl_Module *module = process && process->dwfl ? dwfl_addrmodule(process->dwfl, s->frames[i].pc) : NULL;
    Dwfl_Line *line = lines && module && s->frames[i].kind == OF_PROGRAM ? dwfl_module_getsrc(module, s->frames[i].pc) : NULL;
    int number = 0;
    const char *path = NULL, *source = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
    if (module) dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, &path, NULL);
    fprintf(file, "    #%d %s at %s", i, s->frames[i].name, source ? source : path ? path : "?");
    fprintf(file, source ? ":%d\n" : "\n", number);
  }
  if (!s->whole) fprintf(file, "    (the rest cannot be read)\n");
}

/* All Rust in the program is the library: its own functions and what it brings of std. */
static bool is_librarys(const frame *f) {
  return strncmp(f->name, "sipwire_", 8) == 0 || strncmp(f->name, "_ZN", 3) == 0 || strncmp(f->name, "_R", 2) == 0;
}

bool stack_is_librarys(const stack *s) {
  for (int i = 0; i < s->count; i++)
    if (s->frames[i].kind != OF_LIBC) return s->frames[i].kind == OF_PROGRAM && (stack_plugin || is_librarys(&s->frames[i]));
  return false;
}

bool stack_has_library(const stack *s) {
  for (int i = 0; i < s->count; i++)
    if (s->frames[i].kind == OF_PROGRAM && is_librarys(&s->frames[i])) return true;
  return false;
}

const char *stack_entry(const stack *s) {
  for (int i = 0; i < s->count; i++)
    if (s->frames[i].kind == OF_PROGRAM && strncmp(s->frames[i].name, "sipwire_", 8) == 0) return s->frames[i].name;
  return NULL;
}

bool stack_has(const stack *s, const char *function) {
  for (int i = 0; i < s->count; i++)
    if (strcmp(s->frames[i].name, function) == 0) return true;
  return false;
}

bool stack_is_libc_lock(const stack *s) {
  static const char *const takes_one[] = {"malloc", "calloc", "realloc", "free", "__cxa_thread_atexit_impl"};
  for (int i = 0; i < s->count && s->frames[i].kind == OF_LIBC; i++) {
    const char *name = s->frames[i].name;
    if (strncmp(name, "__libc_", 7) == 0) name += 7;
    for (size_t k = 0; k < sizeof takes_one / sizeof *takes_one; k++)
      if (strcmp(name, takes_one[k]) == 0) return true;
  }
  return false;
}
