/* modes: processes */
/* The supervisor dies after sipwire_stop and before it has ended anything: nobody will follow it, so the workers end
 * all the same, and so does whoever comes for its place. */
#include "harness.h"
#include <signal.h>

/* As a host's worker process does it: again, as long as there is to be another supervisor. */
static void work(void *unused) {
  (void)unused;
  int32_t rc;
  do rc = sipwire_run_worker(h_instance, 0);
  while (rc == SIPWIRE_E_SUPERVISOR_GONE);
  CHECK_RC(SIPWIRE_OK, rc);
}

static void end_one(bool told) {
  if (h_instance) sipwire_free(h_instance);
  h_instance = NULL;
  h_create(1);
  h_no_listener = true; /* the configuration has one now */
  pid_t supervisor = h_fork_supervisor(), worker = h_fork(work, NULL);
  h_expect_signal(supervisor, SIGKILL);
  h_expect_code(worker, 0);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "served", NULL, NULL));
  h_await_answer(peer, 200, "served");
  kill(supervisor, SIGSTOP);
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  STAYS(100, !h_gone(worker), "a worker ended before the supervisor had told the ends");
  h_kill(supervisor);
  if (told) CHECK_RC(SIPWIRE_OK, sipwire_process_died(h_instance, supervisor)); /* h_tick does so only after h_start */
  WAIT(h_gone(worker), "the worker ends, %s", told ? "told by the host" : "by its channel");
  CHECK_RC(SIPWIRE_OK, sipwire_run_supervisor(h_instance));
  CHECK_RC(SIPWIRE_OK, sipwire_run_worker(h_instance, 0));
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  end_one(true);
  end_one(false);
  return h_finish();
}
