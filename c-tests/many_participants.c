/* modes: processes */
/* timeout: 180 */
/* More participants than have a bit of their own in a slot: their descriptors of ended connections are swept too. And
 * more that come at once than the channel for announcements takes: none is turned away. */
#include "harness.h"
#include <pthread.h>
#include <signal.h>

enum { WORKERS = 70, BATCH = 140, THREADS = 350 };

/* At rest all have the same number of descriptors, those with a bit in the slots and those without. */
static int most;
static bool alike(void) {
  int fewest = most = h_count_fds(h_worker_pid(0));
  for (int w = 1; w < WORKERS; w++) {
    int n = h_count_fds(h_worker_pid(w));
    if (n > most) most = n;
    if (n < fewest) fewest = n;
  }
  return most == fewest;
}

static void batch(void) {
  h_peer *peer[BATCH];
  for (int i = 0; i < BATCH; i++) {
    peer[i] = h_client();
    h_write_text(peer[i], h_request("OPTIONS", "many", NULL, NULL));
  }
  for (int i = 0; i < BATCH; i++) h_await_answer(peer[i], 200, "many");
  for (int i = 0; i < BATCH; i++) h_close(peer[i]);
  WAIT(STAT(connections) == 0, "all closed");
}

static sipwire_target to_peer;
static void *first_send(void *number) {
  int32_t rc = h_send_numbered_here(&to_peer, 1, (uint32_t)(uintptr_t)number, 400);
  if (rc < 0) h_fail(__FILE__, __LINE__, "thread %d: %d (%s)", (int)(uintptr_t)number, rc, sipwire_strerror(rc));
  return NULL;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("participants", "500");
  h_setting("conn_wq_max", "1m");
  h_time_limit(170);
  h_start(WORKERS);
  batch();
  WAIT(alike(), "one worker has %d descriptors, another fewer", most);
  int before = most; /* two of them may be of ended connections still: a batch has two for each worker */
  for (int i = 0; i < 3; i++) batch();
  WAIT(alike() && most <= before, "a worker has %d descriptors, all had %d", most, before);

  h_peer *peer = h_client();
  to_peer = h_to_conn(h_conn_of(peer));
  kill(h_supervisor_pid(), SIGSTOP);
  for (int i = 0; i < THREADS; i++) { /* one after the other, so that their order is known; none waits for the supervisor */
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, first_send, (void *)(uintptr_t)i) == 0, "thread %d", i);
    pthread_join(thread, NULL);
  }
  kill(h_supervisor_pid(), SIGCONT);
  WAIT((h_ledger_receive(peer), h_ledger_received(1) == THREADS), "%u of %d messages arrived", h_ledger_received(1), THREADS);
  WAIT(STAT(participants) <= WORKERS + 2, "%llu participants are left", (unsigned long long)STAT(participants));
  return h_finish();
}
