/* modes: threads processes */
/* Socket options are what the settings say, of both families: on listeners (bound, adopted, added while running), on accepted
 * and on dialled connections, also after a change while running and after the setting is off or unset again; open
 * connections keep theirs. The kernel is asked, on the supervisor's own descriptors. */
#include "deadline.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

typedef struct options { int nodelay, keepalive, idle_s, interval_s, count, user_timeout_ms, tos, defer_s, backlog; } options;

static int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &length) == 0, "getsockopt: %s", strerror(errno));
  return value;
}

/* What of `want` an open socket of any kind has. */
static const char *differs(int fd, const options *want, bool six) {
  static char text[100];
  const struct { const char *name; int level, option, want; } all[] = {
    {"nodelay", IPPROTO_TCP, TCP_NODELAY, want->nodelay},
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE, want->keepalive},
    {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE, want->idle_s},
    {"keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, want->interval_s},
    {"keepcnt", IPPROTO_TCP, TCP_KEEPCNT, want->count},
    {"user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, want->user_timeout_ms},
    {"tos", six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, want->tos},
    {"urgent data in line", SOL_SOCKET, SO_OOBINLINE, 1},
  };
  if (!(fcntl(fd, F_GETFL) & O_NONBLOCK)) return "it blocks";
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    int is = option(fd, all[i].level, all[i].option);
    if (!want->keepalive && strncmp(all[i].name, "keep", 4) == 0 && strcmp(all[i].name, "keepalive") != 0) continue; /* means nothing */
    if (is == all[i].want) continue;
    snprintf(text, sizeof text, "%s is %d, expected %d", all[i].name, is, all[i].want);
    return text;
  }
  return NULL;
}

static void check_connection(const h_peer *peer, const options *want) {
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &peer->local, NULL, &id));
  int fd = h_library_fd(id);
  if (fd < 0) h_skip("the kernel does not let us have the supervisor's descriptor");
  const char *text = differs(fd, want, peer->local.family == 6);
  CHECK(!text, "connection with %s: %s", h_addr_text(&peer->local), text);
  close(fd);
}

/* Of a listener; NULL: all is as it should be. */
static const char *listener_differs(int index, const options *want) {
  static char text[160];
  sipwire_addr addr = h_listener(index);
  int fd = h_listening_fd(&addr);
  if (fd < 0) return "no descriptor listens there";
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0, "TCP_INFO: %s", strerror(errno));
  const char *wrong = differs(fd, want, addr.family == 6);
  int deferred = option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT);
  snprintf(text, sizeof text, "listener %d: %s", index, wrong ? wrong : "");
  /* Of a listener this is how long its queue may be. The kernel rounds defer_accept up to its own times. */
  if (!wrong && info.tcpi_sacked != (uint32_t)want->backlog) snprintf(text, sizeof text, "listener %d: a backlog of %u, expected %d", index, info.tcpi_sacked, want->backlog), wrong = text;
  if (!wrong && (want->defer_s ? deferred < want->defer_s : deferred != 0)) snprintf(text, sizeof text, "listener %d: defer_accept is %d", index, deferred), wrong = text;
  close(fd);
  return wrong ? text : NULL;
}

static h_peer *accepted(int listener, const char *name) {
  sipwire_addr addr = h_listener(listener);
  h_peer *peer = h_connect(&addr);
  CHECK(peer, "connect to %s: %s", h_addr_text(&addr), strerror(errno));
  h_write_text(peer, h_request("OPTIONS", name, NULL, NULL));
  h_await_answer(peer, 200, name);
  return peer;
}

static int listen_there(bool six, sipwire_addr *out) {
  if (!six) return h_listener_open(4, out);
  struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  socklen_t length = sizeof name;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) < 0) return -1;
  CHECK(listen(fd, 4) == 0 && getsockname(fd, (struct sockaddr *)&name, &length) == 0, "listen: %s", strerror(errno));
  *out = (sipwire_addr){.family = 6, .port = ntohs(name.sin6_port), .ip = {[15] = 1}};
  return fd;
}

static h_peer *dialled(bool six, const char *name) {
  sipwire_addr addr;
  int fd = listen_there(six, &addr);
  sipwire_target target = h_to_addr(&addr);
  h_text text = h_request("OPTIONS", name, NULL, NULL);
  CHECK(h_send_here(&target, text.data, text.length, 0) >= 0, "refused");
  h_peer *peer = h_accept(fd);
  h_await(peer, "the message");
  close(fd);
  peer->local = addr; /* the listener's, which the library's end is connected to */
  return peer;
}

