/* modes: processes */
/* The kernel refuses the supervisor to pass descriptors (ETOOMANYREFS: the user has more of them in flight than the process
 * may have open). Connections whose worker has a descriptor go on, the others wait with the supervisor, senders queue, who
 * comes new takes part; nothing is closed, and the supervisor does not turn in vain. When it may pass again all is served. */
#include "harness.h"
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { PEERS = 30, LIMIT = 150, IN_FLIGHT = 400, EACH = 20 };

/* root may pass as many as it likes. A user of this test's own, whom nobody else's descriptors count for. */
static void become_a_user(void) {
  if (geteuid() != 0) return;
  uid_t user = 200000 + (uid_t)getpid();
  if (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0) h_skip("cannot become another user");
  prctl(PR_SET_DUMPABLE, 1);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* One descriptor in flight, which is in no process's table as long as nobody reads it. */
static void put_in_flight(int to, int fd) {
  union { struct cmsghdr head; char bytes[CMSG_SPACE(sizeof(int))]; } control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
  memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
  struct iovec part = {"x", 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  CHECK(sendmsg(to, &message, MSG_DONTWAIT) == 1, "in flight: %s", strerror(errno));
}

/* In a process of its own, whose end takes them back. */
static void hold_in_flight(void *unused) {
  (void)unused;
  int ends[2];
  for (int i = 0; i < IN_FLIGHT; i++) { /* a channel takes few */
    if (i % 100 == 0) CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair: %s", strerror(errno));
    put_in_flight(ends[0], 0);
  }
  *h_word(0) = 1;
  for (;;) pause();
}

static void limit(pid_t pid, rlim_t files) {
  struct rlimit now;
  CHECK(prlimit(pid, RLIMIT_NOFILE, NULL, &now) == 0, "prlimit: %s", strerror(errno));
  now.rlim_cur = files ? files : now.rlim_max;
  CHECK(prlimit(pid, RLIMIT_NOFILE, &now, NULL) == 0, "prlimit: %s", strerror(errno));
}

static void ask(h_peer *peer, const char *id) {
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_await_answer(peer, 200, id);
}

int main(int argc, char **argv) {
  become_a_user();
  h_init(argc, argv);
  h_setting("worker_hold", "100ms");
  limit(0, 0);
  h_start(2);
  h_peer *known[PEERS], *fresh[PEERS];
  for (int i = 0; i < PEERS; i++) ask(known[i] = h_client(), "known"); /* a worker has its descriptor */
  WAIT(STAT(connections_idle) == PEERS, "with the supervisor");
  pid_t child = h_fork(hold_in_flight, NULL);
  h_expect_signal(child, SIGKILL);
  WAIT(*h_word(0), "descriptors are in flight");
  limit(h_supervisor_pid(), LIMIT);
  uint64_t passed = STAT(fds_passed), closed = STAT(closed), messages = h_total(EV_MESSAGE);
  uint64_t burnt = h_cpu_ms(h_supervisor_pid()), begin = h_now_ms();
  for (int i = 0; i < PEERS; i++) h_write_text(fresh[i] = h_client(), h_request("OPTIONS", "fresh", NULL, NULL));
  WAIT(STAT(connections) == 2 * PEERS, "all are accepted");
  for (int i = 0; i < PEERS; i++) ask(known[i], "meanwhile");
  h_sender *sender = h_sender_new();
  sipwire_target target = h_to_conn(h_conn_of(known[0])), unread = h_to_conn(h_conn_of(fresh[0]));
  h_send_numbered(sender, &target, 1, 0, EACH, 1000);
  h_sender_wait(sender);
  CHECK_NUM(EACH, sender->job.queued);
  WAIT((h_ledger_receive(known[0]), h_ledger_received(1) == EACH), "what a sender without descriptor queued");
  CHECK(h_send_numbered_here(&unread, 2, 0, 1000) == SIPWIRE_QUEUED, "queued to one that waits for a worker");
  WAIT((h_ledger_receive(fresh[0]), h_ledger_received(2) == 1), "the supervisor writes it");
  STAYS(1000, h_total(EV_MESSAGE) == messages + PEERS && STAT(closed) == closed, "%llu messages, %llu closed",
        (unsigned long long)(h_total(EV_MESSAGE) - messages), (unsigned long long)(STAT(closed) - closed));
  CHECK_NUM(passed, STAT(fds_passed)); /* the kernel refused each */
  burnt = h_cpu_ms(h_supervisor_pid()) - burnt;
  printf("the supervisor used %llu ms in %llu ms\n", (unsigned long long)burnt, (unsigned long long)(h_now_ms() - begin));
  CHECK(burnt < (h_now_ms() - begin) / 4, "the supervisor used %llu ms in %llu ms", (unsigned long long)burnt, (unsigned long long)(h_now_ms() - begin));

  h_kill(child);
  for (int i = 0; i < PEERS; i++) h_await_answer(fresh[i], 200, "fresh");
  WAIT_NUM(messages + 2 * PEERS, h_total(EV_MESSAGE));
  CHECK_NUM(0, h_total(EV_FAILED));
  return h_finish();
}
