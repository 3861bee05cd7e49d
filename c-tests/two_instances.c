/* modes: threads */
/* Several instances in one process: one dials the other, each with its own callbacks, user pointer and statistics. */
#include "harness.h"

static _Atomic int answered, wrong_user;
static int mark;

static int32_t on_answer(void *user, sipwire_instance *instance, sipwire_message *m) {
  (void)instance;
  if (user != &mark) wrong_user++;
  if (strncmp(m->data, "SIP/2.0 200", 11) == 0) answered++;
  return 0;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  sipwire_config *config = sipwire_config_new();
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(config, "workers", "1"));
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_answer};
  sipwire_instance *caller = NULL;
  CHECK(sipwire_new(config, &callbacks, &mark, &caller) == SIPWIRE_OK, "%s", sipwire_config_error(config));
  CHECK_NUM(0, sipwire_listener_count(caller)); /* one that only dials */
  CHECK_RC(SIPWIRE_OK, sipwire_start(caller));
  sipwire_addr to = h_listener(0);
  sipwire_target target = h_to_addr(&to);
  enum { COUNT = 300 };
  for (int i = 0; i < COUNT; i++) {
    char id[32];
    snprintf(id, sizeof id, "two%d", i);
    h_text text = h_request("OPTIONS", id, NULL, NULL);
    sipwire_iov iov = {text.data, text.length};
    CHECK(sipwire_send(caller, &target, &iov, 1, 1) > 0, "send %d", i);
    if (i % 50 == 49) WAIT(answered == i + 1, "%d of %d answers", answered, i + 1); /* within conn_wq_max */
  }
  CHECK_NUM(0, wrong_user);
  CHECK_NUM(COUNT, h_total(EV_MESSAGE));
  sipwire_stats stats = {.struct_size = sizeof stats};
  CHECK_RC(SIPWIRE_OK, sipwire_stats_get(caller, &stats));
  CHECK_NUM(1, stats.dialled);
  CHECK_NUM(0, stats.accepted);
  CHECK_NUM(0, STAT(dialled));
  CHECK_NUM(1, STAT(accepted));
  CHECK_RC(SIPWIRE_OK, sipwire_stop(caller));
  sipwire_free(caller);
  sipwire_config_free(config);
  WAIT(STAT(connections) == 0, "the stopped one has closed its connection");
  return h_finish();
}
