/* modes: processes */
/* The supervisor runs out of fds: accept pauses, which the statistics show, what is open is served, and accept goes on
 * when there are fds again. No connection in the backlog is lost. */
#include "harness.h"
#include <sys/resource.h>

enum { PEERS = 60 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("fd_cache", "4");
  h_start(2);
  struct rlimit old, low;
  CHECK(prlimit(h_supervisor_pid(), RLIMIT_NOFILE, NULL, &old) == 0, "prlimit: %s", strerror(errno));
  low = old;
  low.rlim_cur = (rlim_t)h_count_fds(h_supervisor_pid()) + 20;
  CHECK(prlimit(h_supervisor_pid(), RLIMIT_NOFILE, &low, NULL) == 0, "prlimit: %s", strerror(errno));
  h_peer *peer[PEERS];
  for (int i = 0; i < PEERS; i++) {
    peer[i] = h_client();
    h_write_text(peer[i], h_request("OPTIONS", "many", NULL, NULL));
  }
  WAIT(STAT(accept_paused) == 1, "accept pauses");
  CHECK(STAT(accept_pauses) >= 1, "accept_pauses is 0");
  uint64_t accepted = STAT(accepted);
  CHECK(accepted >= 5 && accepted < PEERS, "%llu connections were accepted", (unsigned long long)accepted);
  for (uint64_t i = 0; i < accepted && i < 5; i++) h_await_answer(peer[i], 200, "many"); /* accept is in order */
  size_t logs = (size_t)h_total(EV_LOG);
  STAYS(1500, STAT(accept_paused) == 1, "accept does not stay paused");
  CHECK_NUM(1, STAT(accept_pauses));
  CHECK(h_total(EV_LOG) <= logs + 10, "%llu log records in 1.5 s", (unsigned long long)(h_total(EV_LOG) - logs));

  for (int i = 0; i < 5; i++) h_close(peer[i]); /* room for some */
  WAIT(STAT(accepted) > accepted, "accept goes on when connections close");
  CHECK(prlimit(h_supervisor_pid(), RLIMIT_NOFILE, &old, NULL) == 0, "prlimit: %s", strerror(errno));
  for (int i = 5; i < PEERS; i++) h_await_answer(peer[i], 200, "many");
  WAIT(STAT(accept_paused) == 0, "no longer paused");
  CHECK_NUM(PEERS, STAT(accepted));
  return h_finish();
}
