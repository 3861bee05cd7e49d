/* modes: threads processes */
/* sipwire_stop and sipwire_detach from everywhere: a callback, a signal handler that interrupts one, two threads at
 * once. A stop is never lost, and where it promises to wait it waits. */
#include "harness.h"
#include <pthread.h>
#include <signal.h>

enum { DETACH_RC, STOP_RC, IN_CALLBACK, CALLBACK_OVER, HANDLED, HANDLER_RC, STOPPING };

static void on_sigusr1(int signal) {
  (void)signal;
  *h_word(HANDLER_RC) = (uint64_t)(int64_t)sipwire_stop(h_instance);
  *h_word(HANDLED) = 1;
}

static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  char value[8];
  if (h_header(m->data, m->header_length, "X-Detach", value, sizeof value)) {
    *h_word(DETACH_RC) = (uint64_t)(int64_t)sipwire_detach(instance);
    return h_default_script(instance, m); /* and sending goes on */
  }
  if (h_mode == H_PROCESSES) signal(SIGUSR1, on_sigusr1);
  else *h_word(STOP_RC) = (uint64_t)(int64_t)sipwire_stop(instance);
  *h_word(IN_CALLBACK) = (uint64_t)getpid();
  /* Ends well behind the beginning of what must wait for its end. */
  while (*h_word(h_mode == H_THREADS ? STOPPING : HANDLED) < (h_mode == H_THREADS ? 2 : 1)) h_sleep_ms(1);
  h_sleep_ms(100);
  *h_word(CALLBACK_OVER) = 1;
  return 0;
}

static void *second_stop(void *unused) {
  (void)unused;
  ++*h_word(STOPPING);
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  CHECK(*h_word(CALLBACK_OVER), "a second sipwire_stop returned while a callback ran");
  return NULL;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  h_start(2);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "detach", "X-Detach: 1\r\n", NULL));
  h_await_answer(peer, 200, "detach");
  CHECK_NUM(SIPWIRE_E_REENTRANT, (int64_t)*h_word(DETACH_RC));

  h_write_text(peer, h_request("OPTIONS", "stop", NULL, NULL));
  WAIT(*h_word(IN_CALLBACK), "the callback runs");
  if (h_mode == H_PROCESSES) {
    h_expect_code(h_supervisor_pid(), 0);
    for (int w = 0; w < 2; w++) h_expect_code(h_worker_pid(w), 0);
    kill((pid_t)*h_word(IN_CALLBACK), SIGUSR1);
    WAIT(*h_word(HANDLED), "the handler ran");
    CHECK_NUM(SIPWIRE_OK, (int64_t)*h_word(HANDLER_RC));
    WAIT(h_gone(h_supervisor_pid()) && h_gone(h_worker_pid(0)) && h_gone(h_worker_pid(1)), "all ended by a handler's sipwire_stop");
    CHECK(*h_word(CALLBACK_OVER), "the worker ended in the middle of the callback");
  } else {
    CHECK_NUM(SIPWIRE_E_REENTRANT, (int64_t)*h_word(STOP_RC)); /* it did not wait, and all ends */
    pthread_t other;
    CHECK(pthread_create(&other, NULL, second_stop, NULL) == 0, "pthread_create");
    ++*h_word(STOPPING);
    CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
    CHECK(*h_word(CALLBACK_OVER), "sipwire_stop returned while a callback ran");
    pthread_join(other, NULL);
  }
  h_stop();
  return h_finish();
}
