/* modes: threads processes */
/* Signals come every few hundred microseconds to everybody who takes any, and every third call into the kernel that the
 * library makes is interrupted by one: nothing is lost, nothing comes twice, and no descriptor is closed twice, which would
 * be one that the host has opened meanwhile. */
#include "harness.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { PEERS = 4, ROUNDS = 25, BURST = 4, END = 30, INTERRUPTED };

/* ---- the kernel, as the library sees it ---- */
static _Thread_local bool in_sender; /* in a call that a host's thread makes */
static bool is_the_librarys(void) {
  char name[17] = "";
  return in_sender || (prctl(PR_GET_NAME, name) == 0 && strncmp(name, "sipwire-", 8) == 0);
}
static bool interrupted(void) {
  static _Atomic uint32_t calls;
  if (!is_the_librarys() || ++calls % 3) return false;
  ++*h_word(INTERRUPTED);
  errno = EINTR;
  return true;
}
#define OR_NOT(type, name, parameters, number, ...)                                                                           \
  type name parameters;                                                                                                       \
  type name parameters { return interrupted() ? -1 : (type)syscall(number, __VA_ARGS__); }
OR_NOT(ssize_t, recv, (int fd, void *data, size_t size, int flags), SYS_recvfrom, fd, data, size, flags, NULL, NULL)
OR_NOT(ssize_t, send, (int fd, const void *data, size_t size, int flags), SYS_sendto, fd, data, size, flags, NULL, 0)
OR_NOT(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), SYS_sendmsg, fd, message, flags)
OR_NOT(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), SYS_recvmsg, fd, message, flags)
OR_NOT(int, accept4, (int fd, struct sockaddr *name, socklen_t *length, int flags), SYS_accept4, fd, name, length, flags)
OR_NOT(ssize_t, read, (int fd, void *data, size_t size), SYS_read, fd, data, size)
OR_NOT(ssize_t, write, (int fd, const void *data, size_t size), SYS_write, fd, data, size)
OR_NOT(int, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event), SYS_epoll_ctl, epoll, what, fd, event)
OR_NOT(int, shutdown, (int fd, int how), SYS_shutdown, fd, how)

/* An interrupted connect goes on, and a second one is told so. */
int connect(int fd, const struct sockaddr *name, socklen_t length) {
  int rc = (int)syscall(SYS_connect, fd, name, length);
  return interrupted() ? -1 : rc;
}

/* An interrupted close has closed. At once the number is a descriptor of the host. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int of_host[32], hosts_file = -1, next_place;
static ino_t hosts_inode;

static void check_of_host(int fd) {
  struct stat found;
  if (fd > 0 && (fstat(fd, &found) != 0 || found.st_ino != hosts_inode)) h_fail(__FILE__, __LINE__, "descriptor %d of the host was closed", fd);
}
int close(int fd) {
  int rc = (int)syscall(SYS_close, fd);
  if (!interrupted()) return rc;
  pthread_mutex_lock(&lock);
  int *place = &of_host[next_place++ % 32], old = *place;
  *place = fcntl(hosts_file, F_DUPFD_CLOEXEC, fd);
  check_of_host(old);
  if (old > 0) syscall(SYS_close, old);
  pthread_mutex_unlock(&lock);
  errno = EINTR;
  return -1;
}
static void close_of_host(void) {
  for (int i = 0; i < 32; i++) {
    check_of_host(of_host[i]);
    if (of_host[i] > 0) syscall(SYS_close, of_host[i]);
    of_host[i] = 0;
  }
}

/* ---- the signals ---- */
static void handler(int number) { (void)number; }

static void storm(void *pids) {
  for (pid_t *pid; !*h_word(END);) {
    for (pid = pids; *pid; pid++) kill(*pid, SIGUSR1);
    nanosleep(&(struct timespec){0, 300000}, NULL);
  }
}

static sipwire_addr dialled;
static void send_some(h_sender *self) {
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
  sipwire_target target = h_to_addr(&dialled);
  for (uint32_t i = 0; i < BURST; i++) {
    in_sender = true;
    int32_t by_id = h_send_numbered_here(&self->job.target, self->job.tag, self->job.first + i, 900);
    int32_t by_address = h_send_numbered_here(&target, 20, self->job.first * PEERS + (self->job.tag - 1) * BURST + i, 20000);
    in_sender = false;
    CHECK(by_id > 0 && by_address > 0, "by id %d, by address %d", by_id, by_address);
  }
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  struct stat found;
  hosts_file = memfd_create("host", MFD_CLOEXEC);
  CHECK(fstat(hosts_file, &found) == 0, "fstat");
  hosts_inode = found.st_ino;
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = handler}, NULL); /* no SA_RESTART */
  if (h_mode == H_THREADS) { /* our own part of the test is spared */
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
  }
  h_setting("worker_hold", "5ms"); /* connections change hands all the time */
  h_setting("conn_wq_max", "8m");
  h_start(2);
  int listener = h_listener_small(8, 4096, &dialled);
  h_sender *sender = h_sender_new();
  pid_t pids[5] = {h_mode == H_THREADS ? getpid() : h_supervisor_pid()};
  if (h_mode == H_PROCESSES) pids[1] = h_worker_pid(0), pids[2] = h_worker_pid(1), pids[3] = sender->pid;
  pid_t stormer = h_fork(storm, pids);
  h_expect_code(stormer, 0);
  h_peer *peer[PEERS], *far = NULL;
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < PEERS; i++) {
      char id[40], answer[60];
      snprintf(id, sizeof id, "storm-%d-%d", round, i);
      h_write_text(peer[i], h_request("OPTIONS", id, NULL, NULL));
      WAIT(h_find(EV_MESSAGE, 0, id), "%s is delivered", id);
      sender->job.target = h_to_conn(h_find(EV_MESSAGE, 0, id)->conn_id);
      sender->job.tag = (uint32_t)i + 1, sender->job.first = (uint32_t)round * BURST;
      h_sender_run(sender, send_some);
      h_sender_wait(sender);
      if (!far) far = h_accept(listener);
      snprintf(answer, sizeof answer, "Call-ID: %s\r\n", id);
      h_frame frame;
      uint32_t numbered = 0;
      for (bool answered = false; !answered || numbered < BURST;) {
        WAIT(h_next(peer[i], &frame) || h_ended(peer[i]), "%s is answered", id);
        CHECK(!h_ended(peer[i]), "the connection ended in %s", id);
        if (frame.code) answered = memmem(frame.data, frame.header_length, answer, strlen(answer)) != NULL;
        else h_ledger_take(&frame), numbered++;
      }
      if (i == round % PEERS) h_close(peer[i]), peer[i] = h_client(); /* and one comes and goes */
    }
  WAIT((h_ledger_receive(far), h_ledger_received(20) == PEERS * ROUNDS * BURST), "%u of the dialled one", h_ledger_received(20));
  CHECK(*h_word(INTERRUPTED) > 500, "only %llu calls were interrupted", (unsigned long long)*h_word(INTERRUPTED));
  *h_word(END) = 1;
  WAIT(h_gone(stormer), "it ends");
  h_ledger_check();
  close(listener);
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
  h_close(far);
  WAIT_NUM(0, STAT(slots_used));
  CHECK_NUM(0, h_total(EV_FAILED));
  h_sender_end(sender);
  h_stop();
  close_of_host();
  syscall(SYS_close, hosts_file);
  return h_finish();
}
