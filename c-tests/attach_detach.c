/* modes: processes */
/* Participants come and go, with sipwire_detach, without it, and killed; none is left. The setting "participants"
 * bounds them, and whoever does not fit is told so. */
#include "harness.h"
#include <pthread.h>
#include <signal.h>

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

/* The instance is freed while a thread that sent still lives: its number comes back although the process stays. */
static void *send_and_stay(void *number) {
  sipwire_target target = h_to_addr(&peer_addr);
  CHECK(h_send_numbered_here(&target, 2, *(uint32_t *)number, 700) > 0, "send");
  *h_word(20) = 1;
  while (!*h_word(21)) h_sleep_ms(1);
  return NULL;
}
static void free_beside_a_thread(void *number) {
  pthread_t thread;
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  CHECK(pthread_create(&thread, NULL, send_and_stay, number) == 0, "pthread_create");
  while (!*h_word(20)) h_sleep_ms(1);
  sipwire_free(h_instance);
  h_instance = NULL;
  while (!*h_word(21)) h_sleep_ms(1);
  pthread_join(thread, NULL);
}

static int32_t attaching_script(sipwire_instance *instance, sipwire_message *message) {
  char value[8];
  if (h_header(message->data, message->header_length, "X-Attach", value, sizeof value)) CHECK_RC(SIPWIRE_OK, sipwire_attach(instance));
  return h_default_script(instance, message);
}

/* sipwire_attach without effect: in a callback, or when there is no number. The process may be a worker as before. */
static void work_attach_and_work_again(void *peer) {
  (void)peer;
  CHECK_RC(SIPWIRE_E_NO_PARTICIPANT, sipwire_attach(h_instance));
  *h_word(22) = 1;
  while (!*h_word(23)) h_sleep_ms(1);
  int32_t rc;
  do rc = sipwire_run_worker(h_instance, 0), ++*h_word(24);
  while (rc == SIPWIRE_E_SUPERVISOR_GONE);
  CHECK_RC(SIPWIRE_OK, rc);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("participants", "12");
  h_script = attaching_script;
  h_start(2);
  h_peer *peer = h_client();
  h_conn_of(peer);
  peer_addr = peer->local;
  uint64_t before = STAT(participants);
  for (int n = 0; n < CHILDREN; n++) {
    pid_t pid = h_fork(send_one, &n);
    if (n % 3 == 1) h_expect_signal(pid, SIGABRT);
    else h_expect_code(pid, 0);
    WAIT(h_gone(pid), "child %d ends", n);
    WAIT((h_ledger_receive(peer), h_ledger_received(1) == (uint32_t)n + 1) || h_ended(peer), "child %d: its message", n);
    CHECK(!h_ended(peer), "child %d: the connection was closed by the end of a process that had finished sending", n);
    WAIT(STAT(participants) == before, "child %d: %llu participants, %llu before", n, (unsigned long long)STAT(participants), (unsigned long long)before);
  }
  CHECK_NUM(CHILDREN, h_ledger_received(1));

  pid_t many[LIMIT];
  for (int i = 0; i < LIMIT; i++) h_expect_code(many[i] = h_fork(attach_and_wait, (void *)h_word(10)), 0);
  WAIT(*h_word(11) + *h_word(12) == LIMIT, "all have tried");
  CHECK(*h_word(12) >= before, "%llu were refused with %llu attached before", (unsigned long long)*h_word(12), (unsigned long long)before);
  CHECK(*h_word(11) >= 1, "nobody was let in");
  CHECK_NUM(before + *h_word(11), STAT(participants));
  *h_word(10) = 1;
  for (int i = 0; i < LIMIT; i++) WAIT(h_gone(many[i]), "child %d ends", i);
  WAIT(STAT(participants) == before, "%llu participants are left", (unsigned long long)STAT(participants));

  uint32_t first = 0;
  pid_t freeing = h_fork(free_beside_a_thread, &first);
  h_expect_code(freeing, 0);
  WAIT((h_ledger_receive(peer), h_ledger_received(2) == 1), "its message");
  WAIT(*h_word(20) && STAT(participants) == before, "%llu participants, %llu before", (unsigned long long)STAT(participants), (unsigned long long)before);
  *h_word(21) = 1;
  WAIT(h_gone(freeing), "the process ends");

  /* no number is free, then one is */
  uint64_t died = STAT(participants_died);
  *h_word(10) = *h_word(11) = *h_word(12) = 0;
  for (int i = 0; i < LIMIT; i++) h_expect_code(many[i] = h_fork(attach_and_wait, (void *)h_word(10)), 0);
  WAIT(*h_word(11) + *h_word(12) == LIMIT, "all have tried");
  pid_t worker = h_fork(work_attach_and_work_again, NULL);
  h_expect_code(worker, 0);
  WAIT(*h_word(22), "it was refused");
  *h_word(10) = 1;
  for (int i = 0; i < LIMIT; i++) WAIT(h_gone(many[i]), "child %d ends", i);
  for (int w = 0; w < 2; w++) h_kill(h_worker_pid(w));
  WAIT(STAT(participants_died) == died + 2, "both workers' deaths are seen");
  *h_word(23) = 1;
  h_peer *last = h_client();
  h_write_text(last, h_request("OPTIONS", "attach", "X-Attach: 1\r\n", NULL));
  h_await_answer(last, 200, "attach");
  h_kill(h_supervisor_pid());
  WAIT(*h_word(24) >= 1, "its supervisor is gone");
  h_fork_supervisor();
  last = h_client();
  h_write_text(last, h_request("OPTIONS", "again", NULL, NULL));
  h_await_answer(last, 200, "again");
  h_close(last);
  WAIT(STAT(slots_used) == 0, "closed");
  h_stop();
  WAIT(h_gone(worker), "the worker ends");
  return h_finish();
}
