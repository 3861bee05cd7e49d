/* modes: threads processes */
/* One instance dials another that requires PROXY headers: with proxy_protocol_out they talk, in both versions and both
 * ways; without, or from a network that is not believed, nothing reaches a script. */
#include "deadline.h"
#include "proxy.h"
#include <poll.h>

enum { ANSWERED, ASKED, READY }; /* words */
static sipwire_instance *caller;

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *m) {
  (void)user;
  bool answer = strncmp(m->data, "SIP/2.0 200", 11) == 0;
  ++*h_word(answer ? ANSWERED : ASKED);
  if (!answer) h_reply(instance, m, 200, 0, 0);
  return 0;
}

/* The caller's supervisor and worker, in a child. */
static void drive(void *unused) {
  (void)unused;
  sipwire_loop *loop[2] = {NULL, NULL};
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(caller, SIPWIRE_ROLE_SUPERVISOR, 0, &loop[0]));
  CHECK_RC(SIPWIRE_OK, sipwire_loop_new(caller, SIPWIRE_ROLE_WORKER, 0, &loop[1]));
  *h_word(READY) = 1;
  for (int over = 0; over < 2;) {
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++) fds[i] = (struct pollfd){.fd = loop[i] ? sipwire_loop_fd(loop[i]) : -1, .events = POLLIN};
    poll(fds, 2, 5);
    for (int i = 0; i < 2; i++) {
      int32_t rc = SIPWIRE_OK;
      while (loop[i] && (rc = sipwire_loop_step(loop[i])) == 1) {}
      if (rc == SIPWIRE_OK) continue;
      CHECK_RC(SIPWIRE_E_SHUTTING_DOWN, rc);
      sipwire_loop_free(loop[i]);
      loop[i] = NULL;
      over++;
    }
  }
  sipwire_free(caller);
}

static int32_t call(const sipwire_addr *to, const char *call_id, uint32_t flags) {
  sipwire_target target = h_to_addr(to);
  target.flags = flags;
  h_text text = h_request("OPTIONS", call_id, NULL, NULL);
  sipwire_iov iov = {text.data, text.length};
  return sipwire_send(caller, &target, &iov, 1, 1);
}

static void talks(const char *version) {
  char call_id[32], line[200];
  sipwire_addr to = h_listener(0), from;
  uint64_t answered = *h_word(ANSWERED), asked = *h_word(ASKED);
  uint32_t id;
  snprintf(call_id, sizeof call_id, "both-%s", version);
  CHECK(sipwire_set(caller, "proxy_protocol_out", version, line, sizeof line) == SIPWIRE_OK, "%s", line);
  CHECK(call(&to, call_id, SIPWIRE_SEND_FRESH) > 0, "send");
  WAIT_NUM(answered + 1, *h_word(ANSWERED));
  sipwire_conn_info info = {.struct_size = sizeof info};
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(caller, &to, NULL, &id));
  CHECK_RC(SIPWIRE_OK, sipwire_conn_info_get(caller, id, &info));
  from = info.local;
  id = check_pair(call_id, &from, &to, &from, &to);
  h_text text = h_request("NOTIFY", call_id, NULL, NULL); /* the other way on the same connection */
  sipwire_target target = h_to_addr(&from);
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK(h_send_here(&target, text.data, text.length, 0) > 0, "back");
  WAIT_NUM(asked + 1, *h_word(ASKED));
  WAIT(h_find(EV_MESSAGE, id, "SIP/2.0 200"), "its answer");
}

static void refused(int listener, const char *version) {
  char line[200];
  sipwire_addr to = h_listener(listener);
  uint64_t before = STAT(refused_proxy), asked = h_total(EV_MESSAGE);
  CHECK(sipwire_set(caller, "proxy_protocol_out", version, line, sizeof line) == SIPWIRE_OK, "%s", line);
  CHECK(call(&to, "refused", SIPWIRE_SEND_FRESH) > 0, "send"); /* written it may be */
  WAIT_NUM(before + 1, STAT(refused_proxy));
  CHECK_NUM(asked, h_total(EV_MESSAGE));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  sipwire_config *config = sipwire_config_new();
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(config, "workers", "1"));
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(config, "blacklist_ttl", "0"));
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
  CHECK(sipwire_new(config, &callbacks, NULL, &caller) == SIPWIRE_OK, "%s", sipwire_config_error(config));
  h_setting("proxy_protocol", "required");
  h_setting("proxy_timeout", "60s");
  h_no_listener = true;
  h_listen("tcp:127.0.0.1:0");
  h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_OK, sipwire_config_listener_set(h_config, 1, "proxy_networks", "192.0.2.0/24"));
  pid_t child = 0;
  if (h_mode == H_PROCESSES) {
    child = h_fork(drive, NULL);
    WAIT(*h_word(READY), "the caller's loops");
    CHECK_RC(SIPWIRE_OK, sipwire_attach(caller));
  }
  h_start(2);
  if (h_mode == H_THREADS) CHECK_RC(SIPWIRE_OK, sipwire_start(caller));
  talks("v1");
  talks("v2");
  refused(0, "off");
  refused(1, "v1");
  refused(1, "v2");
  if (child) h_expect_exit(child);
  CHECK_RC(SIPWIRE_OK, sipwire_stop(caller));
  WAIT_NUM(0, STAT(connections));
  if (child) {
    WAIT(h_gone(child), "the caller's child");
    CHECK_RC(SIPWIRE_OK, sipwire_detach(caller));
  }
  sipwire_free(caller);
  sipwire_config_free(config);
  return h_finish();
}
