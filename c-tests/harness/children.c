/* Part of harness.c: children of the processes mode, how each is to end, and what the kernel says of them. */

static child *newest;

/* A test that replaces who dies may fork any number. */
static child *child_new(void) {
  for (int i = 0; i < child_count; i++)
    if (children[i].gone) return &children[i];
  if (child_count == MAX_CHILDREN) h_fail("harness", 0, "too many children");
  return &children[child_count++];
}

pid_t h_fork(void (*body)(void *), void *argument) {
  fflush(NULL);
  pid_t parent = getpid(), pid = fork();
  if (pid < 0) h_fail("harness", 0, "fork: %s", strerror(errno));
  if (pid > 0) {
    newest = child_new();
    *newest = (child){.pid = pid};
    snprintf(newest->name, sizeof newest->name, "child");
    return pid;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  alarm(0);
  /* A duplicate of a peer's socket here would keep it open when the test closes it. */
  for (size_t i = 0; i < peer_count; i++)
    if (peers[i]->fd >= 0) close(peers[i]->fd);
  child_count = 0;
  body(argument);
  if (h_instance) sipwire_free(h_instance); /* this process's part; the others go on */
  _exit(0);
}

static void name_child(const char *format, int n) {
  snprintf(newest->name, sizeof newest->name, format, n);
}

static void supervisor_body(void *unused) {
  (void)unused;
  int32_t rc = sipwire_run_supervisor(h_instance);
  if (rc != SIPWIRE_OK) h_fail("supervisor", 0, "sipwire_run_supervisor returned %d (%s)", rc, sipwire_strerror(rc));
}

static void worker_body(void *number) {
  int32_t rc = sipwire_run_worker(h_instance, *(int *)number);
  if (rc == SIPWIRE_E_SUPERVISOR_GONE) _exit(H_SUPERVISOR_GONE);
  if (rc != SIPWIRE_OK) h_fail("worker", *(int *)number, "sipwire_run_worker returned %d (%s)", rc, sipwire_strerror(rc));
}

static pid_t supervisor_pid, worker_pids[MAX_CHILDREN];
pid_t h_supervisor_pid(void) { return h_mode == H_PROCESSES ? supervisor_pid : getpid(); }
pid_t h_worker_pid(int worker) { return h_mode == H_PROCESSES ? worker_pids[worker] : getpid(); }

pid_t h_fork_supervisor(void) {
  supervisor_pid = h_fork(supervisor_body, NULL);
  name_child("supervisor", 0);
  newest->runs_loop = true;
  return supervisor_pid;
}

pid_t h_fork_worker(int worker) {
  worker_pids[worker] = h_fork(worker_body, &worker);
  name_child("worker %d", worker);
  newest->runs_loop = true;
  return worker_pids[worker];
}

void h_runs_loop(pid_t pid) {
  for (int i = 0; i < child_count; i++)
    if (children[i].pid == pid) children[i].runs_loop = true;
}

/* The one that lives, if there are several with this pid: the kernel uses them again. */
static child *child_of(pid_t pid) {
  child *found = NULL;
  for (int i = 0; i < child_count; i++)
    if (children[i].pid == pid && (!found || found->gone)) found = &children[i];
  return found;
}

static void expect(pid_t pid, end end, int number) {
  child *c = child_of(pid);
  if (pid && (!c || c->gone)) h_fail("harness", 0, "process %d %s", pid, c ? "has ended before anybody said how" : "is no child");
  if (c) c->end = end, c->number = number;
}
void h_expect_exit(pid_t pid) { expect(pid, ENDS_CLEANLY, 0); }
void h_expect_code(pid_t pid, int code) { expect(pid, ENDS_WITH_CODE, code); }
void h_expect_signal(pid_t pid, int signal) { expect(pid, ENDS_BY_SIGNAL, signal); }

static bool ended_as_expected(const child *c, int status) {
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  switch (c->end) {
  case ENDS_WITH_CODE: return code == c->number;
  case ENDS_BY_SIGNAL: return signal == c->number;
  case ENDS_CLEANLY: return code == 0 || signal == SIGKILL || signal == SIGTERM || (c->runs_loop && code == H_SUPERVISOR_GONE);
  default: return code == 0;
  }
}

static void reap(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    child *c = child_of(pid);
    if (!c || c->gone) h_fail("harness", 0, "process %d was not forked by h_fork", pid);
    c->gone = true;
    if (h_instance && started) sipwire_process_died(h_instance, pid);
    if (mem->failed) fail_text("harness", 0, "a child failed, see above");
    if (!ended_as_expected(c, status))
      h_fail("harness", 0, "child %s (pid %d) ended with %s %d", c->name, pid, WIFSIGNALED(status) ? "signal" : "code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (c->end == ENDS_NOT && started) h_fail("harness", 0, "child %s (pid %d) ended early", c->name, pid);
  }
}

bool h_gone(pid_t pid) {
  child *c = child_of(pid);
  return !c || c->gone;
}

void h_kill(pid_t pid) {
  h_expect_signal(pid, SIGKILL);
  kill(pid, SIGKILL);
  WAIT(h_gone(pid), "process %d does not end by SIGKILL", pid);
}

static bool read_file(const char *path, char *out, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
  if (fd >= 0) close(fd);
  out[n > 0 ? n : 0] = 0;
  return n > 0;
}

static pid_t find_task_in(pid_t pid, const char *name) {
  char path[600], comm[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *dir = opendir(path);
  pid_t found = 0;
  for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
    snprintf(path, sizeof path, "/proc/%d/task/%s/comm", pid, entry->d_name);
    if (entry->d_name[0] == '.' || !read_file(path, comm, sizeof comm)) continue;
    comm[strcspn(comm, "\n")] = 0;
    if (strcmp(comm, name) == 0) found = atoi(entry->d_name);
  }
  if (dir) closedir(dir);
  return found;
}

pid_t h_find_task(const char *name) {
  pid_t found = find_task_in(getpid(), name);
  for (int i = 0; i < child_count && !found; i++)
    if (!children[i].gone) found = find_task_in(children[i].pid, name);
  return found;
}

int h_count_fds(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  int n = 0;
  for (struct dirent *entry; dir && (entry = readdir(dir));) n += entry->d_name[0] != '.';
  if (dir) closedir(dir);
  return n - (dir && pid == getpid()); /* the directory itself */
}

/* Polls that the process has: its own, and the supervisor's if that was passed to it. */
static int polls_of(pid_t pid) {
  char path[300], target[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  int n = 0;
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0) n += strncmp(target, "anon_inode:[eventpoll]", (size_t)length) == 0;
  }
  if (dir) closedir(dir);
  return n;
}

/* Pages of files are left out: they come and go with what code runs. */
h_memory h_memory_of(pid_t pid) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  if (!read_file(path, text, sizeof text)) h_fail("harness", 0, "no %s", path);
  const char *own = strstr(text, "RssAnon:"), *shared = strstr(text, "RssShmem:");
  if (!own || !shared) h_fail("harness", 0, "%s says nothing of memory", path);
  return (h_memory){atol(own + 8), atol(shared + 9)};
}

/* No descriptor is needed for this: a test may have used them all up. */
uint64_t h_cpu_ms(pid_t task) {
  enum { OF_ALL = 2, OF_THREAD = 6 }; /* how the kernel makes a clock of a number: see clock_getcpuclockid(3) */
  bool ours = syscall(SYS_tgkill, getpid(), task, 0) == 0;
  struct timespec used;
  if (clock_gettime((clockid_t)(~(unsigned)task << 3 | (ours ? OF_THREAD : OF_ALL)), &used) != 0)
    h_fail("harness", 0, "the CPU time of task %d: %s", task, strerror(errno));
  return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}
