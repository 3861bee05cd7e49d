/* modes: threads processes */
/* A connection that we dialled was reset, and the supervisor knows it by its own write; the worker that may have been told
 * more is stopped behind its read, for longer than send_timeout. It ends as what it is: not for the time limit, and its
 * destination is not blacklisted. The supervisor does not spin meanwhile. */
#include "tracer.h"

static uint64_t cpu_ms(pid_t thread) {
  char path[64];
  unsigned long long ns = 0;
  snprintf(path, sizeof path, "/proc/%d/schedstat", (int)thread);
  FILE *file = fopen(path, "r");
  CHECK(file && fscanf(file, "%llu", &ns) == 1, "%s", path);
  fclose(file);
  return ns / 1000000;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_setting("worker_stall", "60s");
  h_setting("send_timeout", "2s");
  h_setting("conn_wq_max", "8m");
  h_start(2);
  sipwire_addr theirs;
  int fd = h_listener_open(8, &theirs);
  sipwire_target target = h_to_addr(&theirs);
  CHECK(h_send_numbered_here(&target, 1, 0, 500) > 0, "dial");
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 1), "it arrives");
  uint32_t id = h_conn_of(peer);
  h_write_text(peer, h_request("OPTIONS", "first", NULL, NULL));
  h_await_answer(peer, 200, "first");
  sipwire_conn_info info;
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_HELD, "held");
  char name[16];
  snprintf(name, sizeof name, "sipwire-w%d", info.worker);
  sipwire_target to = h_to_conn(id);
  peer->paused = true;
  uint32_t last = h_fill(&to, 2, 0, 16000, 10) - 1;

  tracer *supervisor = trace_named("sipwire-super"), *worker = trace_named(name);
  trace_stop(worker);
  trace_begin(worker, TRACE_ENTRY, SYS_recvfrom);
  halt(supervisor);
  h_reset(peer);
  trace_end(worker, "to its read");
  CHECK_NUM(-ECONNRESET, trace_do(worker, TRACE_EXIT, 0, "out of it"));
  go_on(supervisor);
  uint64_t before = cpu_ms(supervisor->task);
  WAIT(h_conn_flags(id) & SIPWIRE_CONN_CLOSING, "it ends with the time limit at the latest");
  uint64_t burnt = cpu_ms(supervisor->task) - before;
  CHECK(burnt < 1000, "the supervisor ran for %llu ms while it waited", (unsigned long long)burnt);
  trace_leave(worker, 0);

  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_PEER_RESET, h_find(EV_CLOSE, id, NULL)->reason);
  uint64_t cookie = (uint64_t)2 << 32 | last;
  WAIT(h_failure(cookie), "the report");
  CHECK_NUM(SIPWIRE_REASON_PEER_RESET, h_failure(cookie)->reason);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &theirs));
  trace_free(supervisor);
  trace_free(worker);
  h_close(peer);
  close(fd);
  return h_finish();
}
