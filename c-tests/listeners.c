/* modes: threads processes */
/* Listeners are added and removed while the instance runs, by any process: an error is one line, connections of a removed one
 * live on, its port is free for others at once, numbers are not given out again before they have to be. */
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static char line[300];

static int state(int index) { return sipwire_listener_state(h_instance, index, line, sizeof line); }

static int add(const char *address) {
  int index = sipwire_listener_add(h_instance, address, line, sizeof line);
  CHECK(index >= 0 && line[0] == 0, "%s: %d (%s)", address, index, line);
  WAIT(state(index) != SIPWIRE_LISTENER_PENDING, "%s", line);
  return index;
}

static sipwire_addr open_at(int index) {
  CHECK(state(index) == SIPWIRE_LISTENER_OPEN && line[0] == 0, "listener %d: %d (%s)", index, state(index), line);
  return h_listener(index);
}

static void removed(int index) {
  CHECK_RC(SIPWIRE_OK, sipwire_listener_remove(h_instance, index));
  WAIT(state(index) == SIPWIRE_LISTENER_CLOSED, "%s", line);
  CHECK(strstr(line, "is closed"), "the line is: %s", line);
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_listener_remove(h_instance, index));
}

static h_peer *served(const sipwire_addr *to, int index, const char *name) {
  h_peer *peer = h_connect(to);
  CHECK(peer, "connect to %s: %s", h_addr_text(to), strerror(errno));
  h_write_text(peer, h_request("OPTIONS", name, NULL, NULL));
  h_await_answer(peer, 200, name);
  CHECK_NUM(index, h_find(EV_MESSAGE, 0, name)->listener);
  return peer;
}

static void goes_on(h_peer *peer, const char *name) {
  h_write_text(peer, h_request("OPTIONS", name, NULL, NULL));
  h_await_answer(peer, 200, name);
}

/* Another server takes the port, as servers do. */
static int listen_there(const sipwire_addr *addr) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(addr->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0, "socket: %s", strerror(errno));
  CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 8) == 0, "port %u is not free: %s", addr->port, strerror(errno));
  return fd;
}

static void text_of(const sipwire_addr *addr, char *out, size_t size) { snprintf(out, size, "tcp:127.0.0.1:%u", addr->port); }

static void add_one(h_sender *self) {
  char here[200];
  self->job.result = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", here, sizeof here);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  sipwire_addr first = h_listener(0);
  h_peer *old = served(&first, 0, "first");
  CHECK_NUM(1, sipwire_listener_count(h_instance));

  /* What is wrong is said at once, or by the state. */
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_listener_add(h_instance, "udp:127.0.0.1:5060", line, sizeof line));
  CHECK(strstr(line, "udp:127.0.0.1:5060") && !strchr(line, '\n'), "the line is: %s", line);
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_listener_add(h_instance, NULL, line, sizeof line));
  char text[64];
  text_of(&first, text, sizeof text);
  CHECK_RC(SIPWIRE_E_LISTEN, sipwire_listener_add(h_instance, text, line, sizeof line));
  CHECK(strstr(line, text) && strstr(line, "already"), "the line is: %s", line);
  CHECK_RC(SIPWIRE_E_ARGUMENT, state(1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, state(-1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_listener_remove(h_instance, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_listener_remove(h_instance, 999));
  sipwire_addr theirs;
  int taken = h_listener_open(8, &theirs);
  text_of(&theirs, text, sizeof text);
  int failed = add(text);
  CHECK_NUM(SIPWIRE_LISTENER_FAILED, state(failed));
  CHECK(strstr(line, text) && strstr(line, "in use") && strstr(line, "another program") && !strchr(line, '\n'), "the line is: %s", line);
  WAIT((sipwire_log_drain(h_instance), h_find(EV_LOG, 0, text)), "it is logged, too");
  int nowhere = add("tcp:192.0.2.1:5060");
  CHECK_NUM(SIPWIRE_LISTENER_FAILED, state(nowhere));
  CHECK(strstr(line, "no interface"), "the line is: %s", line);
  removed(nowhere);

  /* Added, used, removed; its connections live on. */
  int second = add("tcp:127.0.0.1:0");
  sipwire_addr at = open_at(second);
  CHECK(at.port != 0 && at.port != first.port, "port %u", at.port);
  h_peer *one = served(&at, second, "second"), *two = served(&at, second, "second again");
  CHECK_NUM(second + 1, sipwire_listener_count(h_instance));
  removed(second);
  CHECK(!h_connect(&at) && errno == ECONNREFUSED, "still served: %s", strerror(errno));
  int other = listen_there(&at);
  goes_on(one, "lives on");
  text_of(&at, text, sizeof text);
  int again = add(text); /* now theirs */
  CHECK_NUM(SIPWIRE_LISTENER_FAILED, state(again));
  close(other);
  again = add(text);
  sipwire_addr same = open_at(again);
  CHECK(h_addr_equal(&same, &at), "%s", h_addr_text(&same));
  h_peer *three = served(&at, again, "the port again");
  CHECK(again != second && again != failed, "number %d given out again", again);

  /* One that the instance was made with: every process has a descriptor of it. */
  removed(0);
  CHECK(!h_connect(&first) && errno == ECONNREFUSED, "still served: %s", strerror(errno));
  close(listen_there(&first));
  goes_on(old, "of the removed one");
  text_of(&first, text, sizeof text);
  int back = add(text);
  open_at(back);
  h_peer *four = served(&first, back, "the first again");
  goes_on(one, "one"), goes_on(two, "two"), goes_on(three, "three"), goes_on(four, "four"), goes_on(old, "old");

  /* By another participant. */
  h_sender *sender = h_sender_new();
  h_sender_run(sender, add_one);
  h_sender_wait(sender);
  int by_other = sender->job.result;
  WAIT(state(by_other) == SIPWIRE_LISTENER_OPEN, "listener %d: %s", by_other, line);
  at = h_listener(by_other);
  served(&at, by_other, "by another");

  /* Only so many at a time; then the oldest numbers come again. */
  int last = by_other, n = 0;
  while ((last = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line)) >= 0 && n < 200) {
    WAIT(state(last) == SIPWIRE_LISTENER_OPEN, "listener %d: %s", last, line);
    n++;
  }
  CHECK_RC(SIPWIRE_E_NO_MEMORY, last);
  CHECK(strstr(line, "too many") && n >= 50, "%d, the line is: %s", n, line);
  removed(by_other);
  CHECK_NUM(by_other, add("tcp:127.0.0.1:0"));

  CHECK_RC(SIPWIRE_OK, sipwire_drain(h_instance, 600000));
  CHECK_RC(SIPWIRE_E_SHUTTING_DOWN, sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line));
  CHECK(strstr(line, "no new connections"), "the line is: %s", line);
  WAIT(state(by_other) == SIPWIRE_LISTENER_CLOSED && state(back) == SIPWIRE_LISTENER_CLOSED, "%s", line);
  close(taken);
  return h_finish();
}
