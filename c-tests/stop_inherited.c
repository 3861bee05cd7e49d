/* modes: none */
/* A stop that a new supervisor finds in its first turn: what its predecessor left is told all the same, by the workers,
 * which end with the predecessor and come again. */
#include "harness.h"

static sipwire_loop *supervisor, *worker;

static sipwire_loop *make(int32_t role) {
  sipwire_loop *loop = NULL;
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(h_instance, role, 0, &loop));
  return loop;
}

static int32_t step(sipwire_loop **loop) {
  if (!*loop) return SIPWIRE_E_SHUTTING_DOWN;
  int32_t rc = sipwire_loop_step(*loop);
  if (rc < 0) {
    sipwire_loop_free(*loop);
    *loop = NULL;
  }
  return rc;
}

static bool both(void) {
  step(&supervisor);
  if (step(&worker) == SIPWIRE_E_SUPERVISOR_GONE) {
    for (int i = 0; i < 20; i++) step(&supervisor); /* which sees for a while that there is no worker */
    worker = make(SIPWIRE_ROLE_WORKER);
  }
  return true;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "8m");
  h_create(1);
  supervisor = make(SIPWIRE_ROLE_SUPERVISOR);
  worker = make(SIPWIRE_ROLE_WORKER);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 4096);
  h_write_text(peer, h_request("OPTIONS", "first", NULL, NULL));
  WAIT(both() && h_find(EV_MESSAGE, 0, "Call-ID: first"), "it is read");
  peer->paused = true;
  sipwire_target to = h_to_conn(h_find(EV_MESSAGE, 0, NULL)->conn_id);
  uint32_t number = 0;
  while (h_send_numbered_here(&to, 1, number, 60000) != SIPWIRE_QUEUED) number++;

  sipwire_loop_free(supervisor);
  supervisor = make(SIPWIRE_ROLE_SUPERVISOR);
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  /* The worker of the one before still is in a script, for longer than a worker is waited for where there is none. */
  for (uint64_t until = h_now_ms() + 1500; h_now_ms() < until; h_sleep_ms(10)) CHECK(step(&supervisor) >= 0, "it does not wait for the worker");
  WAIT(both() && !supervisor && !worker, "both end");
  CHECK_NUM(1, h_failure_count((uint64_t)1 << 32 | number));
  CHECK_NUM(1, h_total(EV_OPEN));
  CHECK_NUM(1, h_total(EV_CLOSE));
  CHECK_NUM(SIPWIRE_REASON_SUPERVISOR_GONE, h_nth(EV_CLOSE, 0)->reason);
  sipwire_loop *late = NULL;
  CHECK_RC(SIPWIRE_E_SHUTTING_DOWN, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 0, &late));
  h_close(peer);
  return h_finish();
}
