/* modes: threads processes */
/* rows: C2 C3 C6 C8 C17 C18 */
/* Which connection a message takes: by id, then by local and remote address; an answer for a connection that has ended
 * never dials the port that it came from. */
#include "harness.h"
#include <netinet/in.h>
#include <sys/socket.h>

static const char answer[] = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nCall-ID: late\r\nContent-Length: 0\r\n\r\n";
enum { ANSWER = sizeof answer - 1 };

static h_sender *sender;

/* A socket of this family at this address; several may have it until one of them listens. */
static int bound(int family, sipwire_addr *out) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(out->port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(out->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, off = 0;
  if (fd < 0) h_skip("no IPv6 on this machine");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  struct sockaddr *name = family == AF_INET6 ? (struct sockaddr *)&six : (struct sockaddr *)&four;
  socklen_t length = family == AF_INET6 ? sizeof six : sizeof four;
  CHECK(bind(fd, name, length) == 0 && getsockname(fd, name, &length) == 0, "bind: %s", strerror(errno));
  *out = (sipwire_addr){.family = 4, .port = ntohs(family == AF_INET6 ? six.sin6_port : four.sin_port), .ip = {127, 0, 0, 1}};
  return fd;
}

static int32_t from_sender(const sipwire_target *target, uint64_t cookie) {
  h_send_text(sender, target, answer, ANSWER, cookie);
  h_sender_wait(sender);
  return sender->job.result;
}

/* The request's connection, although two others lead to the same host, and another process answers. */
static void where_it_came_from(void) {
  h_peer *peer[3];
  uint32_t id[3];
  for (int i = 0; i < 3; i++) peer[i] = h_client(), id[i] = h_conn_of(peer[i]);
  h_write_text(peer[1], h_request("INVITE", "late", "X-Silent: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, id[1], "Call-ID: late"), "the request");
  h_event *e = h_find(EV_MESSAGE, id[1], "Call-ID: late");
  CHECK(h_addr_equal(&e->remote, &peer[1]->local), "C8: on_message says %s, the peer is at %s (its Via names another port)", h_addr_text(&e->remote), h_addr_text(&peer[1]->local));
  h_write_text(peer[2], h_request("OPTIONS", "other", NULL, NULL));
  h_await_answer(peer[2], 200, "other");
  sipwire_target target = h_to_conn(id[1]);
  CHECK(from_sender(&target, 1) > 0, "C2: the answer by id: %d", sender->job.result);
  h_await_answer(peer[1], 200, "late");
  CHECK(peer[0]->length == 0, "C2: the answer went to another connection of the host");
  for (int i = 0; i < 3; i++) h_close(peer[i]);
}

/* Its connection is gone: to the port of the Via, or nowhere. */
static void answers_for_the_gone(void) {
  sipwire_addr sent_by, source = {0}, listener = h_listener(0);
  int via_port = h_listener_open(8, &sent_by), trap = bound(AF_INET, &source), holder = bound(AF_INET, &source);
  sipwire_conn_info info;
  h_peer *peer = h_connect_as(&listener, &source, 0);
  uint32_t id = h_conn_of(peer);
  h_write_text(peer, h_request("OPTIONS", "late", "X-Silent: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, id, "Call-ID: late"), "the request");
  uint64_t dialled = STAT(dialled);
  sipwire_target target = h_to_conn(id);
  target.flags = SIPWIRE_SEND_ANSWER;
  target.remote = sent_by;
  CHECK(from_sender(&target, 2) > 0, "C3: while it is open: %d", sender->job.result);
  h_await_answer(peer, 200, "late");
  CHECK_NUM(dialled, STAT(dialled));
  h_reset(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "closed");
  WAIT(!h_info(id, &info), "its slot is free");

  /* somebody listens at the port that it came from, and must not be called */
  CHECK(listen(trap, 8) == 0, "listen at the old port: %s", strerror(errno));
  sipwire_target by_id = h_to_conn(id), back = h_to_conn(id);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, from_sender(&by_id, 3)); /* C3: by id alone */
  back.remote = source;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, from_sender(&back, 4)); /* C3: with the address that it came from */
  back.flags = SIPWIRE_SEND_ANSWER;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&back, answer, ANSWER, 5));
  STAYS(100, h_accept_now(trap) == NULL, "C3: the port that the request came from was dialled");
  CHECK_NUM(dialled, STAT(dialled));

  CHECK_RC(SIPWIRE_QUEUED, from_sender(&target, 6)); /* C3: received:sent-by */
  h_peer *there = h_accept(via_port);
  h_await_answer(there, 200, "late");
  CHECK_NUM(dialled + 1, STAT(dialled));
  close(trap);

  /* a new connection from that very port is as good as the old one */
  h_peer *again = h_connect_as(&listener, &source, 0);
  CHECK(again, "the same port once more: %s", strerror(errno));
  CHECK(h_conn_of(again) != id, "C3: the id came again");
  CHECK(from_sender(&back, 7) > 0, "C3: an open connection from the address: %d", sender->job.result);
  h_await_answer(again, 200, "late");
  h_reset(again), h_close(there);
  close(via_port), close(holder);
}

/* One port of the peer's, two of ours. */
static void by_local_address(void) {
  sipwire_addr first = h_listener(0), second = h_listener(1), nothing = first, source = {0};
  int holder = bound(AF_INET, &source);
  h_peer *one = h_connect_as(&first, &source, 0), *two = h_connect_as(&second, &source, 0);
  CHECK(one && two, "two connections from one port: %s", strerror(errno));
  sipwire_target target = h_to_addr(&one->local);
  uint32_t found_one = 0, found_two = 0;
  WAIT(sipwire_conn_find(h_instance, &one->local, &first, &found_one) == SIPWIRE_OK, "the first");
  WAIT(sipwire_conn_find(h_instance, &one->local, &second, &found_two) == SIPWIRE_OK, "the second");
  CHECK(found_one != found_two, "one id for both local addresses");
  for (int i = 0; i < 2; i++) {
    target.local = i ? second : first;
    CHECK(from_sender(&target, 10) > 0, "C6: from local address %d: %d", i, sender->job.result);
    h_await_answer(i ? two : one, 200, "late");
  }
  nothing.port = first.port == 9 ? 10 : 9;
  target.local = nothing;
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, from_sender(&target, 11));
  target.local.port = 0;
  CHECK(from_sender(&target, 12) > 0, "C6: any port of the local address");
  WAIT_NUM(0, STAT(queued_bytes)); /* one of the two has it, before both are gone */
  h_reset(one), h_reset(two);
  close(holder);
}

