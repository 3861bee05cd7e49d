/* modes: threads processes */
/* What the settings of dialling do: source_ipv4, source_ipv6, reuse_port, no_connect, blacklist_ttl=0. */
#include "deadline.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

static uint32_t number;

/* Dials and returns the peer; *from is the address that it sees us at. */
static h_peer *dialled(int listener, const sipwire_target *target, sipwire_addr *from) {
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(target, 1, number++, 400));
  h_peer *peer = h_accept(listener);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == number), "the message");
  struct sockaddr_in name;
  socklen_t length = sizeof name;
  CHECK(getpeername(peer->fd, (struct sockaddr *)&name, &length) == 0, "getpeername: %s", strerror(errno));
  *from = (sipwire_addr){.family = 4, .port = ntohs(name.sin_port)};
  memcpy(from->ip, &name.sin_addr, 4);
  return peer;
}

static void from_addresses(void) {
  sipwire_addr addr, from, wanted;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr);
  h_peer *peer = dialled(fd, &target, &from);
  CHECK_NUM(2, from.ip[3]); /* 127.0.0.2, the setting */
  sipwire_conn_info info;
  uint32_t id = 0;
  CHECK(sipwire_conn_find(h_instance, &addr, NULL, &id) == SIPWIRE_OK && h_info(id, &info), "the connection");
  CHECK(h_addr_equal(&info.local, &from), "local is %s, the peer sees %s", h_addr_text(&info.local), h_addr_text(&from));
  h_close(peer);

  /* An address of the send itself goes before the setting. */
  CHECK_RC(SIPWIRE_OK, sipwire_addr_parse("127.0.0.3:0", &wanted));
  target.local = wanted;
  peer = dialled(fd, &target, &from);
  CHECK_NUM(3, from.ip[3]);
  h_close(peer);

  /* Our own listener's port: for that reuse_port is needed. */
  target.local = h_listener(0);
  peer = dialled(fd, &target, &from);
  CHECK(h_addr_equal(&from, &target.local), "the peer sees %s, expected %s", h_addr_text(&from), h_addr_text(&target.local));
  uint64_t before = STAT(dialled);
  CHECK(h_send_numbered_here(&target, 1, number++, 400) > 0, "one more from that port");
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == number), "over the connection that has that port");
  CHECK_NUM(before, STAT(dialled));
  sipwire_addr any_fresh; /* that port of any address: from the setting's, and found again */
  int any_fd = h_listener_open(8, &any_fresh);
  sipwire_target any = h_to_addr(&any_fresh);
  any.local = (sipwire_addr){.family = 4, .port = target.local.port};
  h_peer *anywhere = dialled(any_fd, &any, &from);
  CHECK(from.ip[3] == 2 && from.port == any.local.port, "the peer sees %s, expected 127.0.0.2 and port %u", h_addr_text(&from), any.local.port);
  before = STAT(dialled);
  CHECK(h_send_numbered_here(&any, 1, number++, 400) > 0, "one more from that port of any address");
  WAIT((h_ledger_receive(anywhere), h_ledger_received(1) == number), "over the connection that has that port");
  CHECK_NUM(before, STAT(dialled));
  h_close(anywhere);
  close(any_fd);
  sipwire_addr second_addr; /* and to another destination at the same time */
  int second_fd = h_listener_open(8, &second_addr);
  sipwire_target second = h_to_addr(&second_addr);
  second.local = target.local;
  h_peer *other = dialled(second_fd, &second, &from);
  CHECK(h_addr_equal(&from, &second.local), "the second peer sees %s, expected %s", h_addr_text(&from), h_addr_text(&second.local));
  h_peer *client = h_client(); /* the listener still listens there */
  h_write_text(client, h_request("OPTIONS", "listens", NULL, NULL));
  h_await_answer(client, 200, "listens");
  h_close(client), h_close(other), h_close(peer);
  close(second_fd);
  close(fd);
}

