/* modes: threads processes */
/* args: --full */
/* A sender is stopped in the middle of sipwire_send, with the gate in its hand: before its write, right behind it, behind
 * a write of which the kernel took a part, and at many instructions of what follows. Nobody else waits: other senders,
 * a worker and the test itself go on, also with this very connection. When the sender goes on nothing is lost or doubled. */
#include "tracer.h"
#include <sys/socket.h>

enum { TID = 0, EACH = 4, SIZE = 1000, LARGE = 60000 };
static sipwire_addr listener;
static h_sender *victim, *other, *worker;
static tracer *t; /* of the victim */
static h_peer *theirs, *mine; /* the connection that is being written; another one */
static sipwire_target to_theirs, to_mine;
static uint32_t number[6], in_the_middle;

static void say_task(h_sender *self) {
  (void)self;
  *h_word(TID) = (uint64_t)syscall(SYS_gettid);
}

static void send_to(h_sender *sender, const sipwire_target *target, uint32_t tag, uint32_t count, size_t size) {
  h_send_numbered(sender, target, tag, number[tag], count, size);
  number[tag] += count;
}

/* A sender in a process of its own is passed the descriptor at its second message. */
static void until_it_writes_itself(void) {
  for (int i = 0; i == 0 || victim->job.sent == 0; i++) {
    CHECK(i < 1000, "the sender never writes itself");
    send_to(victim, &to_theirs, 1, 1, SIZE);
    h_sender_wait(victim);
    WAIT((h_ledger_receive(theirs), h_ledger_received(1) == number[1]), "its message");
  }
}

/* All that others do comes to its end while the sender stands still; that it does is the point. */
static void others_go_on(void) {
  send_to(other, &to_theirs, 2, EACH, SIZE);
  h_sender_wait(other);
  CHECK_NUM(0, other->job.refused);
  send_to(worker, &to_theirs, 3, EACH, SIZE);
  h_sender_wait(worker);
  CHECK_NUM(0, worker->job.refused);
  CHECK(h_send_numbered_here(&to_theirs, 4, number[4]++, SIZE) > 0, "the test's send");
  send_to(other, &to_mine, 5, EACH, SIZE);
  h_sender_wait(other);
  WAIT((h_ledger_receive(mine), h_ledger_received(5) == number[5]), "another connection");
  h_peer *fresh = h_client();
  h_write_text(fresh, h_request("OPTIONS", "fresh", NULL, NULL));
  h_await_answer(fresh, 200, "fresh");
  h_close(fresh);
}

static void others_are_done(void) {
  for (uint32_t tag = 1; tag <= 4; tag++)
    WAIT((h_ledger_receive(theirs), h_ledger_received(tag) == number[tag]), "sender %u: %u of %u messages arrived", tag,
         h_ledger_received(tag), number[tag]);
  CHECK(!h_find(EV_CLOSE, to_theirs.conn_id, NULL) && !h_find(EV_CLOSE, to_mine.conn_id, NULL), "a connection was closed");
  CHECK_NUM(0, h_total(EV_FAILED));
}

static bool in_its_send(void) {
  int done = 0;
  return sem_getvalue(&victim->done, &done) == 0 && done == 0;
}

/* The sender's next message is stopped at its write. */
static void stop_at_write(size_t size) {
  trace_stop(t);
  trace_begin(t, TRACE_ENTRY, TRACE_SEND);
  send_to(victim, &to_theirs, 1, 1, size);
  trace_end(t, "to its write");
}

static void goes_on(void) {
  h_sender_wait(victim);
  CHECK_NUM(0, victim->job.refused);
  theirs->paused = false;
  others_are_done();
  until_it_writes_itself();
}

static void before_its_write(void) {
  stop_at_write(SIZE);
  uint32_t before = h_ledger_received(2);
  others_go_on();
  /* nobody else may write there now */
  STAYS(150, (h_ledger_receive(theirs), in_its_send() && h_ledger_received(2) == before), "written beside the gate's holder");
  trace_leave(t, 0);
  goes_on();
}

/* `part`: the kernel takes a part of it only. `meanwhile`: others queue before the sender comes to let the gate go. Then
 * it takes so many steps more, -1: all to its next system call. Returns how many. */
static long behind_its_write(bool part, bool meanwhile, long steps) {
  int fd = h_library_fd(to_theirs.conn_id), bytes = 4096;
  if (part) CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0, "SO_SNDBUF: %s", strerror(errno));
  close(fd);
  theirs->paused = part;
  stop_at_write(part ? LARGE : SIZE);
  long written = trace_do(t, TRACE_EXIT, 0, "out of its write");
  CHECK(part ? written > 0 && written < LARGE : written == SIZE, "the write returned %ld", written);
  if (meanwhile) others_go_on();
  if (steps < 0) steps = trace_do(t, TRACE_COUNT, -1, "to its next system call");
  else trace_do(t, TRACE_STEPS, steps, "so far");
  bool by_signal = h_mode == H_PROCESSES;
  if (by_signal) trace_leave(t, SIGSTOP);
  others_go_on();
  in_the_middle += in_its_send();
  if (by_signal) kill(t->task, SIGCONT);
  else trace_leave(t, 0);
  goes_on();
  return steps;
}

static void at_many_instructions(bool part, bool meanwhile) {
  int rounds = h_full ? 60 : 6;
  long all = behind_its_write(part, meanwhile, -1);
  CHECK(all > rounds, "%ld instructions", all);
  for (int i = 0; i < rounds; i++) behind_its_write(part, meanwhile, all * i / rounds);
}

/* The connection ends under the one that writes it: its slot waits for him, and nobody else does. */
static void connection_ends(void) {
  stop_at_write(SIZE);
  uint32_t id = to_theirs.conn_id;
  h_reset(theirs);
  sipwire_conn_info info;
  WAIT(!h_info(id, &info) || info.flags & SIPWIRE_CONN_CLOSING, "the connection ends");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_numbered_here(&to_theirs, 4, number[4], SIZE));
  send_to(other, &to_mine, 5, EACH, SIZE);
  h_sender_wait(other);
  WAIT((h_ledger_receive(mine), h_ledger_received(5) == number[5]), "another connection");
  CHECK(!h_find(EV_CLOSE, id, NULL), "ended under its writer");
  trace_leave(t, 0);
  h_sender_wait(victim);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  WAIT(h_ledger_settled(), "the last message is neither refused nor reported");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  h_setting("send_timeout", "10m");
  h_setting("worker_stall", "60s");
  h_start(2);
  listener = h_listener(0);
  victim = h_sender_new();
  other = h_sender_new();
  h_sender_run(victim, say_task);
  h_sender_wait(victim);
  t = trace_new((pid_t)*h_word(TID));
  mine = h_client();
  to_mine = h_to_conn(h_conn_of(mine));
  theirs = h_connect_small(&listener, 4096);
  to_theirs = h_to_conn(h_conn_of(theirs));
  worker = h_sender_in_worker(theirs);
  until_it_writes_itself();

  before_its_write();
  for (int i = 0; i < 4; i++) at_many_instructions(i & 1, i & 2);
  CHECK(in_the_middle > 0, "it had sent all each time");
  connection_ends();
  trace_free(t);
  return h_finish();
}
