/* modes: processes */
/* With the supervisor stopped for two seconds senders return at once and workers go on; when it runs again all is
 * delivered, and nobody healthy is closed although send_timeout has passed meanwhile. */
#include "harness.h"
#include <signal.h>

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("send_timeout", "1s");
  h_setting("conn_wq_max", "1m");
  h_setting("connect_timeout", "1500ms");
  h_setting("worker_hold", "30s");
  h_setting("connection_lifetime", "30s");
  h_start(2);
  h_sender *sender = h_sender_new(), *other = h_sender_new();
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  h_peer *idle = h_client(), *held = h_client();
  sipwire_target to_idle = h_to_conn(h_conn_of(idle)), to_held = h_to_conn(h_conn_of(held)), dial = h_to_addr(&addr);
  h_write_text(held, h_request("OPTIONS", "held", NULL, NULL));
  h_await_answer(held, 200, "held");

  kill(h_supervisor_pid(), SIGSTOP);
  uint64_t begin = h_now_ms();
  h_send_numbered(sender, &to_idle, 1, 0, 20, 2000);
  h_sender_wait(sender); /* comes back with the supervisor stopped: that it comes back at all is the point */
  CHECK_NUM(0, sender->job.refused);
  h_send_numbered(sender, &dial, 2, 0, 5, 2000);
  h_send_numbered(other, &to_held, 3, 0, 20, 2000);
  h_sender_wait(sender);
  h_sender_wait(other);
  CHECK_NUM(5, sender->job.queued);
  CHECK_NUM(0, other->job.refused);
  h_write_text(held, h_request("OPTIONS", "still", NULL, NULL)); /* its worker needs no supervisor to read */
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: still"), "a held connection is read with the supervisor stopped");
  while (h_now_ms() < begin + 2200) h_tick();
  CHECK_NUM(0, h_total(EV_CLOSE));
  kill(h_supervisor_pid(), SIGCONT);

  WAIT((h_ledger_receive(idle), h_ledger_received(1) == 20), "queued messages are delivered: %u of 20", h_ledger_received(1));
  h_peer *dialled = h_accept(fd);
  WAIT((h_ledger_receive(dialled), h_ledger_received(2) == 5), "so is what waited for a dial");
  /* the answer to "still" stands somewhere between the numbered messages */
  size_t answers = 0, numbered = 0;
  while (answers + numbered < 21) {
    h_frame frame = h_await(held, "the messages on the held connection");
    if (frame.code == 200) answers++;
    else numbered++;
  }
  CHECK_NUM(1, answers);
  STAYS(500, h_total(EV_CLOSE) == 0, "a healthy connection was closed by a late supervisor");
  CHECK_NUM(0, h_total(EV_FAILED));
  close(fd);
  return h_finish();
}
