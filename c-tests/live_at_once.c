/* modes: threads processes */
/* A live setting takes effect at once, whatever the supervisor does at that moment: it never sleeps here. */
#include "deadline.h"

enum { ROUNDS = 400 };
static uint32_t busy;

static void post(h_sender *self) {
  while (*h_word(1) == 0) sipwire_conn_resume(h_instance, self->job.target.conn_id);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("connection_lifetime", "10m");
  h_setting("worker_hold", "0");
  h_setting("linger", "0");
  h_start(1);
  h_peer *other = h_client();
  busy = h_conn_of(other);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_lifetime(h_instance, busy, 600000));
  h_sender *sender = h_sender_new();
  sender->job.target = h_to_conn(busy);
  h_sender_run(sender, post);
  for (int i = 0; i < ROUNDS; i++) {
    h_peer *peer = h_client();
    uint32_t id = h_conn_of(peer);
    set_live("connection_lifetime", "10ms");
    WAIT_FOR(5, h_find(EV_CLOSE, id, NULL), "round %d: the shorter lifetime", i);
    set_live("connection_lifetime", "10m");
    h_close(peer);
  }
  *h_word(1) = 1;
  h_sender_wait(sender);
  h_sender_end(sender);
  return h_finish();
}
