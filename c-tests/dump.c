/* modes: threads processes */
/* sipwire_dump and sipwire_prometheus: the length of the whole text whatever the room, sections as asked for, figures as
 * sipwire_stats has them, from outside and within a callback. */
#include "harness.h"

static char text[1 << 20];

/* What follows `key` and a blank at the beginning of a line; -1: there is no such line. */
static long long figure(const char *key) {
  size_t length = strlen(key);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (!strncmp(line, key, length) && line[length] == ' ') return atoll(line + length + 1);
  }
  return -1;
}

static void dump(uint32_t what) {
  int64_t length = sipwire_dump(h_instance, what, text, sizeof text);
  CHECK(length > 0 && (size_t)length < sizeof text, "%lld", (long long)length);
  CHECK_NUM(length, strlen(text));
}

static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  char small[40];
  CHECK(sipwire_dump(instance, SIPWIRE_DUMP_WORKERS, small, sizeof small) > 40, "in a callback");
  CHECK(!strncmp(small, "[workers]\n", 10) && strlen(small) == sizeof small - 1, "%s", small);
  CHECK(sipwire_prometheus(instance, NULL, 0) > 1000, "in a callback");
  return h_default_script(instance, message);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  h_setting("send_timeout", "7s");
  h_start(2);
  h_peer *peers[3];
  for (int i = 0; i < 3; i++) {
    peers[i] = h_client();
    h_write_text(peers[i], h_request("OPTIONS", "seen", NULL, NULL));
    h_await_answer(peers[i], 200, "seen");
  }
  WAIT_NUM(3, STAT(messages_out));

  dump(SIPWIRE_DUMP_ALL);
  for (const char *const *section = (const char *const[]){"[instance]", "[workers]", "[participants]", "[listeners]",
                                                          "[connections]", "[blacklist]", "[settings]", NULL};
       *section; section++)
    CHECK(strstr(text, *section), "%s is not in %s", *section, text);
  CHECK_NUM(3, figure("accepted"));
  CHECK_NUM(3, figure("messages_in"));
  CHECK_NUM(3, figure("messages_out"));
  CHECK(strstr(text, "\nsend_timeout = 7s\n"), "%s", text);
  CHECK(strstr(text, "\nmax_connections = "), "settings that cannot change are there too: %s", text);
  for (int i = 0; i < 3; i++) {
    char line[100];
    sipwire_conn_info info;
    CHECK(h_info(h_conn_of(peers[i]), &info), "it is open");
    snprintf(line, sizeof line, "%#x from %s ", info.conn_id, h_addr_text(&info.remote));
    CHECK(strstr(text, line), "%s is not in %s", line, text);
  }
  dump(SIPWIRE_DUMP_LISTENERS);
  CHECK(!strncmp(text, "[listeners]\n0 open 127.0.0.1:", 29) && !strstr(text + 1, "\n["), "%s", text);
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_dump(h_instance, 0, text, sizeof text));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_dump(h_instance, 128, text, sizeof text));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_dump(NULL, SIPWIRE_DUMP_ALL, text, sizeof text));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_prometheus(NULL, text, sizeof text));

  int64_t length = sipwire_prometheus(h_instance, text, sizeof text);
  CHECK_NUM(length, strlen(text));
  CHECK(length < 16384, "%lld", (long long)length);
  CHECK_NUM(3, figure("sipwire_messages_in_total"));
  CHECK_NUM(3, figure("sipwire_connections"));
  CHECK_NUM(1, figure("sipwire_up"));
  CHECK_NUM(3, figure("sipwire_worker_messages_total{worker=\"0\"}") + figure("sipwire_worker_messages_total{worker=\"1\"}"));
  memset(text, 'x', 20);
  CHECK(sipwire_prometheus(h_instance, text, 10) >= length - 20, "the whole length");
  CHECK(strlen(text) == 9 && text[10] == 'x', "cut off to what there is room for");
  return h_finish();
}
