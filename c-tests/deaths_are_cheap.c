/* modes: processes */
/* A participant's death makes the supervisor look at what was in use, not at all that could be: neither its memory
 * nor the time of others pays for the size of the pool. */
#include "harness.h"

static void attach_and_send(void *target) {
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  CHECK(h_send_numbered_here(target, 1, *(uint32_t *)h_word(0), 700) > 0, "the child's send");
  _exit(0); /* without a word to the library: as if it had been killed */
}

static long shared_kb(pid_t pid) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *file = fopen(path, "r");
  long kb = -1;
  while (file && fgets(line, sizeof line, file)) sscanf(line, "RssShmem: %ld", &kb);
  if (file) fclose(file);
  return kb;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("wq_max", "256m"); /* a pool of more than 1 GB */
  h_setting("partial_max", "256m");
  h_start(2);
  h_peer *peer = h_client();
  sipwire_target target = h_to_conn(h_conn_of(peer));
  for (uint32_t n = 0; n < 10; n++) {
    *h_word(0) = n;
    pid_t pid = h_fork(attach_and_send, &target);
    h_expect_exit(pid);
    WAIT(h_gone(pid), "child %u ends", n);
    WAIT_NUM(n + 1, STAT(participants_died));
  }
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == 10), "every message of the dead");
  CHECK(shared_kb(h_supervisor_pid()) < 32 * 1024, "the supervisor has %ld KB of the segment resident", shared_kb(h_supervisor_pid()));
  return h_finish();
}
