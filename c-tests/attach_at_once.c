/* modes: processes */
/* Two threads of a process attach at the same instant when there is a number for one only: who is told OK can send. */
#include "harness.h"
#include <pthread.h>

enum { LIMIT = 8, ROUNDS = 1000, END = 0, HELD = 1 };
static pthread_barrier_t gate;
static sipwire_addr to;
typedef struct attempt { int32_t attached, sent; } attempt;

static void *attach_and_send(void *argument) {
  attempt *it = argument;
  sipwire_target target = h_to_addr(&to);
  pthread_barrier_wait(&gate);
  it->attached = sipwire_attach(h_instance);
  pthread_barrier_wait(&gate); /* the other one's failure is over */
  if (it->attached == SIPWIRE_OK) it->sent = h_send_here(&target, "OPTIONS sip:x SIP/2.0\r\n\r\n", 25, 1);
  pthread_barrier_wait(&gate);
  return NULL;
}

static void two_threads(void *unused) {
  (void)unused;
  CHECK(pthread_barrier_init(&gate, NULL, 2) == 0, "pthread_barrier_init");
  for (int round = 0; round < ROUNDS; round++) {
    pthread_t thread[2];
    attempt it[2] = {{0}};
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&thread[i], NULL, attach_and_send, &it[i]) == 0, "pthread_create");
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) {
      CHECK(it[i].attached == SIPWIRE_OK || it[i].attached == SIPWIRE_E_NO_PARTICIPANT, "attach: %d", it[i].attached);
      CHECK(it[i].attached != SIPWIRE_OK || it[i].sent > 0, "round %d: attached, and the send returned %d (%s)", round, it[i].sent, sipwire_strerror(it[i].sent));
    }
    sipwire_detach(h_instance); /* by whichever thread: the process takes part no longer */
  }
}

static void hold_a_number(void *unused) {
  (void)unused;
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  for (++*h_word(HELD); !*h_word(END);) h_sleep_ms(1);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("participants", "8");
  h_start(1);
  h_peer *peer = h_client();
  h_conn_of(peer);
  to = peer->local;
  uint64_t others = LIMIT - 1 - STAT(participants);
  for (uint64_t i = 0; i < others; i++) h_expect_code(h_fork(hold_a_number, NULL), 0);
  WAIT_NUM(others, *h_word(HELD));
  pid_t child = h_fork(two_threads, NULL);
  h_expect_code(child, 0);
  WAIT_FOR(60, h_gone(child), "all rounds");
  *h_word(END) = 1;
  return h_finish();
}
