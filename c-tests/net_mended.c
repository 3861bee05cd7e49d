/* modes: threads processes */
/* A cable that is cut and mended within the timeouts: while a connection is dialled and while messages go both ways.
 * Nothing is lost, nothing comes twice, the order is kept, and nobody is reported, closed or blacklisted. */
#include "network.h"

enum { SENDERS = 2, COUNT = 100, REQUESTS = 20, SIZE = 3000 };
static h_sender *senders[SENDERS];
static h_peer *peer, *client;

static void ask(uint32_t first, uint32_t count) {
  char name[32];
  for (uint32_t n = first; n < first + count; n++) {
    snprintf(name, sizeof name, "ask-%u", n);
    h_write_text(client, h_request("OPTIONS", name, NULL, NULL));
  }
}

static void answered(uint32_t count) {
  char name[32];
  for (uint32_t n = 0; n < count; n++) {
    snprintf(name, sizeof name, "ask-%u", n);
    h_await_answer(client, 200, name);
  }
}

static uint32_t arrived(void) {
  uint32_t sum = 0;
  h_ledger_receive(peer);
  for (uint32_t tag = 1; tag <= SENDERS; tag++) sum += h_ledger_received(tag);
  return sum;
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  h_setting("conn_wq_max", "2m");
  net_start(2);
  sipwire_addr addr;
  int listener = net_listener(16384, &addr); /* so that much of it has to wait on our side */
  sipwire_target target = h_to_addr(&addr);
  for (int i = 0; i < SENDERS; i++) senders[i] = h_sender_new();
  client = net_client();

  uint64_t lost = net.lost;
  net_cut();
  for (uint32_t i = 0; i < SENDERS; i++) h_send_numbered(senders[i], &target, i + 1, 0, COUNT, SIZE);
  for (uint32_t i = 0; i < SENDERS; i++) h_sender_wait(senders[i]);
  WAIT(net.lost > lost, "the first SYN is lost");
  net_mend();
  peer = h_accept(listener);
  WAIT(arrived() == SENDERS * COUNT, "%u messages", arrived());

  for (uint32_t i = 0; i < SENDERS; i++) h_send_numbered(senders[i], &target, i + 1, COUNT, COUNT, SIZE);
  ask(0, REQUESTS);
  WAIT(arrived() > SENDERS * COUNT, "on its way");
  net_cut();
  ask(REQUESTS, REQUESTS);
  for (uint32_t i = 0; i < SENDERS; i++) {
    h_sender_wait(senders[i]);
    h_send_numbered(senders[i], &target, i + 1, 2 * COUNT, COUNT, SIZE);
    h_sender_wait(senders[i]);
  }
  WAIT(STAT(queued_bytes) > 0, "the kernel takes no more");
  lost = net.lost;
  WAIT(net.lost >= lost + 3, "what the kernels send again is lost, too");
  net_mend();
  WAIT(arrived() == SENDERS * 3 * COUNT, "%u messages", arrived());
  answered(2 * REQUESTS);

  WAIT(h_ledger_settled(), "each message once");
  sipwire_stats stats = h_stats();
  CHECK_NUM(1, stats.dialled);
  CHECK_NUM(0, stats.closed);
  CHECK_NUM(0, stats.failures_reported);
  CHECK_NUM(0, stats.blacklist_added);
  CHECK_NUM(2 * REQUESTS, h_total(EV_MESSAGE));
  close(listener);
  return h_finish();
}
