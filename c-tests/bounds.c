/* modes: threads processes */
/* A few peers cannot take what all share: pings of peers who do not read cost no block each, and when unfinished
 * messages have taken all their room, whole ones are delivered all the same. */
#include "harness.h"

enum { PINGERS = 4, BURSTS = 400 };

static void pings_of_peers_who_do_not_read(void) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer[PINGERS];
  uint64_t before = STAT(blocks_used);
  char pings[400];
  for (size_t i = 0; i < sizeof pings; i++) pings[i] = "\r\n"[i % 2];
  for (int i = 0; i < PINGERS; i++) {
    peer[i] = h_connect_small(&listener, 4096);
    sipwire_target target = h_to_conn(h_conn_of(peer[i]));
    peer[i]->paused = true;
    h_fill(&target, (uint32_t)i + 1, 0, 4000, 3); /* from now on output waits */
  }
  for (int burst = 0; burst < BURSTS; burst++)
    for (int i = 0; i < PINGERS; i++) h_write(peer[i], pings, sizeof pings);
  WAIT(STAT(pings) >= PINGERS * BURSTS * (sizeof pings / 4), "%llu pings were read", (unsigned long long)STAT(pings));
  CHECK(STAT(blocks_used) < before + 200, "%llu blocks are used, %llu before", (unsigned long long)STAT(blocks_used), (unsigned long long)before);
  for (int i = 0; i < PINGERS; i++) {
    peer[i]->paused = false; /* one pong for all, behind the messages and never inside one */
    WAIT((h_ledger_receive(peer[i]), h_ledger_received((uint32_t)i + 1) == h_ledger_accepted((uint32_t)i + 1)), "peer %d: its messages", i);
    h_frame none;
    WAIT((h_next(peer[i], &none), peer[i]->pongs >= 1), "peer %d: a pong", i);
    h_close(peer[i]);
  }
}

static void unfinished_messages_at_their_bound(void) {
  static char body[60000];
  memset(body, 'b', sizeof body);
  char head[512];
  int head_length = snprintf(head, sizeof head, "MESSAGE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKp\r\nFrom: <sip:a@b>;tag=1\r\n"
                             "To: <sip:c@d>\r\nCall-ID: parked\r\nCSeq: 1 MESSAGE\r\nContent-Length: %zu\r\n\r\n", sizeof body);
  h_peer *parked[3];
  for (int i = 0; i < 3; i++) { /* the third finds no room for its part */
    parked[i] = h_client();
    h_conn_of(parked[i]);
    h_write(parked[i], head, (size_t)head_length);
    h_write(parked[i], body, 40000);
    if (i < 2) WAIT(STAT(partial_bytes) >= (uint64_t)(i + 1) * 40000, "%llu bytes are parked", (unsigned long long)STAT(partial_bytes));
  }
  h_peer *peer = h_client();
  char id[16];
  for (int i = 0; i < 50; i++) {
    snprintf(id, sizeof id, "whole%d", i);
    h_write_text(peer, h_request("OPTIONS", id, NULL, "body"));
    h_await_answer(peer, 200, id);
  }
  h_text whole = h_request("OPTIONS", "and half", NULL, NULL); /* a whole one with half of the next behind it */
  char both[4096];
  memcpy(both, whole.data, whole.length);
  memcpy(both + whole.length, whole.data, whole.length);
  h_write(peer, both, whole.length * 3 / 2);
  h_await_answer(peer, 200, "and half");
  STAYS(100, STAT(partial_bytes) <= 80000 + 2 * 512 + 65536, "%llu bytes are parked, partial_max is 64k", (unsigned long long)STAT(partial_bytes));
  for (int i = 0; i < 3; i++) {
    h_write(parked[i], body + 40000, sizeof body - 40000);
    h_await_answer(parked[i], 200, "parked");
    h_close(parked[i]);
  }
  h_write(peer, both, whole.length - whole.length * 3 / 2 % whole.length);
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "1m");
  h_setting("partial_max", "64k");
  h_setting("send_timeout", "60s");
  h_start(2);
  pings_of_peers_who_do_not_read();
  unfinished_messages_at_their_bound();
  return h_finish();
}
