/* modes: threads processes */
/* Everything a script does inside on_message: relay to an address that must be dialled, answer over the connection of
 * another, close its own connection, ask for info and statistics. */
#include "harness.h"

static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  char text[64];
  sipwire_target target;
  sipwire_iov iov = {m->data, m->length};
  sipwire_conn_info info = {.struct_size = sizeof info};
  sipwire_stats stats = {.struct_size = sizeof stats};
  CHECK_RC(SIPWIRE_OK, sipwire_conn_info_get(instance, m->conn_id, &info));
  CHECK_NUM(SIPWIRE_OWNER_READING, info.owner);
  CHECK_NUM(m->worker, info.worker);
  CHECK_RC(SIPWIRE_OK, sipwire_stats_get(instance, &stats));
  if (h_header(m->data, m->header_length, "X-Relay", text, sizeof text)) {
    sipwire_addr addr;
    CHECK_RC(SIPWIRE_OK, sipwire_addr_parse(text, &addr));
    target = h_to_addr(&addr);
    CHECK(sipwire_send(instance, &target, &iov, 1, 1) > 0, "relay");
    return 0;
  }
  if (h_header(m->data, m->header_length, "X-Back", text, sizeof text)) {
    target = h_to_conn((uint32_t)strtoul(text, NULL, 10));
    CHECK(sipwire_send(instance, &target, &iov, 1, 2) > 0, "answer over another's connection");
    return 0;
  }
  return h_default_script(instance, m);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  h_start(2);
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  enum { COUNT = 50 };
  h_peer *caller = h_client(), *callee = NULL;
  char extra[128], id[32];
  for (int i = 0; i < COUNT; i++) {
    snprintf(extra, sizeof extra, "X-Relay: %s\r\n", h_addr_text(&addr));
    snprintf(id, sizeof id, "relay%d", i);
    h_write_text(caller, h_request("INVITE", id, extra, "v=0"));
  }
  callee = h_accept(fd);
  for (int i = 0; i < COUNT; i++) {
    h_frame frame = h_await(callee, "a relayed request");
    char value[64];
    snprintf(id, sizeof id, "relay%d", i);
    CHECK(h_header(frame.data, frame.header_length, "Call-ID", value, sizeof value) && strcmp(value, id) == 0, "expected %s, got %s", id, value);
  }
  uint32_t caller_id = h_conn_of(caller);
  for (int i = 0; i < COUNT; i++) {
    char answer[512];
    int n = snprintf(answer, sizeof answer, "SIP/2.0 200 OK\r\nCall-ID: relay%d\r\nX-Back: %u\r\nContent-Length: 0\r\n\r\n", i, caller_id);
    h_write(callee, answer, (size_t)n);
  }
  for (int i = 0; i < COUNT; i++) {
    snprintf(id, sizeof id, "relay%d", i);
    h_await_answer(caller, 200, id);
  }
  CHECK_NUM(1, STAT(dialled));
  h_write_text(caller, h_request("OPTIONS", "bye", "X-Close: 1\r\n", NULL));
  h_await_answer(caller, 200, "bye"); /* the answer first, then the end */
  h_await_end(caller, "closed inside its own callback");
  WAIT(h_find(EV_CLOSE, caller_id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_HOST, h_find(EV_CLOSE, caller_id, NULL)->reason);
  close(fd);
  return h_finish();
}
