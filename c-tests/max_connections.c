/* modes: threads processes */
/* Above max_connections a new connection is closed and counted; when one ends there is room again. */
#include "harness.h"

enum { LIMIT = 5, MORE = 3 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("max_connections", "5");
  h_start(1);
  h_peer *peer[LIMIT], *over[MORE];
  for (int i = 0; i < LIMIT; i++) {
    peer[i] = h_client();
    h_conn_of(peer[i]);
  }
  for (int i = 0; i < MORE; i++) {
    over[i] = h_client();
    h_await_end(over[i], "one too many");
  }
  WAIT_NUM(MORE, STAT(refused_max_connections));
  WAIT_NUM(LIMIT, STAT(connections));
  sipwire_addr addr;
  int fd = h_listener_open(4, &addr);
  sipwire_target target = h_to_addr(&addr);
  int32_t rc = h_send_here(&target, "x", 1, 77); /* a dial needs a slot too: refused, or reported */
  if (rc >= 0) {
    WAIT(h_failure(77), "no slot for the dial");
    CHECK_NUM(SIPWIRE_REASON_RESOURCE, h_failure(77)->reason);
  }
  CHECK_NUM(0, sipwire_blacklist_check(h_instance, &addr)); /* that is not the destination's fault */
  for (int i = 0; i < LIMIT; i++) {
    h_write_text(peer[i], h_request("OPTIONS", "served", NULL, NULL));
    h_await_answer(peer[i], 200, "served");
  }
  h_close(peer[0]);
  WAIT(STAT(slots_used) == LIMIT - 1, "room again");
  peer[0] = h_client();
  h_write_text(peer[0], h_request("OPTIONS", "again", NULL, NULL));
  h_await_answer(peer[0], 200, "again");
  close(fd);
  return h_finish();
}
