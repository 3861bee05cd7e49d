/* Could a call sleep? Not whether it does this time: a descriptor that blocks is one that blocks one day. See tracer.h. */
#include "tracer.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool peek(pid_t pid, uint64_t address, void *out, size_t size) {
  struct iovec here = {out, size}, there = {(void *)(uintptr_t)address, size};
  return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)size;
}

/* A time that a call waits at most; false: not at all. */
static bool waits(pid_t pid, uint64_t timespec_address) {
  struct timespec t;
  return timespec_address == 0 || !peek(pid, timespec_address, &t, sizeof t) || t.tv_sec != 0 || t.tv_nsec != 0;
}

static bool is_nonblocking(pid_t pid, int fd) {
  char path[64], line[128];
  unsigned flags = 0;
  snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", pid, fd);
  FILE *file = fopen(path, "re");
  if (!file) return true; /* another thread has closed it since: the call fails at once */
  while (fgets(line, sizeof line, file) && sscanf(line, "flags: %o", &flags) != 1) {}
  fclose(file);
  return flags & O_NONBLOCK;
}

/* What it is goes to `what`. */
static bool fd_blocks(pid_t pid, int fd, char *what, size_t size) {
  char path[64];
  struct stat s;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
  ssize_t n = readlink(path, what, size - 1);
  what[n > 0 ? n : 0] = 0;
  if (n < 0) return false; /* not open: the call fails at once */
  if (what[0] == '/' && stat(path, &s) == 0) {
    if (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode)) return false;
    /* null, zero, urandom */
    if (S_ISCHR(s.st_mode) && major(s.st_rdev) == 1 && (minor(s.st_rdev) == 3 || minor(s.st_rdev) == 5 || minor(s.st_rdev) == 9))
      return false;
  }
  return !is_nonblocking(pid, fd);
}

/* A copy of its descriptor is asked: only connect needs to know, and only of a socket that blocks. */
static bool is_datagram(pid_t pid, int fd) {
  int process = (int)syscall(SYS_pidfd_open, pid, 0), type = 0;
  int copy = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, fd, 0);
  socklen_t length = sizeof type;
  if (copy >= 0) {
    getsockopt(copy, SOL_SOCKET, SO_TYPE, &type, &length);
    close(copy);
  }
  if (process >= 0) close(process);
  return type == SOCK_DGRAM;
}

/* AF_UNSPEC ends a connection, and a datagram socket only notes the address. */
static bool connect_sleeps(pid_t pid, const call *c, char *what, size_t size) {
  sa_family_t family = AF_UNSPEC;
  if (!fd_blocks(pid, (int)c->args[0], what, size)) return false;
  return peek(pid, c->args[1], &family, sizeof family) && family != AF_UNSPEC && !is_datagram(pid, (int)c->args[0]);
}

static bool opens_fifo_or_device(pid_t pid, int folder, uint64_t path_address, int flags, char *path, size_t size) {
  char at[4200];
  struct stat s;
  memset(path, 0, size);
  for (size_t i = 0; i + 1 < size && peek(pid, path_address + i, path + i, 1) && path[i]; i++) {}
  if (path[0] == '/') snprintf(at, sizeof at, "/proc/%d/root%s", pid, path);
  else if (folder == AT_FDCWD) snprintf(at, sizeof at, "/proc/%d/cwd/%s", pid, path);
  else snprintf(at, sizeof at, "/proc/%d/fd/%d/%s", pid, folder, path);
  if ((flags & O_NONBLOCK) || stat(at, &s) != 0) return false;
  return S_ISFIFO(s.st_mode) || (S_ISCHR(s.st_mode) && major(s.st_rdev) != 1);
}

/* The first member of its structure. */
static uint64_t clone3_flags(pid_t pid, uint64_t address) {
  uint64_t flags = 0;
  peek(pid, address, &flags, sizeof flags);
  return flags;
}

static bool futex_sleeps(int operation) {
  switch (operation & FUTEX_CMD_MASK) {
  case FUTEX_WAKE: case FUTEX_WAKE_OP: case FUTEX_WAKE_BITSET: case FUTEX_REQUEUE: case FUTEX_CMP_REQUEUE:
  case FUTEX_CMP_REQUEUE_PI: case FUTEX_UNLOCK_PI: case FUTEX_TRYLOCK_PI:
    return false;
  default:
    return true;
  }
}

static bool ioctl_sleeps(unsigned request) {
  switch (request) {
  case TIOCOUTQ: case FIONREAD: case FIONBIO: case FIOCLEX: case FIONCLEX: case TCGETS: case TIOCGWINSZ:
    return false;
  default:
    return true;
  }
}