/* An address that is not ours cannot be had, and that is no fault of the destination. */
static void from_ipv6(void) {
  int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  bool have = probe >= 0 && bind(probe, (struct sockaddr *)&name, sizeof name) == 0;
  if (probe >= 0) close(probe);
  if (!have) return;
  sipwire_addr addr;
  CHECK_RC(SIPWIRE_OK, sipwire_addr_parse("[::1]:9", &addr));
  sipwire_target target = h_to_addr(&addr);
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&target, "OPTIONS", 7, 61));
  WAIT(h_failure(61), "the report");
  CHECK(h_failure(61)->reason == SIPWIRE_REASON_RESOURCE && h_failure(61)->error == EADDRNOTAVAIL, "reason %s, errno %d",
        sipwire_reason_text(h_failure(61)->reason), h_failure(61)->error);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr));
}

/* Nobody listens at a port; dialled from that very port the kernel connects us with ourselves. */
static void with_ourselves(void) {
  sipwire_addr addr;
  close(h_listener_open(8, &addr));
  sipwire_target target = h_to_addr(&addr);
  target.local = addr;
  h_text text = h_request("OPTIONS", "ourselves", NULL, NULL);
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&target, text.data, text.length, 65));
  WAIT(h_failure(65) || h_find(EV_MESSAGE, 0, "Call-ID: ourselves"), "the report");
  CHECK(!h_find(EV_MESSAGE, 0, "Call-ID: ourselves"), "our own message came to us");
  CHECK_NUM(SIPWIRE_REASON_CONNECT_FAILED, h_failure(65)->reason);
  CHECK_NUM(ECONNREFUSED, h_failure(65)->error);
  CHECK_NUM(1, sipwire_blacklist_remove(h_instance, &addr));
}

static void no_connect(void) {
  sipwire_addr addr, other, from;
  int fd = h_listener_open(8, &addr), unused = h_listener_open(8, &other);
  sipwire_target target = h_to_addr(&addr), nowhere = h_to_addr(&other);
  h_peer *peer = dialled(fd, &target, &from);
  if (h_mode == H_PROCESSES) { /* it is asked again when the message's turn comes */
    kill(h_supervisor_pid(), SIGSTOP);
    CHECK_RC(SIPWIRE_QUEUED, h_send_here(&nowhere, "OPTIONS", 7, 62));
  }
  uint64_t dialled_before = STAT(dialled);
  set_live("no_connect", "yes");
  if (h_mode == H_PROCESSES) {
    kill(h_supervisor_pid(), SIGCONT);
    WAIT(h_failure(62), "the report");
    CHECK_NUM(SIPWIRE_REASON_NO_CONNECTION, h_failure(62)->reason);
  }
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&nowhere, "OPTIONS", 7, 63));
  nowhere.flags = SIPWIRE_SEND_FRESH;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&nowhere, "OPTIONS", 7, 63));
  CHECK(h_send_numbered_here(&target, 1, number++, 400) > 0, "over the open connection"); /* which is what it leaves */
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == number), "the message");
  CHECK_NUM(dialled_before, STAT(dialled));
  set_live("no_connect", "no");
  h_close(peer);
  close(fd), close(unused);
}

static void no_blacklist(void) {
  sipwire_addr addr;
  int fd = h_refusing_port(&addr);
  sipwire_target target = h_to_addr(&addr);
  for (uint64_t ttl = 0; ttl <= 60; ttl += 60) {
    set_live("blacklist_ttl", ttl ? "60s" : "0");
    for (uint64_t cookie = 71 + ttl; cookie < 74 + ttl; cookie++) {
      int32_t rc = h_send_here(&target, "OPTIONS", 7, cookie);
      CHECK_RC(ttl && cookie > 71 + ttl ? SIPWIRE_E_BLACKLISTED : SIPWIRE_QUEUED, rc);
      if (rc != SIPWIRE_QUEUED) continue;
      WAIT(h_failure(cookie), "the report");
      CHECK_NUM(SIPWIRE_REASON_CONNECT_FAILED, h_failure(cookie)->reason); /* dialled each time */
      CHECK_NUM(ttl != 0, sipwire_blacklist_check(h_instance, &addr));
    }
    CHECK_NUM(ttl != 0, STAT(blacklist_entries));
  }
  close(fd);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("source_ipv4", "127.0.0.2");
  h_setting("source_ipv6", "2001:db8::1");
  h_setting("reuse_port", "yes");
  h_start(1);
  from_addresses();
  from_ipv6();
  with_ourselves();
  no_connect();
  no_blacklist();
  h_ledger_check();
  return h_finish();
}