/* Several who send at the same instant: one connection. */
static void one_connection_for_all(void) {
  enum { SENDERS = 4 };
  static h_sender *senders[SENDERS];
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr);
  uint64_t dialled = STAT(dialled);
  for (int i = 0; i < SENDERS; i++) {
    senders[i] = h_sender_new();
    h_hold(senders[i]);
    h_send_numbered(senders[i], &target, (uint32_t)i + 1, 0, 20, 400);
  }
  h_release();
  h_peer *peer = h_accept(fd);
  for (int i = 0; i < SENDERS; i++) h_sender_wait(senders[i]);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "C6: all messages over the first connection");
  CHECK(h_send_numbered_here(&target, 9, 0, 400) > 0, "a later request");
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "C6: a later request over the open connection");
  CHECK(h_accept_now(fd) == NULL && STAT(dialled) == dialled + 1, "C6: %llu connections were dialled", (unsigned long long)(STAT(dialled) - dialled));
  h_close(peer);
  close(fd);
}

/* The peer of a connection that we dialled has closed its side while it waits for an answer: it reads no request there. */
static void requests_go_elsewhere(void) {
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr), none = target;
  none.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK(h_send_numbered_here(&target, 30, 0, 400) > 0, "the first message");
  h_peer *one = h_accept(fd);
  WAIT((h_ledger_receive(one), h_ledger_received(30) == 1), "the first message");
  uint32_t id = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  h_write_text(one, h_request("OPTIONS", "pending", "X-Silent: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, id, "Call-ID: pending"), "its request");
  shutdown(one->fd, SHUT_WR);
  WAIT(h_conn_flags(id) & SIPWIRE_CONN_HALF_CLOSED, "half-closed");
  CHECK(h_send_numbered_here(&none, 30, 1, 400) > 0, "where nothing may be dialled it serves");
  WAIT((h_ledger_receive(one), h_ledger_received(30) == 2), "over the old one");
  for (uint32_t n = 2; n < 4; n++) CHECK(h_send_numbered_here(&target, 30, n, 400) > 0, "message %u", n);
  h_peer *two = h_accept(fd);
  WAIT((h_ledger_receive(two), h_ledger_received(30) == 4), "over a new one");
  CHECK(!h_accept_now(fd), "a second one was dialled");
  sipwire_target answer = h_to_conn(id);
  static const char text[] = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nCall-ID: pending\r\nContent-Length: 0\r\n\r\n";
  CHECK(h_send_here(&answer, text, sizeof text - 1, 1) > 0, "the answer");
  h_await_answer(one, 200, "pending");
  h_close(one), h_close(two);
  close(fd);
}

/* A socket of both families shows an IPv4 peer as ::ffff:127.0.0.1. */
static void mapped_addresses(sipwire_addr to) {
  sipwire_addr listed;
  h_peer *peer = h_connect(&to);
  if (!peer) h_fail(__FILE__, __LINE__, "an IPv4 client at the listener [::]: %s", strerror(errno));
  uint32_t id = h_conn_of(peer), found = 0;
  sipwire_conn_info info;
  CHECK(h_info(id, &info) && info.remote.family == 4 && info.local.family == 4, "C17: remote %s, local %s", h_addr_text(&info.remote), h_addr_text(&info.local));
  sipwire_addr mapped = {.family = 6, .port = peer->local.port, .ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &mapped, NULL, &found)); /* C17 */
  CHECK_NUM(id, found);
  sipwire_target target = h_to_addr(&mapped);
  target.local = to, target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK(from_sender(&target, 20) > 0, "C17: a send to the mapped address: %d", sender->job.result);
  h_await_answer(peer, 200, "late");
  listed = (sipwire_addr){.family = 4, .port = 99, .ip = {127, 0, 0, 1}}, mapped.port = 99;
  CHECK_RC(SIPWIRE_OK, sipwire_blacklist_add(h_instance, &mapped, 10000));
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &listed)); /* C17 */
  h_close(peer);
}

