/* modes: processes */
/* A send that was refused because all queues are full asks for the end of the destination's connection. The supervisor
 * dies with that word in hand: its successor reports every accepted message, and not the refused one. */
#include "harness.h"
#include <signal.h>

enum { REFUSED, ACCEPTED, LAST };
static char message[700];

static void send_until_refused(void *unused) {
  (void)unused;
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  sipwire_iov iov = {message, sizeof message};
  for (uint32_t n = 1; n < 20000; n++) {
    sipwire_addr addr = {.family = 4, .port = 9, .ip = {127, 1, (uint8_t)(n >> 8), (uint8_t)n}}; /* refuses */
    sipwire_target target = h_to_addr(&addr);
    int32_t rc = sipwire_send(h_instance, &target, &iov, 1, n);
    if (rc < 0) {
      CHECK_RC(SIPWIRE_E_TOTAL_QUEUE_FULL, rc);
      *h_word(REFUSED) = n;
      break;
    }
    *h_word(ACCEPTED) = n;
  }
  *h_word(LAST) = 1;
  for (;;) pause();
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("wq_max", "2m");
  h_setting("blacklist_ttl", "0");
  h_start(1);
  memset(message, 'x', sizeof message);
  memcpy(message, "OPTIONS sip:a SIP/2.0\r\n", 23);
  pid_t supervisor = h_supervisor_pid(), worker = h_worker_pid(0);
  h_expect_exit(supervisor);
  h_expect_exit(worker);
  kill(supervisor, SIGSTOP);
  pid_t sender = h_fork(send_until_refused, NULL);
  h_expect_exit(sender);
  WAIT(*h_word(LAST), "refused");
  CHECK(*h_word(REFUSED) != 0, "nothing was refused");
  kill(supervisor, SIGCONT);
  WAIT(h_total(EV_FAILED) > 0, "it has taken the list and is placing it");
  kill(supervisor, SIGKILL);
  WAIT(h_gone(supervisor) && h_gone(worker), "gone");
  h_fork_supervisor();
  h_fork_worker(0);
  WAIT(h_total(EV_FAILED) >= *h_word(ACCEPTED), "%llu of %llu accepted messages were reported", (unsigned long long)h_total(EV_FAILED),
       (unsigned long long)*h_word(ACCEPTED));
  CHECK_NUM(*h_word(ACCEPTED), h_total(EV_FAILED));
  CHECK_NUM(0, h_failure_count(*h_word(REFUSED)));
  kill(sender, SIGKILL);
  WAIT(h_gone(sender), "the sender is gone");
  return h_finish();
}
