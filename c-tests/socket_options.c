/* modes: threads processes */
/* Socket options are what the settings say: on accepted and on dialled connections, also after a change while running;
 * open connections keep theirs. The kernel is asked, on the supervisor's own descriptor. */
#include "harness.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &length) == 0, "getsockopt: %s", strerror(errno));
  return value;
}

static void check(const h_peer *peer, int nodelay, int keepalive, int idle_s, int interval_s, int count, int user_timeout_ms, int tos) {
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &peer->local, NULL, &id));
  int fd = h_library_fd(id);
  if (fd < 0) h_skip("the kernel does not let us have the supervisor's descriptor");
  CHECK_NUM(nodelay, option(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
  CHECK_NUM(keepalive, option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
  if (keepalive) { /* else they mean nothing */
    CHECK_NUM(idle_s, option(fd, IPPROTO_TCP, TCP_KEEPIDLE));
    CHECK_NUM(interval_s, option(fd, IPPROTO_TCP, TCP_KEEPINTVL));
    CHECK_NUM(count, option(fd, IPPROTO_TCP, TCP_KEEPCNT));
  }
  CHECK_NUM(user_timeout_ms, option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
  CHECK_NUM(tos, option(fd, IPPROTO_IP, IP_TOS));
  close(fd);
}

static h_peer *accepted(const char *name) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", name, NULL, NULL));
  h_await_answer(peer, 200, name);
  return peer;
}

static h_peer *dialled(const char *name) {
  sipwire_addr addr;
  int fd = h_listener_open(4, &addr);
  sipwire_target target = h_to_addr(&addr);
  h_text text = h_request("OPTIONS", name, NULL, NULL);
  CHECK(h_send_here(&target, text.data, text.length, 0) >= 0, "refused");
  h_peer *peer = h_accept(fd);
  h_await(peer, "the message");
  close(fd);
  peer->local = addr; /* the listener's, which the library's end is connected to */
  return peer;
}

static void set(const char *key, const char *value) {
  char line[200] = "";
  CHECK(sipwire_set(h_instance, key, value, line, sizeof line) == SIPWIRE_OK, "%s", line);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("tos", "96");
  h_setting("keepidle", "70s");
  h_setting("keepintvl", "11s");
  h_setting("keepcnt", "4");
  h_setting("user_timeout", "30s");
  h_start(2);
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  h_peer *in_before = accepted("in before"), *out_before = dialled("out before");
  check(in_before, 1, 1, 70, 11, 4, 30000, 96);
  check(out_before, 1, 1, 70, 11, 4, 30000, 96);

  set("nodelay", "no");
  set("keepidle", "80s");
  set("keepintvl", "12s");
  set("keepcnt", "5");
  set("user_timeout", "40s");
  h_peer *in_after = accepted("in after"), *out_after = dialled("out after");
  check(in_after, 0, 1, 80, 12, 5, 40000, 96);
  check(out_after, 0, 1, 80, 12, 5, 40000, 96);
  check(in_before, 1, 1, 70, 11, 4, 30000, 96);
  check(out_before, 1, 1, 70, 11, 4, 30000, 96);

  set("keepalive", "no");
  set("nodelay", "yes");
  h_peer *in_last = accepted("in last"), *out_last = dialled("out last");
  check(in_last, 1, 0, 0, 0, 0, 40000, 96);
  check(out_last, 1, 0, 0, 0, 0, 40000, 96);
  return h_finish();
}
