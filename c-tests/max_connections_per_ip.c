/* modes: threads processes */
/* max_connections_per_ip: of one address so many accepted connections are open and a further one is closed and counted,
 * others are not concerned, nor is what we dial; it can be set while running. */
#include "deadline.h"

enum { LIMIT = 4, MORE = 3 };
static sipwire_addr listener;

static h_peer *from(const char *ip) {
  h_peer *peer = h_connect_from(&listener, ip, 0);
  CHECK(peer, "connect from %s: %s", ip, strerror(errno));
  return peer;
}

static void served(h_peer *peer) {
  h_write_text(peer, h_request("OPTIONS", "served", NULL, NULL));
  h_await_answer(peer, 200, "served");
}

static void refused(const char *ip) {
  uint64_t before = STAT(refused_max_connections_per_ip);
  h_peer *peer = from(ip);
  h_await_end(peer, "one too many of its address");
  CHECK_NUM(0, peer->length);
  WAIT_NUM(before + 1, STAT(refused_max_connections_per_ip));
  h_close(peer);
}

/* A turn of the supervisor that has begun goes on with the old limit. */
static void taken_soon(const char *ip) {
  for (int i = 0; i < 1000; i++) {
    uint64_t accepted = STAT(accepted), both = accepted + STAT(refused_max_connections_per_ip);
    h_peer *peer = from(ip);
    WAIT(STAT(accepted) + STAT(refused_max_connections_per_ip) == both + 1, "taken or refused");
    if (STAT(accepted) > accepted) return served(peer);
    h_close(peer);
  }
  h_fail(__FILE__, __LINE__, "the limit was raised, and none is taken");
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("max_connections_per_ip", "4");
  h_start(2);
  listener = h_listener(0);
  h_peer *peer[LIMIT], *others[2 * LIMIT];
  for (int i = 0; i < LIMIT; i++) served(peer[i] = from("127.0.0.2"));
  for (int i = 0; i < MORE; i++) refused("127.0.0.2");
  for (int i = 0; i < 2 * LIMIT; i++) {
    char ip[16];
    snprintf(ip, sizeof ip, "127.0.1.%d", 1 + i / LIMIT);
    served(others[i] = from(ip));
  }
  refused("127.0.1.2");
  CHECK_NUM(3 * LIMIT, STAT(connections));
  CHECK_NUM(0, STAT(refused_max_connections));
  for (int i = 0; i < LIMIT; i++) served(peer[i]);

  sipwire_addr theirs; /* what we dial counts for nobody */
  int fd = h_listener_open(8, &theirs);
  sipwire_target target = h_to_addr(&theirs);
  for (int i = 0; i < LIMIT + 1; i++) {
    target.flags = SIPWIRE_SEND_FRESH;
    CHECK(h_send_here(&target, "OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n", 44, 1) > 0, "dial %d", i);
    h_accept(fd);
  }
  WAIT_NUM(LIMIT + 1, STAT(connected));
  served(from("127.0.0.1"));
  close(fd);

  for (int i = 0; i < 3; i++) { /* one that ends makes room for one */
    uint64_t closed = STAT(closed);
    h_close(peer[i]);
    WAIT_NUM(closed + 1, STAT(closed));
    served(peer[i] = from("127.0.0.2"));
    refused("127.0.0.2");
  }
  set_live("max_connections_per_ip", "5"); /* those that are open count */
  taken_soon("127.0.0.2");
  refused("127.0.0.2");
  set_live("max_connections_per_ip", "2"); /* those that are open stay */
  refused("127.0.0.2");
  for (int i = 0; i < LIMIT; i++) served(peer[i]);
  set_live("max_connections_per_ip", "0");
  taken_soon("127.0.0.2");
  for (int i = 0; i < 2 * LIMIT; i++) served(from("127.0.0.2"));
  return h_finish();
}
