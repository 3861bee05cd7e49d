/* modes: threads processes */
/* args: --full */
/* A cable that loses 8 % of the packets and takes 50 ms each way: what two senders send, and requests with their answers on
 * two connections, arrive whole, once and in order, and no time limit of ours takes the slowness for an end. */
#include "network.h"

enum { SENDERS = 2, CLIENTS = 2, SIZE = 1200 };
static h_sender *senders[SENDERS];
static h_peer *clients[CLIENTS];

static void ask(uint32_t count) {
  char name[32];
  for (uint32_t n = 0; n < count; n++)
    for (int i = 0; i < CLIENTS; i++) {
      snprintf(name, sizeof name, "ask-%d-%u", i, n);
      h_write_text(clients[i], h_request("OPTIONS", name, NULL, NULL));
    }
}

static void answered(uint32_t count) {
  char name[32];
  for (uint32_t n = 0; n < count; n++)
    for (int i = 0; i < CLIENTS; i++) {
      snprintf(name, sizeof name, "ask-%d-%u", i, n);
      h_await_answer(clients[i], 200, name);
    }
}

int main(int argc, char **argv) {
  net_open();
  h_init(argc, argv);
  uint32_t count = h_full ? 500 : 60, requests = h_full ? 200 : 20;
  if (h_full) h_time_limit(400);
  h_setting("conn_wq_max", "4m");
  net_start(2);
  sipwire_addr addr;
  int listener = net_listener(16384, &addr);
  sipwire_target target = h_to_addr(&addr);
  for (int i = 0; i < SENDERS; i++) senders[i] = h_sender_new();
  net.delay_ms = 50;
  net.loss_percent = 8;
  uint64_t lost = net.lost;
  for (int i = 0; i < CLIENTS; i++) clients[i] = net_client();

  for (uint32_t i = 0; i < SENDERS; i++) h_send_numbered(senders[i], &target, i + 1, 0, count, SIZE);
  ask(requests);
  h_peer *peer = h_accept(listener);
  answered(requests);
  for (int i = 0; i < SENDERS; i++) h_sender_wait(senders[i]);
  WAIT_FOR(h_full ? 200 : 60, (h_ledger_receive(peer), h_ledger_settled()), "all of %u messages", SENDERS * count);
  for (uint32_t tag = 1; tag <= SENDERS; tag++) CHECK_NUM(count, h_ledger_received(tag));

  printf("%llu packets lost, %llu carried\n", (unsigned long long)(net.lost - lost), (unsigned long long)net.carried);
  CHECK(net.lost > lost, "the cable has lost nothing");
  sipwire_stats stats = h_stats();
  CHECK_NUM(1, stats.dialled);
  CHECK_NUM(0, stats.closed);
  CHECK_NUM(0, stats.failures_reported);
  CHECK_NUM(0, stats.blacklist_added);
  CHECK_NUM(CLIENTS * requests, h_total(EV_MESSAGE));
  net.delay_ms = net.loss_percent = 0; /* so that the ends are seen soon */
  close(listener);
  return h_finish();
}
