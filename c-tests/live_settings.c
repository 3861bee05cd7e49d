/* modes: threads processes */
/* sipwire_set while everything runs: it reaches every participant; what cannot change says so. */
#include "harness.h"

static void change(h_sender *self) {
  (void)self;
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "worker_hold", "400ms", NULL, 0));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "60s");
  h_start(2);
  char text[64];
  static const char *const fixed[] = {"workers", "max_connections", "participants", "log_ring"};
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
    CHECK(sipwire_set(h_instance, fixed[i], "7", NULL, 0) == SIPWIRE_E_NOT_LIVE, "%s was changed while running", fixed[i]);
    CHECK(sipwire_get(h_instance, fixed[i], text, sizeof text) > 0, "no value for %s", fixed[i]);
  }
  sipwire_get(h_instance, "workers", text, sizeof text);
  CHECK(strcmp(text, "2") == 0, "workers is %s", text);
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "no_such_key", "1", NULL, 0));
  char line[200] = "?";
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "send_timeout", "soon", line, sizeof line));
  CHECK(strstr(line, "send_timeout") && strstr(line, "soon"), "the line is: %s", line);
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "max_message_size", "16m", line, sizeof line)); /* above wq_max */
  CHECK(strstr(line, "max_message_size") && strstr(line, "wq_max"), "the line is: %s", line);
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "send_timeout", "9s", line, sizeof line));
  CHECK(line[0] == 0, "no mistake, and the line is: %s", line);
  static const char *const live[] = {"send_timeout", "connect_timeout", "conn_wq_max", "wq_max", "blacklist_ttl", "connection_lifetime",
                                     "worker_stall", "half_close_timeout", "message_timeout", "linger"};
  for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
    CHECK(sipwire_get(h_instance, live[i], text, sizeof text) > 0, "no value for %s", live[i]);
    CHECK(sipwire_set(h_instance, live[i], text, NULL, 0) == SIPWIRE_OK, "%s=%s (its own value) is refused", live[i], text);
  }

  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "one", NULL, NULL));
  h_await_answer(peer, 200, "one");
  uint32_t id = h_conn_of(peer);
  sipwire_conn_info info;
  STAYS(600, h_info(id, &info) && info.owner != SIPWIRE_OWNER_IDLE, "given back although worker_hold is 60 s");
  h_sender *sender = h_sender_new(); /* another participant changes it */
  h_sender_run(sender, change);
  h_sender_wait(sender);
  sipwire_get(h_instance, "worker_hold", text, sizeof text);
  char mine[64];
  sipwire_config_set(h_config, "worker_hold", "400ms");
  sipwire_config_get(h_config, "worker_hold", mine, sizeof mine);
  CHECK(strcmp(text, mine) == 0, "worker_hold is %s, expected %s", text, mine);
  h_write_text(peer, h_request("OPTIONS", "two", NULL, NULL));
  h_await_answer(peer, 200, "two");
  WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE, "given back after the new hold");

  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "max_message_size", "4096", NULL, 0));
  h_write_text(peer, h_request("OPTIONS", "three", NULL, NULL));
  h_await_answer(peer, 200, "three");
  return h_finish();
}
