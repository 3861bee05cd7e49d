/* modes: threads processes */
/* sipwire_stop while clients' PROXY headers are awaited: they end at once. A child that the host had forked meanwhile,
 * and that holds copies of their descriptors, does not keep them. */
#include "proxy.h"

enum { WAITING = 3 };

static void hold(void *unused) {
  (void)unused;
  while (*h_word(0) == 0) h_sleep_ms(1);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("proxy_timeout", "60s");
  h_setting("proxy_protocol", "required");
  h_start(1);
  sipwire_addr listener = h_listener(0);
  h_peer *waiting[WAITING];
  for (int i = 0; i < WAITING; i++) waiting[i] = h_connect(&listener);
  WAIT_NUM(WAITING, STAT(proxy_waiting));
  pid_t child = h_fork(hold, NULL);
  h_expect_exit(child);
  h_stop();
  for (int i = 0; i < WAITING; i++) h_await_end(waiting[i], "a stop");
  CHECK_NUM(0, STAT(proxy_waiting));
  CHECK_NUM(0, STAT(refused_proxy));
  *h_word(0) = 1;
  WAIT(h_gone(child), "the child");
  return h_finish();
}