enum { BOUND, ADOPTED, BOUND6, KINDS };
static bool six_works;
static int added, added6;

/* Each kind of socket; what was open before has the options of that time. */
static void check_all(const char *when, const options *want) {
  static h_peer *open[64];
  static options theirs[64];
  static int count;
  int listeners[] = {BOUND, ADOPTED, added, BOUND6, added6};
  for (int i = 0; i < (six_works ? 5 : 3); i++) {
    WAIT(!listener_differs(listeners[i], want), "%s: %s", when, listener_differs(listeners[i], want));
    open[count] = accepted(listeners[i], when);
    theirs[count++] = *want;
  }
  for (int six = 0; six <= six_works; six++) {
    open[count] = dialled(six, when);
    theirs[count++] = *want;
  }
  for (int i = 0; i < count; i++) check_connection(open[i], &theirs[i]);
}

static int add(const char *address) {
  char line[200];
  int index = sipwire_listener_add(h_instance, address, line, sizeof line);
  WAIT(sipwire_listener_state(h_instance, index, line, sizeof line) == SIPWIRE_LISTENER_OPEN, "%s", line);
  return index;
}

/* What the kernel gives a socket that nobody asked anything for. */
static options plain(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  options o = {.idle_s = option(fd, IPPROTO_TCP, TCP_KEEPIDLE), .interval_s = option(fd, IPPROTO_TCP, TCP_KEEPINTVL), .count = option(fd, IPPROTO_TCP, TCP_KEEPCNT)};
  close(fd);
  return o;
}

int main(int argc, char **argv) {
  sipwire_addr addr;
  h_init(argc, argv);
  int six = listen_there(true, &addr), adopted = h_listener_open(33, &addr);
  six_works = six >= 0;
  close(six);
  h_listen("tcp:127.0.0.1:0");
  CHECK_RC(SIPWIRE_OK, sipwire_config_listen_fd(h_config, adopted));
  if (six_works) h_listen("tcp:[::1]:0");
  h_no_listener = true;
  static const char *const settings[][2] = {{"tos", "96"}, {"keepidle", "70s"}, {"keepintvl", "11s"}, {"keepcnt", "4"}, {"user_timeout", "30s"}, {"listen_backlog", "33"}};
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) h_setting(settings[i][0], settings[i][1]);
  h_start(2);
  close(adopted);
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  added = add("tcp:127.0.0.1:0");
  added6 = six_works ? add("tcp:[::1]:0") : -1;
  options want = {1, 1, 70, 11, 4, 30000, 96, 0, 33};
  check_all("as set before the start", &want);

  static const char *const changes[][2] = {{"nodelay", "no"}, {"keepidle", "80s"}, {"keepintvl", "12s"}, {"keepcnt", "5"}, {"user_timeout", "40s"}, {"tos", "184"}, {"defer_accept", "5s"}, {"listen_backlog", "44"}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) set_live(changes[i][0], changes[i][1]);
  want = (options){0, 1, 80, 12, 5, 40000, 184, 5, 44};
  check_all("changed", &want);
  added = add("tcp:127.0.0.1:0"); /* after the change */
  if (six_works) added6 = add("tcp:[::1]:0");
  check_all("added after the change", &want);

  static const char *const off[][2] = {{"nodelay", "yes"}, {"keepidle", "unset"}, {"keepintvl", "unset"}, {"keepcnt", "unset"}, {"user_timeout", "unset"}, {"tos", "unset"}, {"defer_accept", "0"}, {"listen_backlog", "1"}};
  for (size_t i = 0; i < sizeof off / sizeof *off; i++) set_live(off[i][0], off[i][1]);
  want = plain();
  want.nodelay = want.keepalive = 1, want.backlog = 1;
  check_all("unset", &want);

  set_live("keepalive", "no");
  set_live("tos", "224");
  want.keepalive = 0, want.tos = 224;
  check_all("without keepalive", &want);
  char line[200];
  CHECK_RC(SIPWIRE_E_NOT_LIVE, sipwire_set(h_instance, "reuse_port", "yes", line, sizeof line));
  CHECK(strstr(line, "reuse_port") && strstr(line, "before the start"), "the line is: %s", line);
  return h_finish();
}
