/* The calls that cannot sleep whatever their arguments are; see tracer.h. Every other one stops the caller, and is judged. */
#include "tracer.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

typedef struct named { long number; const char *name; } named;
#define CALL(name) {SYS_##name, #name}

/* Memory, identity, signals, descriptors, socket options, wake-ups. Of setsockopt see install_filter. The kernel's own
 * short locks, page faults and the disks behind regular files are nobody's wait for another participant or a peer. */
static const named cannot_sleep[] = {
  CALL(brk), CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise), CALL(membarrier),
  CALL(getpid), CALL(gettid), CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), CALL(uname),
  CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(getcpu), CALL(getrusage), CALL(sysinfo),
  CALL(getrlimit), CALL(prlimit64), CALL(sched_getaffinity), CALL(getpriority), CALL(setpriority), CALL(sched_setscheduler),
  CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigpending), CALL(sigaltstack),
  CALL(kill), CALL(tkill), CALL(tgkill), CALL(setitimer), CALL(prctl), CALL(rseq), CALL(set_robust_list),
  CALL(set_tid_address), CALL(restart_syscall), CALL(exit), CALL(exit_group),
  CALL(close), CALL(dup), CALL(dup3), CALL(lseek), CALL(fstat), CALL(newfstatat), CALL(statx), CALL(readlinkat),
  CALL(faccessat), CALL(getdents64), CALL(mkdirat), CALL(mknodat), CALL(unlinkat), CALL(pipe2), CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime),
  CALL(epoll_create1), CALL(epoll_ctl), CALL(pidfd_open), CALL(memfd_create), CALL(ftruncate),
  CALL(socket), CALL(socketpair), CALL(bind), CALL(listen), CALL(shutdown), CALL(getsockname), CALL(getpeername),
  CALL(getsockopt),
#ifdef SYS_arch_prctl
  CALL(arch_prctl),
#endif
#ifdef SYS_stat
  CALL(stat), CALL(lstat), CALL(access), CALL(readlink), CALL(dup2), CALL(pipe), CALL(alarm), CALL(epoll_create), CALL(eventfd),
  CALL(mkdir), CALL(rmdir), CALL(mknod), CALL(unlink),
#endif
};

/* Only their names. */
static const named judged[] = {
  CALL(read), CALL(pread64), CALL(readv), CALL(preadv), CALL(preadv2), CALL(write), CALL(pwrite64), CALL(writev),
  CALL(pwritev), CALL(pwritev2), CALL(recvfrom), CALL(recvmsg), CALL(recvmmsg), CALL(sendto), CALL(sendmsg), CALL(sendmmsg),
  CALL(accept), CALL(accept4), CALL(connect), CALL(setsockopt), CALL(fcntl), CALL(ioctl), CALL(flock), CALL(openat),
  CALL(epoll_pwait), CALL(epoll_pwait2), CALL(ppoll), CALL(pselect6), CALL(futex), CALL(nanosleep), CALL(clock_nanosleep),
  CALL(wait4), CALL(waitid), CALL(rt_sigtimedwait), CALL(rt_sigsuspend), CALL(msgrcv), CALL(msgsnd), CALL(semop),
  CALL(semtimedop), CALL(mq_timedreceive), CALL(mq_timedsend), CALL(fsync), CALL(fdatasync), CALL(msync), CALL(sync),
  CALL(syncfs), CALL(getrandom), CALL(sched_yield), CALL(clone), CALL(clone3), CALL(execve), CALL(splice), CALL(sendfile),
  CALL(io_getevents),
#ifdef SYS_open
  CALL(open), CALL(epoll_wait), CALL(poll), CALL(select), CALL(pause), CALL(fork), CALL(vfork),
#endif
};
enum { CANNOT_SLEEP = sizeof cannot_sleep / sizeof *cannot_sleep, JUDGED = sizeof judged / sizeof *judged };

const char *call_name(long number) {
  static char other[40];
  for (size_t i = 0; i < JUDGED; i++)
    if (judged[i].number == number) return judged[i].name;
  for (size_t i = 0; i < CANNOT_SLEEP; i++)
    if (cannot_sleep[i].number == number) return cannot_sleep[i].name;
  snprintf(other, sizeof other, "system call %ld", number);
  return other;
}

void install_filter(void) {
  struct sock_filter code[2 * CANNOT_SLEEP + 8];
  unsigned short n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < CANNOT_SLEEP; i++) {
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)cannot_sleep[i].number, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  /* SO_LINGER is the one option by which a later close can sleep. */
  code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 0, 3);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]));
  code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_LINGER, 1, 0);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
  struct sock_fprog program = {n, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    fprintf(stderr, "tracer: no seccomp filter: %s\n", strerror(errno));
    _Exit(77);
  }
}
