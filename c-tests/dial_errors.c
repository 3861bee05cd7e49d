/* modes: threads processes */
/* What fails on our own side says nothing about the destination: it is reported, and not blacklisted. What the
 * destination does is, also when the connection was to end after the message anyway. */
#include "harness.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(1);
  sipwire_addr healthy, taken, refusing;
  int listening = h_listener_open(8, &healthy), other = h_listener_open(8, &taken), bound = h_refusing_port(&refusing);

  sipwire_target target = h_to_addr(&healthy);
  target.local = taken; /* somebody else's port */
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, 0, 500));
  WAIT(h_failure((uint64_t)1 << 32), "the report");
  CHECK_NUM(SIPWIRE_REASON_RESOURCE, h_failure((uint64_t)1 << 32)->reason);
  CHECK_NUM(EADDRINUSE, h_failure((uint64_t)1 << 32)->error);
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &healthy));
  target = h_to_addr(&healthy);
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 1, 1, 500));
  h_peer *peer = h_accept(listening);
  WAIT((h_ledger_receive(peer), h_ledger_settled()), "the message at the healthy destination");

  target = h_to_addr(&refusing);
  target.flags = SIPWIRE_SEND_CLOSE_AFTER;
  uint64_t failed = STAT(connect_failed);
  CHECK_RC(SIPWIRE_QUEUED, h_send_numbered_here(&target, 2, 0, 500));
  WAIT(h_failure((uint64_t)2 << 32), "the report");
  CHECK_NUM(SIPWIRE_REASON_CONNECT_FAILED, h_failure((uint64_t)2 << 32)->reason);
  CHECK_NUM(ECONNREFUSED, h_failure((uint64_t)2 << 32)->error);
  CHECK_NUM(1, sipwire_blacklist_check(h_instance, &refusing));
  WAIT_NUM(failed + 1, STAT(connect_failed));
  h_ledger_check();
  close(listening), close(other), close(bound);
  return h_finish();
}
