/* modes: threads processes */
/* The library itself prints nothing: errors, refusals and closes go to the log callback, never to stdout or stderr. */
#include "harness.h"
#include <sys/mman.h>

int main(int argc, char **argv) {
  int sink = memfd_create("output", MFD_CLOEXEC);
  h_stderr = dup(2);
  dup2(sink, 1);
  dup2(sink, 2);
  h_init(argc, argv);
  h_setting("blacklist_ttl", "0");
  h_start(2);
  h_peer *peer = h_client();
  h_write(peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
  h_await_end(peer, "bad input");
  peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "ok", NULL, NULL));
  h_await_answer(peer, 200, "ok");
  h_reset(peer);
  sipwire_addr addr;
  int fd = h_refusing_port(&addr);
  sipwire_target target = h_to_addr(&addr);
  CHECK(h_send_here(&target, "x", 1, 5) >= 0, "dial");
  WAIT(h_failure(5), "its failure");
  sipwire_config_set(h_config, "nonsense", "1");
  sipwire_set(h_instance, "nonsense", "1", NULL, 0);
  close(fd);
  WAIT((sipwire_log_drain(h_instance), h_total(EV_LOG) > 0), "something in the log");
  int rc = h_finish();
  char text[512];
  ssize_t n = pread(sink, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = 0;
  CHECK(n == 0, "the library printed: %s", text);
  close(sink);
  close(h_stderr);
  return rc;
}
