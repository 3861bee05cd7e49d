/* modes: threads processes */
/* What the supervisor does for a connection that it takes, and for one that max_connections_per_ip refuses, does not depend
 * on how many there are: counted in its instructions. */
#include "deadline.h"
#include "tracer.h"
#include <sys/resource.h>

enum { FEW = 20, MANY = 1500 };
static sipwire_addr listener;

static h_peer *from(const char *ip) {
  h_peer *peer = h_connect_from(&listener, ip, 0);
  CHECK(peer, "connect from %s: %s", ip, strerror(errno));
  return peer;
}

static int by_size(const void *a, const void *b) {
  long x = *(const long *)a, y = *(const long *)b;
  return (x > y) - (x < y);
}

/* The supervisor's instructions from one accept to the next: the decision, and all that it does with a new connection. The
 * median: the turn may have had more to do, or less, because something that always follows had been done before. */
static long instructions_of_an_accept(tracer *t, const char *ip) {
  long n[5];
  for (int i = 0; i < 5; i++) {
    trace_stop(t);
    trace_begin(t, TRACE_ENTRY, SYS_accept4);
    h_peer *peer = from(ip);
    trace_end(t, "to an accept");
    trace_do(t, TRACE_EXIT, 0, "out of its accept");
    CHECK(t->result >= 0, "nothing was accepted: %ld", t->result);
    n[i] = trace_do(t, TRACE_COUNT, SYS_accept4, "to its next accept");
    trace_leave(t, 0);
    h_close(peer);
  }
  qsort(n, 5, sizeof *n, by_size);
  return n[2];
}

/* A turn of the supervisor that has begun goes on with the old limit: this returns when the new one decides. */
static void set_limit(const char *limit, bool takes_more) {
  set_live("max_connections_per_ip", limit);
  for (int i = 0;; i++) {
    CHECK(i < 1000, "the limit does not become %s", limit);
    uint64_t accepted = STAT(accepted), both = accepted + STAT(refused_max_connections_per_ip);
    h_peer *peer = from("127.0.0.3");
    WAIT(STAT(accepted) + STAT(refused_max_connections_per_ip) == both + 1, "taken or refused");
    if ((STAT(accepted) > accepted) == takes_more) return;
    h_close(peer);
  }
}

static void cost(void) {
  set_live("log_level", "error");
  tracer *t = trace_named("sipwire-super");
  long taken[2], turned_away[2];
  for (int crowd = 0, many = 0; many < 2; many++) {
    set_limit("10000", true);
    uint64_t all = STAT(accepted) + (uint64_t)((many ? MANY : FEW) - crowd);
    for (; crowd < (many ? MANY : FEW); crowd++) from(crowd % 2 ? "127.0.0.3" : "127.0.0.4");
    WAIT_NUM(all, STAT(accepted));
    set_limit("10", false);
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
  h_start(2);
  listener = h_listener(0);
  cost();
  return h_finish();
}
