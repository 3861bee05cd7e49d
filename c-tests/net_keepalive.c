/* modes: threads processes */
/* Connections on which nothing is said, behind a cut cable: the kernel asks after keepidle, again each keepintvl, and gives
 * up when keepcnt of its questions had no answer. That ends the one that a worker holds, the one that is with the
 * supervisor and the one that the host has paused, to within 100 ms. As long as the far host answers they stay. */
#include "deadline.h"
#include "network.h"
#include <netinet/tcp.h>

enum { GIVE_UP_MS = 2000 }; /* keepidle and one keepintvl: keepcnt is 1 */
static int listener;
static sipwire_addr addr;

/* When the kernel heard from the far host. */
static uint64_t heard_ms(int fd) {
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0, "TCP_INFO: %s", strerror(errno));
  return h_now_ms() - info.tcpi_last_ack_recv;
}

static bool ends(uint32_t id, uint64_t heard) {
  WAIT(h_find(EV_CLOSE, id, NULL), "a connection without an answer ends");
  h_event *e = h_find(EV_CLOSE, id, NULL);
  CHECK(e->reason == SIPWIRE_REASON_IO_ERROR && e->error == ETIMEDOUT, "reason %s, errno %d", sipwire_reason_text(e->reason), e->error);
  return net_in_time("keepidle + keepintvl", GIVE_UP_MS, heard, heard, e->time_ms);
}

static bool silent(uint32_t tag) {
  sipwire_target target = h_to_addr(&addr);
  sipwire_conn_info info;
  set_live("worker_hold", "10ms");
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, tag, 0, 400));
  h_peer *idle = h_accept(listener);
  WAIT((h_ledger_receive(idle), h_ledger_received(tag) == 1), "the message of the dialled one");
  WAIT(h_info(h_conn_of(idle), &info) && info.owner == SIPWIRE_OWNER_IDLE, "with the supervisor");
  set_live("worker_hold", "1h");
  h_peer *held = net_client();
  h_write_text(held, h_request("OPTIONS", "held", NULL, NULL));
  h_await_answer(held, 200, "held");
  h_peer *paused = net_client();
  uint32_t idle_id = h_conn_of(idle), held_id = h_conn_of(held), paused_id = h_conn_of(paused);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_pause(h_instance, paused_id));
  h_write_text(paused, h_request("OPTIONS", "paused", NULL, NULL));
  WAIT(h_info(held_id, &info) && info.owner == SIPWIRE_OWNER_HELD, "held by a worker");
  CHECK(h_info(idle_id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "owner is %d", info.owner);
  WAIT(h_info(paused_id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "not read");
  int idle_fd = h_library_fd(idle_id), held_fd = h_library_fd(held_id), paused_fd = h_library_fd(paused_id);
  if (idle_fd < 0 || held_fd < 0 || paused_fd < 0) h_skip("the kernel does not let us have the library's descriptors");

  uint64_t begin = h_now_ms();
  WAIT(heard_ms(idle_fd) > begin + 500 && heard_ms(held_fd) > begin + 500 && heard_ms(paused_fd) > begin + 500, "all are asked, and the far host answers");
  CHECK(h_conn_flags(idle_id) && h_info(held_id, &info), "one that is answered has ended");
  net_cut();
  uint64_t idle_heard = heard_ms(idle_fd), held_heard = heard_ms(held_fd), paused_heard = heard_ms(paused_fd);
  close(idle_fd), close(held_fd), close(paused_fd);
  bool exact = ends(idle_id, idle_heard) & ends(held_id, held_heard) & ends(paused_id, paused_heard);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr));
  net_mend();
  h_close(idle), h_close(held), h_close(paused);
  WAIT(STAT(connections) == 0, "closed");
  return exact;
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("keepidle", "1s");
  h_setting("keepintvl", "1s");
  h_setting("keepcnt", "1");
  net_start(1);
  listener = net_listener(0, &addr);
  net_attempts("keepalive", silent, 1);
  close(listener);
  return h_finish();
}
