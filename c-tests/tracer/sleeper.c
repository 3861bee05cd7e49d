/* What the tracer has to find, and what it must not: a worker does each of these inside on_message. None really sleeps:
 * the tracer is to see that it could. Prints for each the function and the system call to be named, or `nothing`. */
#include "../harness.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* Stored after the call: with nothing to do after it, the function would not be on the stack any more. */
static volatile long kept;
static int pair[2], pipe_ends[2], tcp = -1, listener, file;
static struct sockaddr_in there;
static char byte = 'x';
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct timespec soon(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  t.tv_nsec = t.tv_nsec < 999000000 ? t.tv_nsec + 1000000 : t.tv_nsec;
  return t;
}

/* ---- these could sleep ---- */
#define ACT(name) static __attribute__((noinline)) void act_##name(void)
ACT(send) { kept = send(pair[0], &byte, 1, MSG_NOSIGNAL); }
ACT(recv) { kept = recv(pair[1], &byte, 1, 0); }
ACT(write) { kept = write(pipe_ends[1], &byte, 1); }
ACT(read) { kept = read(pipe_ends[0], &byte, 1); }
ACT(sendmsg) {
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  kept = sendmsg(pair[0], &message, 0);
}
ACT(recvmsg) {
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  kept = recvmsg(pair[1], &message, 0);
}
ACT(connect) { kept = connect(tcp, (struct sockaddr *)&there, sizeof there); }
ACT(accept) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  kept = close(fd);
}
ACT(linger) { kept = setsockopt(tcp, SOL_SOCKET, SO_LINGER, &(struct linger){1, 1}, sizeof(struct linger)); }
ACT(contended_mutex) {
  struct timespec until = soon();
  pthread_mutex_lock(&mutex);
  kept = pthread_mutex_timedlock(&mutex, &until);
  pthread_mutex_unlock(&mutex);
}
ACT(semaphore) {
  sem_t s;
  struct timespec until = soon();
  sem_init(&s, 0, 0);
  kept = sem_timedwait(&s, &until);
}
ACT(nanosleep) { kept = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, 1}, NULL); }
ACT(yield) { kept = sched_yield(); }
ACT(other_poll) { kept = poll(&(struct pollfd){pair[0], POLLOUT, 0}, 1, 1000); }
ACT(other_epoll) {
  struct epoll_event event = {.events = EPOLLOUT};
  int fd = epoll_create1(EPOLL_CLOEXEC);
  epoll_ctl(fd, EPOLL_CTL_ADD, pair[0], &event);
  kept = epoll_wait(fd, &event, 1, 1000);
  close(fd);
}
ACT(select) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pair[0], &set);
  kept = select(pair[0] + 1, NULL, &set, NULL, NULL);
}
ACT(flock) { kept = flock(file, LOCK_EX); }
ACT(record_lock) { kept = fcntl(file, F_SETLKW, &(struct flock){.l_type = F_WRLCK}); }
ACT(waitpid) { kept = waitpid(-1, NULL, 0); }
ACT(signal) {
  sigset_t none;
  sigemptyset(&none);
  kept = sigtimedwait(&none, NULL, &(struct timespec){0, 1});
}
ACT(semop) { kept = semop(-1, &(struct sembuf){0, -1, 0}, 1); }
ACT(msgrcv) { kept = msgrcv(-1, &byte, 0, 0, 0); }
ACT(fsync) { kept = fsync(file); }
ACT(getrandom) { kept = getrandom(&byte, 1, 0); }
ACT(open_fifo) {
  char folder[] = "/tmp/sipwire-fifo-XXXXXX", path[64];
  if (!mkdtemp(folder)) return;
  snprintf(path, sizeof path, "%s/fifo", folder);
  mkfifo(path, 0600);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  close(fd);
  unlink(path);
  kept = rmdir(folder);
}
ACT(unknown) { kept = syscall(SYS_tee, -1, -1, 0, 0); }

