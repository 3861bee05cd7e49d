/* modes: threads processes */
/* Messages by address while the connection comes into being: each sender's are in order although the first go through
 * the dial and the later ones find the connection. One dial for each destination, whatever the number of senders. */
#include "harness.h"

enum { SENDERS = 4, EACH = 400, ROUNDS = 5, DESTINATIONS = 20 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("conn_wq_max", "4m");
  h_start(2);
  h_sender *sender[SENDERS];
  for (int i = 0; i < SENDERS; i++) sender[i] = h_sender_new();
  sipwire_addr addr;

  for (uint32_t round = 0; round < ROUNDS; round++) {
    int fd = h_listener_open(8, &addr);
    sipwire_target target = h_to_addr(&addr);
    for (int i = 0; i < SENDERS; i++) {
      h_hold(sender[i]);
      h_send_numbered(sender[i], &target, (uint32_t)i + 1, round * EACH, EACH, 600);
    }
    h_release();
    h_peer *peer = h_accept(fd);
    for (int i = 0; i < SENDERS; i++) {
      h_sender_wait(sender[i]);
      CHECK_NUM(0, sender[i]->job.refused);
    }
    WAIT((h_ledger_receive(peer), h_ledger_settled()), "round %u: every message over the one connection", round);
    CHECK_NUM(round + 1, STAT(dialled));
    CHECK(h_accept_now(fd) == NULL, "round %u: a second connection", round);
    h_close(peer);
    close(fd);
    WAIT(STAT(connections) == 0, "closed");
  }

  /* twenty destinations at once, all senders to each */
  int fd[DESTINATIONS];
  h_peer *peer[DESTINATIONS];
  sipwire_addr many[DESTINATIONS];
  for (int d = 0; d < DESTINATIONS; d++) fd[d] = h_listener_open(8, &many[d]);
  for (uint32_t d = 0; d < DESTINATIONS; d++) {
    sipwire_target target = h_to_addr(&many[d]);
    for (int i = 0; i < SENDERS; i++) {
      if (sender[i]->busy) h_sender_wait(sender[i]);
      h_send_numbered(sender[i], &target, 10 + d, (uint32_t)i * 100, 1, 600);
    }
  }
  for (int i = 0; i < SENDERS; i++) h_sender_wait(sender[i]);
  for (int d = 0; d < DESTINATIONS; d++) peer[d] = h_accept(fd[d]);
  for (int d = 0; d < DESTINATIONS; d++) {
    int messages = 0;
    while (messages < SENDERS) { /* of four senders: in any order, so not by the ledger */
      h_frame frame = h_await(peer[d], "a message");
      char value[32];
      CHECK(h_header(frame.data, frame.header_length, "X-Number", value, sizeof value) && atoi(value) == 10 + d, "destination %d received %s", d, value);
      messages++;
    }
    CHECK(h_accept_now(fd[d]) == NULL, "destination %d: a second connection", d);
    close(fd[d]);
  }
  CHECK_NUM(ROUNDS + DESTINATIONS, STAT(dialled));
  CHECK_NUM(0, h_total(EV_FAILED));
  return h_finish();
}
