/* modes: threads processes */
/* Clients whose PROXY header is awaited when the instance drains or stops, or its supervisor dies: they end, and nothing
 * is left of them. */
#include "proxy.h"

enum { WAITING = 4 };
static h_peer *waiting[WAITING];

static void let_wait(void) {
  sipwire_addr listener = h_listener(0);
  for (int i = 0; i < WAITING; i++) {
    waiting[i] = h_connect(&listener);
    if (i % 2) h_write(waiting[i], "PROXY TCP4 203.", 15);
  }
  WAIT_NUM(WAITING, STAT(proxy_waiting));
}

static void all_end(const char *why) {
  for (int i = 0; i < WAITING; i++) {
    h_await_end(waiting[i], why);
    h_close(waiting[i]);
  }
}

static void one_served(const char *call_id) {
  sipwire_addr client = address("203.0.113.7:4660"), called = address("198.51.100.9:5060"), listener = h_listener(0);
  header h = header_of(2, &client, &called);
  h_peer *peer = h_connect(&listener);
  write_header(peer, &h);
  ask(peer, call_id);
  check_pair(call_id, &client, &called, &peer->local, &listener);
}

/* Its successor knows of no client that waited, and serves who comes. */
static void supervisor_dies(void) {
  let_wait();
  one_served("before");
  uint32_t id = h_find(EV_MESSAGE, 0, "Call-ID: before")->conn_id;
  int fds = h_count_fds(h_supervisor_pid());
  for (int w = 0; w < 2; w++) h_expect_exit(h_worker_pid(w));
  pid_t workers[2] = {h_worker_pid(0), h_worker_pid(1)};
  h_kill(h_supervisor_pid());
  all_end("the supervisor's death");
  WAIT(h_gone(workers[0]) && h_gone(workers[1]), "workers end");
  h_fork_supervisor();
  for (int w = 0; w < 2; w++) h_fork_worker(w);
  WAIT(h_find(EV_CLOSE, id, NULL), "the end of a connection");
  sipwire_addr client = address("203.0.113.7:4660");
  CHECK(h_addr_equal(&h_find(EV_CLOSE, id, NULL)->remote, &client), "on_close of %s", h_addr_text(&h_find(EV_CLOSE, id, NULL)->remote));
  WAIT_NUM(0, STAT(proxy_waiting));
  WAIT_NUM(0, STAT(slots_used));
  one_served("after");
  let_wait();
  WAIT(h_count_fds(h_supervisor_pid()) <= fds + 2, "%d descriptors, %d before", h_count_fds(h_supervisor_pid()), fds);
  for (int i = 0; i < WAITING; i++) h_close(waiting[i]);
  WAIT_NUM(0, STAT(proxy_waiting));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("proxy_timeout", "60s");
  h_setting("proxy_protocol", "required");
  h_start(2);
  if (h_mode == H_PROCESSES) supervisor_dies();
  one_served("asked");
  uint64_t refused = STAT(refused_proxy);
  let_wait();
  CHECK_RC(SIPWIRE_OK, sipwire_drain(h_instance, 600000));
  all_end("a drain");
  WAIT_NUM(0, STAT(proxy_waiting));
  WAIT_NUM(0, STAT(slots_used));
  CHECK_NUM(refused, STAT(refused_proxy));
  return h_finish();
}
