/* modes: threads processes */
/* rows: C6 */
/* The host says that a connection does not answer: what is sent by address takes a new one, what is sent by id still
 * takes it, and what it brings is still delivered. */
#include "harness.h"

static void mark_in_sender(h_sender *self) { self->job.result = sipwire_conn_set_suspect(h_instance, (uint32_t)self->job.cookie, (int32_t)self->job.tag); }
static h_sender *sender;
static void suspect(uint32_t id, bool on) { /* by any participant */
  sender->job.cookie = id, sender->job.tag = on;
  h_sender_run(sender, mark_in_sender);
  h_sender_wait(sender);
  CHECK_RC(SIPWIRE_OK, sender->job.result);
}

static uint32_t next;
static void goes_over(const sipwire_target *target, h_peer *peer, const char *what) {
  CHECK(h_send_numbered_here(target, 1, next++, 400) > 0, "%s", what);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == next), "%s", what);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(2);
  sender = h_sender_new();
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, next++, 400));
  h_peer *old = h_accept(fd);
  WAIT((h_ledger_receive(old), h_ledger_received(1) == 1), "the first connection");
  uint32_t id = 0, found = 0;
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &addr, NULL, &id));
  CHECK_NUM(0, h_conn_flags(id) & SIPWIRE_CONN_SUSPECT);

  suspect(id, true);
  CHECK(h_conn_flags(id) & SIPWIRE_CONN_SUSPECT, "the mark shows");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_find(h_instance, &addr, NULL, &found));
  target.flags = SIPWIRE_SEND_NO_CONNECT;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&target, "x", 1, 1));
  target.flags = 0;
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, next++, 400));
  h_peer *fresh = h_accept(fd);
  WAIT((h_ledger_receive(fresh), h_ledger_received(1) == next), "a send by address dials a new one");
  sipwire_target by_id = h_to_conn(id), both = h_to_conn(id);
  both.remote = addr;
  goes_over(&by_id, old, "by id the suspect one serves");
  goes_over(&both, old, "by id and address, too");
  goes_over(&target, fresh, "by address the new one");
  CHECK(sipwire_conn_find(h_instance, &addr, NULL, &found) == SIPWIRE_OK && found != id, "the new one is found");
  h_write_text(old, h_request("OPTIONS", "still", NULL, NULL));
  h_await_answer(old, 200, "still"); /* delivered and answered */

  h_close(fresh);
  WAIT(STAT(connections) == 1, "closed");
  suspect(id, false);
  goes_over(&target, old, "it answers again");
  CHECK_NUM(2, STAT(dialled));

  /* A mark that comes too late marks nobody. */
  h_close(old);
  sipwire_conn_info info;
  WAIT(!h_info(id, &info), "closed");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_set_suspect(h_instance, id, 1));
  CHECK_NUM(0, h_total(EV_FAILED));
  close(fd);
  return h_finish();
}
