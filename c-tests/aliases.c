/* modes: threads processes */
/* rows: C11 C12 C13 */
/* Aliases (RFC 5923): off unless the setting says so; what is sent to the alias takes the connection, at once also for
 * the script that asked for it; nobody takes another one's; they end with their connection. */
#include "deadline.h"
#include <signal.h>

enum { ADDED, SENT };

/* X-Alias: PORT: as a host does with the alias parameter of a Via, and then relays a request to that address. */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  char value[32];
  if (h_header(m->data, m->header_length, "X-Alias", value, sizeof value)) {
    sipwire_addr alias = m->remote;
    alias.port = (uint16_t)atoi(value);
    *h_word(ADDED) = (uint64_t)(int64_t)sipwire_conn_add_alias(instance, m->conn_id, alias.port);
    sipwire_target target = h_to_addr(&alias);
    target.flags = SIPWIRE_SEND_NO_CONNECT;
    *h_word(SENT) = (uint64_t)(int64_t)h_send_here(&target, m->data, m->length, 0);
  }
  return h_default_script(instance, m);
}

/* Asks for the alias inside on_message. If it has it, what the script sends there comes back, before or behind the answer. */
static int32_t claim_in_script(h_peer *peer, unsigned port, const char *call_id) {
  char extra[64];
  snprintf(extra, sizeof extra, "X-Alias: %u\r\n", port);
  h_write_text(peer, h_request("REGISTER", call_id, extra, NULL));
  bool answered = false, relayed = false;
  while (!answered || ((int64_t)*h_word(ADDED) == SIPWIRE_OK && !relayed)) {
    h_frame frame = h_await(peer, "C12: the answer, and the request that was sent to the alias");
    answered |= frame.code == 200;
    relayed |= frame.code == 0;
  }
  return (int32_t)*h_word(ADDED);
}

static int32_t to_alias(h_sender *sender, const sipwire_addr *alias, uint32_t flags, uint64_t cookie) {
  sipwire_target target = h_to_addr(alias);
  target.flags = flags;
  h_text text = h_request("OPTIONS", "by-alias", NULL, NULL);
  h_send_text(sender, &target, text.data, text.length, cookie);
  h_sender_wait(sender);
  return sender->job.result;
}

static void check_comes(h_sender *sender, const sipwire_addr *alias, h_peer *peer, const char *row) {
  CHECK(to_alias(sender, alias, 0, 1) > 0, "%s: a send to the alias: %d", row, sender->job.result);
  h_frame frame = h_await(peer, row);
  CHECK(frame.code == 0, "%s: the relayed request", row);
}

static uint32_t alias_of(uint32_t id) {
  sipwire_conn_info info;
  return h_info(id, &info) ? info.alias_port : 0;
}

static void claim_from_sender(h_sender *self) { self->job.result = sipwire_conn_add_alias(h_instance, (uint32_t)self->job.cookie, self->job.tag); }

/* Two ask for one alias, and the supervisor sees both requests only afterwards. */
static void at_the_same_moment(void) {
  if (h_mode != H_PROCESSES) return; /* a thread cannot be stopped by itself */
  h_peer *peer[2];
  uint32_t id[2];
  h_sender *sender[2];
  sipwire_addr alias;
  int fd = h_listener_open(8, &alias);
  for (int i = 0; i < 2; i++) peer[i] = h_client(), id[i] = h_conn_of(peer[i]), sender[i] = h_sender_new();
  uint64_t added = STAT(aliases_added), refused = STAT(aliases_refused);
  kill(h_supervisor_pid(), SIGSTOP);
  for (int i = 0; i < 2; i++) {
    sender[i]->job.cookie = id[i], sender[i]->job.tag = alias.port;
    h_sender_run(sender[i], claim_from_sender);
    h_sender_wait(sender[i]);
    CHECK_RC(SIPWIRE_OK, sender[i]->job.result);
  }
  CHECK_RC(SIPWIRE_QUEUED, to_alias(sender[1], &alias, SIPWIRE_SEND_NO_CONNECT, 2)); /* it looks behind the claims */
  kill(h_supervisor_pid(), SIGCONT);
  WAIT(STAT(aliases_refused) == refused + 1, "C12: the second of two is refused and counted");
  CHECK_NUM(added + 1, STAT(aliases_added));
  CHECK(alias_of(id[0]) == alias.port && alias_of(id[1]) == 0, "C12: aliases %u and %u", alias_of(id[0]), alias_of(id[1]));
  h_await(peer[0], "C12: what was sent goes to the first");

  /* Of two that one thread asks for one connection the later one stays, also when that is what it had. */
  kill(h_supervisor_pid(), SIGSTOP);
  for (int i = 0; i < 2; i++) {
    sender[0]->job.cookie = id[0], sender[0]->job.tag = i ? alias.port : 10;
    h_sender_run(sender[0], claim_from_sender);
    h_sender_wait(sender[0]);
    CHECK_RC(SIPWIRE_OK, sender[0]->job.result);
  }
  kill(h_supervisor_pid(), SIGCONT);
  WAIT_NUM(added + 3, STAT(aliases_added)); /* one after the other */
  CHECK_NUM(alias.port, alias_of(id[0]));
  for (int i = 0; i < 2; i++) h_close(peer[i]), h_sender_end(sender[i]);
  CHECK(h_accept_now(fd) == NULL, "C12: the alias was dialled");
  close(fd);
}

