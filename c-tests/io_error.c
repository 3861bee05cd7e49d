/* modes: threads processes */
/* The kernel gives a connection up by itself: here because its peer takes nothing for TCP_USER_TIMEOUT. Whoever meets the
 * error first (the supervisor that writes, the worker that reads, a sender) it is IO_ERROR with the kernel's errno, for
 * the connection and for each message that was not written whole. */
#include "deadline.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

enum { SIZE = 16000 };
static sipwire_addr listener;

/* The option is set when the output is stuck, and not by the setting before: else a pause of this test would do. */
static int give_up(uint32_t id) {
  int fd = h_library_fd(id), ms = 1000;
  if (fd < 0) h_skip("the kernel does not let us have the library's descriptor");
  CHECK(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) == 0, "TCP_USER_TIMEOUT: %s", strerror(errno));
  return fd;
}

static void check_closed(uint32_t id) {
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  h_event *e = h_find(EV_CLOSE, id, NULL);
  CHECK(e->reason == SIPWIRE_REASON_IO_ERROR && e->error == ETIMEDOUT, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
}

static h_peer *client(uint32_t *id) {
  h_peer *peer = h_connect_small(&listener, 4096);
  h_write_text(peer, h_request("OPTIONS", "first", NULL, NULL));
  h_await_answer(peer, 200, "first");
  *id = h_conn_of(peer);
  peer->paused = true;
  return peer;
}

/* Given back by its worker, with a queue: the supervisor meets the error when it writes. */
static void writing(void) {
  uint32_t id;
  sipwire_conn_info info;
  h_peer *peer = client(&id);
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back");
  sipwire_target target = h_to_conn(id);
  uint32_t count = h_fill(&target, 1, 0, SIZE, 5);
  close(give_up(id));
  check_closed(id);
  h_tail_failed(1, count, SIZE, SIPWIRE_REASON_IO_ERROR);
  for (uint32_t n = count - h_ledger_failed(1); n < count; n++) CHECK_NUM(ETIMEDOUT, h_failure((uint64_t)1 << 32 | n)->error);
  WAIT_NUM(1, STAT(closed_by_reason)[SIPWIRE_REASON_IO_ERROR]);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 1, count, SIZE));
  h_close(peer);
}

/* Sent by us and in the kernel: more than the peer's buffer, less than ours. One by one, so that the last ones are
 * written directly. */
static void send_some(uint32_t id, uint32_t tag) {
  sipwire_target target = h_to_conn(id);
  int32_t rc = 0;
  for (uint32_t n = 0; n < 10; n++) {
    CHECK((rc = h_send_numbered_here(&target, tag, n, 3000)) > 0, "message %u is refused", n);
    WAIT(STAT(queued_bytes) == 0 && !(h_conn_flags(id) & SIPWIRE_CONN_ASYNC), "it is in the kernel");
  }
  CHECK_RC(SIPWIRE_SENT, rc);
}

/* Held by a worker, nothing queued: the worker meets it. */
static void reading(void) {
  set_live("worker_hold", "1h");
  uint32_t id;
  h_peer *peer = client(&id);
  send_some(id, 2);
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_HELD, "the connection's owner is %d", info.owner);
  close(give_up(id));
  check_closed(id);
  CHECK_NUM(0, h_ledger_failed(2)); /* the kernel had them: not our queue */
  WAIT_NUM(2, STAT(closed_by_reason)[SIPWIRE_REASON_IO_ERROR]);
  h_close(peer);
}

/* All others are stopped, so that a sender meets it. */
static void sending(void) {
  uint32_t id;
  h_peer *peer = client(&id);
  send_some(id, 3);
  sipwire_target target = h_to_conn(id);
  kill(h_supervisor_pid(), SIGSTOP);
  for (int w = 0; w < 2; w++) kill(h_worker_pid(w), SIGSTOP);
  int fd = give_up(id);
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  WAIT(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_CLOSE, "the kernel gives it up");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&target, 3, 10, 3000));
  for (int w = 0; w < 2; w++) kill(h_worker_pid(w), SIGCONT);
  kill(h_supervisor_pid(), SIGCONT);
  check_closed(id);
  close(fd);
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("send_timeout", "10m");
  h_setting("worker_hold", "20ms");
  h_start(2);
  listener = h_listener(0);
  writing();
  reading();
  if (h_mode == H_PROCESSES) sending();
  return h_finish();
}
