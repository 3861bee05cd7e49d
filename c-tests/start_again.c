/* modes: threads */
/* A sipwire_start that fails for want of descriptors leaves nothing, and the next one serves as if it were the first. */
#include "harness.h"
#include <fcntl.h>
#include <sys/resource.h>

enum { WORKERS = 3 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_create(WORKERS);
  struct rlimit full, tight;
  CHECK(getrlimit(RLIMIT_NOFILE, &full) == 0, "getrlimit: %s", strerror(errno));
  int next = open("/dev/null", O_RDONLY), before = h_count_fds(getpid()), failed = 0;
  close(next);
  int32_t rc;
  for (int more = 1; more < 60; more++) { /* each step of the start fails once */
    tight = full;
    tight.rlim_cur = (rlim_t)(next + more);
    CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0, "setrlimit: %s", strerror(errno));
    errno = 0;
    rc = sipwire_start(h_instance);
    int error = errno;
    CHECK(setrlimit(RLIMIT_NOFILE, &full) == 0, "setrlimit: %s", strerror(errno));
    if (rc == SIPWIRE_OK) break;
    failed++;
    CHECK_RC(SIPWIRE_E_SYSTEM, rc);
    CHECK(error == EMFILE, "errno is %d (%s)", error, strerror(error));
    WAIT(h_count_fds(getpid()) == before - 1, "%d descriptors, %d before the failed start", h_count_fds(getpid()), before - 1);
    CHECK_NUM(0, h_total(EV_WORKER_START));
    for (int w = 0; w < WORKERS; w++) CHECK(!h_worker(w).running, "worker %d runs", w);
    CHECK_NUM(0, STAT(participants_died));
  }
  CHECK_RC(SIPWIRE_OK, rc);
  CHECK(failed >= 5, "only %d starts failed", failed);
  for (int w = 0; w < WORKERS; w++) WAIT(h_worker(w).running, "worker %d runs", w);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "served", NULL, NULL));
  h_await_answer(peer, 200, "served");
  h_close(peer);
  WAIT(STAT(slots_used) == 0, "closed");
  h_stop();
  return h_finish();
}