/* RFC 4475 3.1.1.10: the transports of a Via say nothing about the framing. */
static void unknown_transports(void) {
  static const char transports[] =
    "OPTIONS sip:user@example.com SIP/2.0\r\nTo: sip:user@example.com\r\nFrom: <sip:caller@example.com>;tag=323\r\n"
    "Max-Forwards: 70\r\nCall-ID:  transports.kijh4akdnaqjkwendsasfdj\r\nAccept: application/sdp\r\nCSeq: 60 OPTIONS\r\n"
    "Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw\r\nVia: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\r\n"
    "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj\r\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en\r\n"
    "Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee\r\nl: 0\r\n\r\n";
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  h_write(peer, transports, sizeof transports - 1);
  h_write_text(peer, h_request("OPTIONS", "behind", NULL, NULL));
  h_await_answer(peer, 200, "transports.kijh4akdnaqjkwendsasfdj"); /* C18 */
  h_await_answer(peer, 200, "behind");
  CHECK_NUM(sizeof transports - 1, h_find(EV_MESSAGE, id, "transports.kijh")->length); /* C18 */
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  sipwire_addr both = {0};
  int both_fd = bound(AF_INET6, &both);
  CHECK(listen(both_fd, 8) == 0, "listen: %s", strerror(errno));
  h_no_listener = true;
  h_listen("tcp:127.0.0.1:0");
  h_listen("tcp:127.0.0.1:0");
  CHECK(sipwire_config_listen_fd(h_config, both_fd) >= 0, "listen_fd: %s", sipwire_config_error(h_config));
  h_start(2);
  sender = h_sender_new();
  where_it_came_from();
  answers_for_the_gone();
  by_local_address();
  one_connection_for_all();
  requests_go_elsewhere();
  mapped_addresses(both);
  unknown_transports();
  CHECK_NUM(0, h_total(EV_FAILED));
  close(both_fd);
  return h_finish();
}
