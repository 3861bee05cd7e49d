/* modes: threads processes */
/* All queues together are full, under queue_full=close: who has nothing queued is not closed for a message that would not
 * have waited there, and its destination not blacklisted. */
#include "deadline.h"
#include <signal.h>

enum { HOLDERS = 2, SIZE = 8000, LARGE = 20000, WQ_MAX = 200000 };

static sipwire_addr addr;
static uint32_t id;

static void stays(const char *what) {
  sipwire_conn_info info;
  STAYS(100, h_info(id, &info) && !sipwire_blacklist_check(h_instance, &addr), "%s", what);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "150000");
  h_setting("wq_max", "200000");
  h_setting("connect_timeout", "10m");
  h_start(1);
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr), holder[HOLDERS];
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, 0, 400));
  h_peer *peer = h_accept(fd);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "the connection");
  WAIT(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK && !(h_conn_flags(id) & SIPWIRE_CONN_ASYNC), "nothing is queued");

  h_full_listener full[HOLDERS];
  for (int i = 0; i < HOLDERS; i++) {
    sipwire_addr to;
    full[i] = h_full_listener_open(&to);
    holder[i] = h_to_addr(&to);
  }
  for (uint32_t n = 0; n < WQ_MAX / SIZE - 1; n++) CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&holder[n % HOLDERS], 2 + n % HOLDERS, n / HOLDERS, SIZE));
  WAIT_NUM(HOLDERS + 1, STAT(dialled));

  sipwire_target fresh = target, lane = target;
  fresh.flags = SIPWIRE_SEND_FRESH;
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, h_send_numbered_here(&fresh, 1, 1, LARGE));
  stays("closed for a message that was to have a connection of its own");
  set_live("connections_per_destination", "3");
  lane.hash = 1;
  CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, h_send_numbered_here(&lane, 1, 2, LARGE));
  stays("closed for a message of another lane");
  if (h_mode == H_PROCESSES) { /* what this sender sends goes behind a message that waits for a dial */
    sipwire_target refused = target;
    refused.remote.ip[3] = 2;
    kill(h_supervisor_pid(), SIGSTOP);
    CHECK_RC(SIPWIRE_QUEUED, h_send_here(&refused, "OPTIONS", 7, 9));
    CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, h_send_numbered_here(&target, 1, 3, LARGE));
    kill(h_supervisor_pid(), SIGCONT);
    WAIT(h_failure(9), "its turn came");
    stays("closed though nothing waits there");
  }
  h_sender *queues = h_sender_new(); /* it has no descriptor yet and cannot write */
  h_send_numbered(queues, &target, 4, 0, 1, LARGE);
  h_sender_wait(queues);
  CHECK_RC(h_mode == H_PROCESSES ? SIPWIRE_E_TOTAL_QUEUE_FULL : SIPWIRE_SENT, queues->job.result);
  stays("closed for the sender that cannot write directly");
  CHECK(h_send_numbered_here(&target, 1, 4, 400) > 0, "a message that fits");
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 2), "it is as it was");
  for (int i = 0; i < HOLDERS; i++) close(full[i].fd);
  close(fd);
  return h_finish();
}
