/* modes: processes */
/* Participants come and go, with sipwire_detach, without it, and killed; none is left. The setting "participants"
 * bounds them, and whoever does not fit is told so. */
#include "harness.h"

enum { CHILDREN = 40, LIMIT = 12 };
static sipwire_addr peer_addr;

static void send_one(void *number) {
  int n = *(int *)number;
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  sipwire_target target = h_to_addr(&peer_addr);
  CHECK(h_send_numbered_here(&target, 1, (uint32_t)n, 700) > 0, "child %d: send", n);
  if (n % 3 == 0) CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
  if (n % 3 == 0) CHECK_RC(SIPWIRE_E_NOT_ATTACHED, h_send_here(&target, "x", 1, 1));
  if (n % 3 == 1) abort(); /* else: an exit like any other, without a word */
}

static void attach_and_wait(void *word) {
  _Atomic uint64_t *w = word;
  int32_t rc = sipwire_attach(h_instance);
  if (rc == SIPWIRE_OK) w[1]++;
  else if (rc == SIPWIRE_E_NO_PARTICIPANT) w[2]++;
  else h_fail(__FILE__, __LINE__, "sipwire_attach: %d (%s)", rc, sipwire_strerror(rc));
  while (!w[0]) h_sleep_ms(1);
  if (rc == SIPWIRE_OK) CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("participants", "12");
  h_start(2);
  h_peer *peer = h_client();
  h_conn_of(peer);
  peer_addr = peer->local;
  uint64_t before = STAT(participants);
  for (int n = 0; n < CHILDREN; n++) {
    pid_t pid = h_fork(send_one, &n);
    h_expect_exit(pid);
    WAIT(h_gone(pid), "child %d ends", n);
    WAIT((h_ledger_receive(peer), h_ledger_received(1) == (uint32_t)n + 1) || h_ended(peer), "child %d: its message", n);
    CHECK(!h_ended(peer), "child %d: the connection was closed by the end of a process that had finished sending", n);
    WAIT(STAT(participants) == before, "child %d: %llu participants, %llu before", n, (unsigned long long)STAT(participants), (unsigned long long)before);
  }
  CHECK_NUM(CHILDREN, h_ledger_received(1));

  pid_t many[LIMIT];
  for (int i = 0; i < LIMIT; i++) h_expect_exit(many[i] = h_fork(attach_and_wait, (void *)h_word(10)));
  WAIT(*h_word(11) + *h_word(12) == LIMIT, "all have tried");
  CHECK(*h_word(12) >= before, "%llu were refused with %llu attached before", (unsigned long long)*h_word(12), (unsigned long long)before);
  CHECK(*h_word(11) >= 1, "nobody was let in");
  CHECK_NUM(before + *h_word(11), STAT(participants));
  *h_word(10) = 1;
  for (int i = 0; i < LIMIT; i++) WAIT(h_gone(many[i]), "child %d ends", i);
  WAIT(STAT(participants) == before, "%llu participants are left", (unsigned long long)STAT(participants));
  return h_finish();
}
