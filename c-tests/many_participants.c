/* modes: processes */
/* timeout: 180 */
/* More participants than have a bit of their own in a slot: their descriptors of ended connections are swept too. And
 * more that come at once than the channel for announcements takes: none is turned away. */
#include "harness.h"
#include <pthread.h>
#include <signal.h>

enum { WORKERS = 70, BATCH = 140, THREADS = 350 };

static int worker_fds(void) {
  int n = 0;
  for (int w = 0; w < WORKERS; w++) n += h_count_fds(h_worker_pid(w));
  return n;
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
  WAIT(worker_fds() <= WORKERS * 20, "%d descriptors", worker_fds()); /* each has its own dozen */
  int before = 0;
  WAIT((before = worker_fds(), h_sleep_ms(300), before == worker_fds()), "descriptors come to rest");
  for (int i = 0; i < 3; i++) batch();
  WAIT(worker_fds() <= before + 10, "%d descriptors, were %d", worker_fds(), before);

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