/* ---- these cannot ---- */
ACT(send_dontwait) { kept = send(pair[0], &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL); }
ACT(recv_dontwait) { kept = recv(pair[1], &byte, 1, MSG_DONTWAIT); }
ACT(eventfd) {
  uint64_t count;
  int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  kept = read(fd, &count, sizeof count);
  close(fd);
}
ACT(file) { kept = write(file, &byte, 1); }
ACT(free_mutex) {
  pthread_mutex_lock(&mutex);
  kept = pthread_mutex_unlock(&mutex);
}
ACT(wake) {
  sem_t s;
  sem_init(&s, 0, 0);
  kept = sem_post(&s) + sem_wait(&s);
}
ACT(look) { kept = poll(&(struct pollfd){pair[0], POLLIN, 0}, 1, 0); }
ACT(reap) { kept = waitpid(-1, NULL, WNOHANG); }
ACT(try_flock) { kept = flock(file, LOCK_EX | LOCK_NB); }
ACT(abort) { kept = connect(tcp, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)); }
ACT(route) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  kept = connect(fd, (struct sockaddr *)&there, sizeof there);
  close(fd);
}

#define COULD(name, call) {act_##name, "act_" #name, call}
#define CANNOT(name) {act_##name, "act_" #name, "nothing"}
static const struct act { void (*run)(void); const char *name, *call; } acts[] = {
  COULD(send, "sendto"), COULD(recv, "recvfrom"), COULD(write, "write"), COULD(read, "read"), COULD(sendmsg, "sendmsg"),
  COULD(recvmsg, "recvmsg"), COULD(connect, "connect"), COULD(accept, "accept4"), COULD(linger, "setsockopt"),
  COULD(contended_mutex, "futex"), COULD(semaphore, "futex"), COULD(nanosleep, "clock_nanosleep"), COULD(yield, "sched_yield"),
  COULD(other_poll, "poll"), COULD(other_epoll, "epoll_wait"), COULD(select, "pselect6"), COULD(flock, "flock"),
  COULD(record_lock, "fcntl"), COULD(waitpid, "wait4"), COULD(signal, "rt_sigtimedwait"), COULD(semop, "semtimedop"),
  COULD(msgrcv, "msgrcv"), COULD(fsync, "fsync"), COULD(getrandom, "getrandom"), COULD(open_fifo, "openat"),
  COULD(unknown, "system"), CANNOT(send_dontwait), CANNOT(recv_dontwait), CANNOT(eventfd), CANNOT(file), CANNOT(free_mutex),
  CANNOT(wake), CANNOT(look), CANNOT(reap), CANNOT(try_flock), CANNOT(abort), CANNOT(route)};
enum { ACTS = sizeof acts / sizeof *acts };

static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  char number[16];
  if (h_header(message->data, message->header_length, "X-Act", number, sizeof number)) acts[atoi(number)].run();
  return h_default_script(instance, message);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  socklen_t length = sizeof there;
  there.sin_family = AF_INET;
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  file = memfd_create("file", MFD_CLOEXEC);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 && pipe(pipe_ends) == 0 && file >= 0 && tcp >= 0 &&
          bind(listener, (struct sockaddr *)&there, sizeof there) == 0 && listen(listener, 8) == 0 &&
          getsockname(listener, (struct sockaddr *)&there, &length) == 0,
        "%s", strerror(errno));
  h_script = script;
  h_start(1);
  h_peer *peer = h_client();
  for (int i = 0; i < ACTS; i++) {
    char header[32];
    snprintf(header, sizeof header, "X-Act: %d\r\n", i);
    h_write_text(peer, h_request("OPTIONS", acts[i].name, header, NULL));
    h_await_answer(peer, 200, acts[i].name);
    printf("%s %s\n", acts[i].name, acts[i].call);
  }
  const int mine[] = {pair[0], pair[1], pipe_ends[0], pipe_ends[1], tcp, listener, file};
  for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) close(mine[i]);
  h_close(peer);
  return h_finish();
}