/* Connections with aliases come and go in few slots and chains; one that stays keeps its own. */
static void come_and_go(h_sender *sender) {
  sipwire_addr stays, goes;
  close(h_refusing_port(&stays));
  h_peer *steady = h_client();
  CHECK_RC(SIPWIRE_OK, claim_in_script(steady, stays.port, "steady"));
  for (uint32_t i = 0; i < 60; i++) {
    h_peer *peer = h_client();
    uint32_t id = h_conn_of(peer);
    goes = stays;
    goes.port = (uint16_t)(101 + i % 20);
    CHECK_RC(SIPWIRE_OK, claim_in_script(peer, goes.port, "goes"));
    check_comes(sender, &goes, peer, "C13: one that goes");
    check_comes(sender, &stays, steady, "C13: the one that stays");
    h_close(peer);
    WAIT(h_find(EV_CLOSE, id, NULL), "C13: closed");
    CHECK_RC(SIPWIRE_E_NO_CONNECTION, to_alias(sender, &goes, SIPWIRE_SEND_NO_CONNECT, 7)); /* C13 */
  }
  check_comes(sender, &stays, steady, "C13: the one that stays");
  h_close(steady);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  h_setting("worker_hold", "200ms");
  h_setting("max_connections", "12");
  h_start(2);
  sipwire_addr alias, other;
  int listening = h_listener_open(8, &alias), dialled_fd = h_listener_open(8, &other);
  h_sender *sender = h_sender_new();
  h_peer *one = h_client(), *two = h_client();
  uint32_t id_one = h_conn_of(one), id_two = h_conn_of(two);

  CHECK_RC(SIPWIRE_E_ALIASES_OFF, claim_in_script(one, alias.port, "off")); /* C11: by default */
  CHECK_NUM(SIPWIRE_E_NO_CONNECTION, (int64_t)*h_word(SENT));
  set_live("accept_aliases", "yes");
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_add_alias(h_instance, id_one, 0));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_add_alias(h_instance, id_one, 65536));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_add_alias(h_instance, 0x40123456, 5060));

  /* In the callback, with a send right behind. */
  CHECK_RC(SIPWIRE_OK, claim_in_script(one, alias.port, "first"));
  CHECK((int64_t)*h_word(SENT) > 0, "C12: the script's own send to the alias: %lld", (long long)*h_word(SENT));
  WAIT(alias_of(id_one) == alias.port, "alias_port");
  CHECK_NUM(1, STAT(aliases_added));
  check_comes(sender, &alias, one, "C12: from another participant");
  CHECK(sipwire_conn_find(h_instance, &alias, NULL, &id_two) == SIPWIRE_OK && id_two == id_one, "found by its alias");
  id_two = h_conn_of(two);
  sipwire_target both = h_to_conn(id_one);
  both.remote = alias;
  CHECK(h_send_here(&both, "OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n", 44, 3) > 0, "id and alias");
  h_await(one, "the one of id and alias");
  CHECK_RC(SIPWIRE_OK, claim_in_script(one, alias.port, "again")); /* it has it */
  CHECK_NUM(1, STAT(aliases_added));

  /* Nobody takes it over. */
  CHECK_RC(SIPWIRE_E_ALIAS_TAKEN, claim_in_script(two, alias.port, "taken")); /* C12 */
  h_await(one, "C12: what the second one's script sent");
  WAIT_NUM(1, STAT(aliases_refused));
  check_comes(sender, &alias, one, "C12: after another one's claim");
  CHECK_NUM(0, alias_of(id_two));
  sipwire_target target = h_to_addr(&other);
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, 0, 400));
  h_peer *dialled = h_accept(dialled_fd);
  WAIT((h_ledger_receive(dialled), h_ledger_received(1) == 1), "the dialled connection");
  CHECK_RC(SIPWIRE_E_ALIAS_TAKEN, sipwire_conn_add_alias(h_instance, id_two, other.port)); /* C12: where we dialled to */
  CHECK_RC(SIPWIRE_E_ALIAS_TAKEN, sipwire_conn_add_alias(h_instance, id_two, one->local.port)); /* C12: where another one came from */
  CHECK_RC(SIPWIRE_OK, sipwire_conn_add_alias(h_instance, id_two, two->local.port));
  CHECK_NUM(0, alias_of(id_two)); /* it is there anyway */

  /* The key is the peer's own address: the same port of another host is another alias. */
  sipwire_addr listener = h_listener(0);
  h_peer *elsewhere = h_connect_from(&listener, "127.0.0.2", 0);
  CHECK(elsewhere, "from 127.0.0.2: %s", strerror(errno));
  CHECK_RC(SIPWIRE_OK, claim_in_script(elsewhere, alias.port, "elsewhere"));
  check_comes(sender, &alias, one, "C12: beside the same port of another host");
  h_close(elsewhere);

  /* Where a suspect one has its own address, the alias serves as long as it is suspect. */
  uint32_t id_dialled = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &other, NULL, &id_dialled));
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_suspect(h_instance, id_dialled, 1));
  CHECK_RC(SIPWIRE_OK, claim_in_script(two, other.port, "beside a suspect"));
  check_comes(sender, &other, two, "C12: beside a suspect one");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_suspect(h_instance, id_dialled, 0));
  check_comes(sender, &other, dialled, "C12: it answers again, and the address is its own");

  /* What waits for the id and its alias is that connection's, as in a send; not what waits for the alias elsewhere. */
  sipwire_addr unanswered;
  h_full_listener full = h_full_listener_open(&unanswered);
  CHECK_RC(SIPWIRE_OK, claim_in_script(two, unanswered.port, "queued"));
  sipwire_target fresh = h_to_addr(&unanswered), waits = h_to_conn(id_two);
  sipwire_target plain = fresh;
  fresh.flags = SIPWIRE_SEND_FRESH;
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&fresh, "OPTIONS", 7, 8));
  waits.remote = unanswered;
  uint64_t bytes = 1;
  WAIT(sipwire_queued(h_instance, &plain, &bytes) == SIPWIRE_OK && bytes == 7, "what waits for the dial");
  CHECK_RC(SIPWIRE_OK, sipwire_queued(h_instance, &waits, &bytes));
  CHECK_NUM(0, bytes);
  for (int i = 0; i < full.fillers; i++) h_close(h_accept(full.fd));
  h_peer *late = h_accept(full.fd);
  WAIT(sipwire_queued(h_instance, &waits, &bytes) == SIPWIRE_OK && bytes == 0, "written");
  h_close(late);
  close(full.fd);

  /* A suspect one gives it up. */
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_suspect(h_instance, id_one, 1));
  CHECK_RC(SIPWIRE_OK, claim_in_script(two, alias.port, "suspect"));
  WAIT(alias_of(id_two) == alias.port && alias_of(id_one) == 0, "C12: aliases %u and %u", alias_of(id_one), alias_of(id_two));
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_suspect(h_instance, id_one, 0));
  check_comes(sender, &alias, two, "C12: the new owner");
  CHECK_RC(SIPWIRE_E_ALIAS_TAKEN, claim_in_script(one, alias.port, "back"));
  h_await(two, "what the first one's script sent");

  /* Another port takes the place of the first. */
  sipwire_addr second = alias;
  second.port = 9;
  CHECK_RC(SIPWIRE_OK, claim_in_script(two, second.port, "moved"));
  check_comes(sender, &second, two, "the new alias");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, to_alias(sender, &alias, SIPWIRE_SEND_NO_CONNECT, 4));
  CHECK_RC(SIPWIRE_OK, claim_in_script(one, alias.port, "free"));
  check_comes(sender, &alias, one, "a port that was given up");
  at_the_same_moment();
  come_and_go(sender);

  /* Turned off: no new ones, and who has one keeps it. */
  set_live("accept_aliases", "no");
  CHECK_RC(SIPWIRE_E_ALIASES_OFF, sipwire_conn_add_alias(h_instance, id_one, 10));
  check_comes(sender, &alias, one, "C11: an alias from before");

  /* Idle, the peer closes: nothing to report, and the alias is gone with the connection. */
  CHECK(h_accept_now(listening) == NULL, "C12: the alias was dialled while it had a connection");
  sipwire_conn_info info;
  WAIT(h_info(id_one, &info) && info.owner == SIPWIRE_OWNER_IDLE, "idle");
  h_close(one);
  WAIT(h_find(EV_CLOSE, id_one, NULL), "C13: closed");
  CHECK_NUM(SIPWIRE_REASON_PEER_CLOSED, h_find(EV_CLOSE, id_one, NULL)->reason);
  WAIT(!h_info(id_one, &info), "C13: the connection is removed");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, to_alias(sender, &alias, SIPWIRE_SEND_NO_CONNECT, 5)); /* C13 */
  CHECK_RC(SIPWIRE_QUEUED, to_alias(sender, &alias, 0, 6));
  h_await(h_accept(listening), "C13: now it is dialled");
  CHECK_NUM(0, h_total(EV_FAILED)); /* C13 */
  h_close(dialled), h_close(two);
  close(listening), close(dialled_fd);
  return h_finish();
}
