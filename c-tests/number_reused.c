/* modes: processes */
/* A participant number has a new tenant while its last one's messages still wait for the supervisor: the new tenant's
 * own messages are neither taken for the old one's nor sent out of order with them. */
#include "harness.h"
#include <signal.h>

enum { COOKIE = 77, ROUNDS = 4 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(1);
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "known", NULL, NULL));
  h_await_answer(peer, 200, "known");
  sipwire_target target = h_to_addr(&peer->local);
  sipwire_addr refusing;
  int fd = h_refusing_port(&refusing);
  h_text text = h_request("OPTIONS", "lost", NULL, NULL);

  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  for (uint32_t round = 0; round < ROUNDS; round++) {
    kill(h_supervisor_pid(), SIGSTOP);
    sipwire_target to_refusing = h_to_addr(&refusing);
    CHECK_RC(SIPWIRE_QUEUED, h_send_here(&to_refusing, text.data, text.length, COOKIE + round)); /* to be dialled */
    CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
    CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
    for (uint32_t number = 0; number < 3; number++) /* while nobody serves */
      CHECK(h_send_numbered_here(&target, 1, round * 6 + number, 600) >= 0, "refused");
    kill(h_supervisor_pid(), SIGCONT);
    for (uint32_t number = 3; number < 6; number++)
      CHECK(h_send_numbered_here(&target, 1, round * 6 + number, 600) >= 0, "refused");
    WAIT((h_ledger_receive(peer), h_ledger_received(1) == (round + 1) * 6), "every message, in order");
    WAIT(h_failure(COOKIE + round), "the last tenant's message was reported");
    CHECK_NUM(1, h_failure_count(COOKIE + round));
    CHECK(sipwire_blacklist_remove(h_instance, &refusing) == 1, "a refused dial was not blacklisted");
  }
  close(fd);
  return h_finish();
}
