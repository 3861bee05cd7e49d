/* modes: threads processes */
/* sipwire_set while everything runs: it reaches every participant, for each key that docs/tuning.md calls live; what cannot
 * change says so. */
#include "harness.h"

static void change(h_sender *self) {
  (void)self;
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "worker_hold", "400ms", NULL, 0));
}

/* Every row of the tables of docs/tuning.md: `key` | default | unit | live | ... Returns how many there are. */
static int every_key(void) {
  FILE *page = fopen("docs/tuning.md", "r");
  CHECK(page, "docs/tuning.md: %s", strerror(errno));
  char row[600], key[64], text[64], live[8], line[300];
  int rows = 0;
  while (fgets(row, sizeof row, page)) {
    if (sscanf(row, "| `%63[a-z0-9_]` | %*[^|] | %*[^|] | %7[a-z] |", key, live) != 2) continue;
    if (sipwire_get(h_instance, key, text, sizeof text) < 0) continue; /* another table */
    rows++;
    bool is_live = strcmp(live, "yes") == 0;
    CHECK(is_live || strcmp(live, "no") == 0, "%s", row);
    int32_t rc = sipwire_set(h_instance, key, text, line, sizeof line); /* its own value changes nothing */
    CHECK(rc == (is_live ? SIPWIRE_OK : SIPWIRE_E_NOT_LIVE), "%s is %s, live: %s; set to that: %d (%s)", key, text, live, rc, line);
    if (!is_live) CHECK(strstr(line, key) && strstr(line, "before the start") && !strchr(line, '\n'), "the line is: %s", line);
    if (is_live) CHECK(line[0] == 0, "no mistake, and the line is: %s", line);
  }
  fclose(page);
  return rows;
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
  int rows = every_key();
  CHECK(rows > 50, "docs/tuning.md has %d rows", rows);

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

  /* A list of networks is a text of many bytes; it is taken whole or not at all. */
  h_text longest = {0};
  static char networks[20000], got[20000];
  for (int i = 0; longest.length < 16000; i++) {
    int n = snprintf(networks + longest.length, sizeof networks - longest.length, "%s10.%d.%d.1", i ? ", " : "", i / 256, i % 256);
    longest.length += (size_t)n;
  }
  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "trusted_networks", networks, line, sizeof line));
  CHECK_RC((int64_t)longest.length, sipwire_get(h_instance, "trusted_networks", got, sizeof got));
  CHECK(strcmp(networks, got) == 0, "another list: %.200s", got);
  size_t end = longest.length;
  while (end < sizeof networks - 30) end += (size_t)snprintf(networks + end, sizeof networks - end, ", 11.%zu.%zu.1", end % 200, end / 200 % 200);
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "trusted_networks", networks, line, sizeof line));
  CHECK(strstr(line, "trusted_networks") && strstr(line, "fewer, wider"), "the line is: %s", line);
  CHECK_RC((int64_t)longest.length, sipwire_get(h_instance, "trusted_networks", got, sizeof got));

  CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "max_message_size", "4096", NULL, 0));
  h_write_text(peer, h_request("OPTIONS", "three", NULL, NULL));
  h_await_answer(peer, 200, "three");
  return h_finish();
}