verdict judge(pid_t pid, const call *c, char *text, size_t size) {
  const uint64_t *a = c->args;
  char what[256] = "";
  const char *why = NULL;
  int fd = (int)a[0];
  bool polls = false;

  switch (c->number) {
  case SYS_read: case SYS_pread64: case SYS_readv: case SYS_preadv: case SYS_preadv2:
  case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: case SYS_pwritev2:
    if (fd_blocks(pid, fd, what, sizeof what)) why = "the descriptor blocks";
    break;
  case SYS_recvfrom: case SYS_sendto: case SYS_recvmmsg: case SYS_sendmmsg:
  case SYS_recvmsg: case SYS_sendmsg:
    if (!(a[c->number == SYS_recvmsg || c->number == SYS_sendmsg ? 2 : 3] & MSG_DONTWAIT) && fd_blocks(pid, fd, what, sizeof what)) why = "no MSG_DONTWAIT, and the descriptor blocks";
    break;
  case SYS_accept: case SYS_accept4:
    if (fd_blocks(pid, fd, what, sizeof what)) why = "the descriptor blocks";
    break;
  case SYS_connect:
    if (connect_sleeps(pid, c, what, sizeof what)) why = "the descriptor blocks";
    break;
  case SYS_setsockopt: {
    struct linger linger = {0, 0};
    if (a[1] == SOL_SOCKET && a[2] == SO_LINGER && peek(pid, a[3], &linger, sizeof linger) && linger.l_onoff && linger.l_linger)
      why = "SO_LINGER: the close of this socket can sleep";
    break;
  }
  case SYS_fcntl:
    if (a[1] == F_SETLKW || a[1] == F_OFD_SETLKW) why = "waits for a lock of a file";
    break;
  case SYS_flock:
    if (!(a[1] & (LOCK_NB | LOCK_UN))) why = "waits for a lock of a file";
    break;
  case SYS_ioctl:
    if (ioctl_sleeps((unsigned)a[1])) why = "the tracer does not know this request: judge it";
    break;
  case SYS_openat:
    if (opens_fifo_or_device(pid, fd, a[1], (int)a[2], what, sizeof what)) why = "opening a FIFO or a device can sleep";
    break;
  case SYS_futex:
    if (futex_sleeps((int)a[1])) why = "waits for another thread or process, for a lock say";
    break;
  case SYS_epoll_pwait: polls = (int)a[3] != 0; break;
  case SYS_epoll_pwait2: polls = waits(pid, a[3]); break;
  case SYS_ppoll: polls = waits(pid, a[2]); break;
  case SYS_pselect6: polls = waits(pid, a[4]); break;
#ifdef SYS_open
  case SYS_fork: break;
  case SYS_vfork: why = "waits until the child runs another program"; break;
  case SYS_open:
    if (opens_fifo_or_device(pid, AT_FDCWD, a[0], (int)a[1], what, sizeof what)) why = "opening a FIFO or a device can sleep";
    break;
  case SYS_epoll_wait: polls = (int)a[3] != 0; break;
  case SYS_poll: polls = (int)a[2] != 0; break;
  case SYS_select: polls = waits(pid, a[4]); break; /* a timeval, of the same layout */
#endif
  case SYS_wait4: case SYS_waitid:
    if (!(a[c->number == SYS_wait4 ? 2 : 3] & WNOHANG)) why = "waits for a child";
    break;
  case SYS_rt_sigtimedwait:
    if (waits(pid, a[2])) why = "waits for a signal";
    break;
  case SYS_msgrcv: case SYS_msgsnd:
    if (!(a[c->number == SYS_msgrcv ? 4 : 3] & IPC_NOWAIT)) why = "waits for a message queue";
    break;
  case SYS_getrandom:
    if (!(a[2] & (GRND_NONBLOCK | GRND_INSECURE))) why = "waits, early after boot, for the kernel's random numbers";
    break;
  case SYS_clone: case SYS_clone3:
    if ((c->number == SYS_clone ? a[0] : clone3_flags(pid, a[0])) & CLONE_VFORK) why = "waits until the child runs another program";
    break;
  case SYS_nanosleep: case SYS_clock_nanosleep: why = "sleeps"; break;
  case SYS_sched_yield: why = "lets others run: who does that waits for one of them"; break;
  case SYS_semop: case SYS_semtimedop: why = "waits for a semaphore"; break;
  case SYS_fsync: case SYS_fdatasync: case SYS_msync: case SYS_sync: case SYS_syncfs: why = "waits for a disk"; break;
  default: why = "the tracer does not know this call as one that cannot sleep: judge it"; break;
  }
  snprintf(text, size, "%s(%#llx%s%s, %#llx, %#llx, %#llx)%s%s", call_name(c->number), (unsigned long long)a[0],
           what[0] ? " = " : "", what, (unsigned long long)a[1], (unsigned long long)a[2], (unsigned long long)a[3],
           why ? ": " : "", why ? why : "");
  return why ? COULD : polls ? POLLS : CANNOT;
}
