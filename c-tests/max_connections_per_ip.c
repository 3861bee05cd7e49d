/* modes: threads processes */
/* max_connections_per_ip: of one address so many accepted connections are open and a further one is closed and counted,
 * others are not concerned, nor is what we dial; it can be set while running. What an accept costs does not depend on how
 * many connections there are: counted in instructions of the supervisor. */
#include "deadline.h"
#include "tracer.h"
#include <limits.h>
#include <sys/resource.h>

enum { LIMIT = 4, MORE = 3, FEW = 20, MANY = 1500 };
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

static void limits(void) {
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
  served(from("127.0.0.2"));
  refused("127.0.0.2");
  set_live("max_connections_per_ip", "2"); /* those that are open stay */
  refused("127.0.0.2");
  for (int i = 0; i < LIMIT; i++) served(peer[i]);
  set_live("max_connections_per_ip", "0");
  for (int i = 0; i < 2 * LIMIT; i++) served(from("127.0.0.2"));
}

/* The supervisor's instructions from one accept to the next: the decision, and all that it does with a new connection. */
static long instructions_of_an_accept(tracer *t, const char *ip) {
  long least = LONG_MAX;
  for (int i = 0; i < 5; i++) {
    trace_stop(t);
    trace_begin(t, TRACE_ENTRY, SYS_accept4);
    h_peer *peer = from(ip);
    trace_end(t, "to an accept");
    trace_do(t, TRACE_EXIT, 0, "out of its accept");
    CHECK(t->result >= 0, "nothing was accepted: %ld", t->result);
    long n = trace_do(t, TRACE_COUNT, SYS_accept4, "to its next accept");
    trace_leave(t, 0);
    if (n < least) least = n;
    h_close(peer);
  }
  return least;
}

static void cost(void) {
  set_live("log_level", "error");
  set_live("max_connections_per_ip", "10");
  tracer *t = trace_new(h_find_task("sipwire-super"));
  long taken[2], turned_away[2];
  for (int crowd = 0, many = 0; many < 2; many++) {
    set_live("max_connections_per_ip", "10000");
    uint64_t all = STAT(accepted) + (uint64_t)((many ? MANY : FEW) - crowd);
    for (; crowd < (many ? MANY : FEW); crowd++) from(crowd % 2 ? "127.0.0.3" : "127.0.0.4");
    WAIT_NUM(all, STAT(accepted)); /* none is left that would be taken in the turn of the old limit */
    set_live("max_connections_per_ip", "10");
    turned_away[many] = instructions_of_an_accept(t, "127.0.0.3");
    taken[many] = instructions_of_an_accept(t, "127.0.0.5");
  }
  trace_free(t);
  printf("instructions: %ld and %ld to refuse one, %ld and %ld to take one, of %d and of %d connections\n", turned_away[0],
         turned_away[1], taken[0], taken[1], FEW, MANY);
  CHECK(turned_away[0] > 50 && turned_away[1] < turned_away[0] + MANY / 4, "a refusal takes %ld instructions, then %ld", turned_away[0], turned_away[1]);
  CHECK(taken[0] > 50 && taken[1] < taken[0] + MANY / 4, "an accept takes %ld instructions, then %ld", taken[0], taken[1]);
}

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 2 * MANY + 200) h_skip("needs more file descriptors");
  h_init(argc, argv);
  h_setting("max_connections_per_ip", "4");
  h_start(2);
  listener = h_listener(0);
  limits();
  cost();
  return h_finish();
}
