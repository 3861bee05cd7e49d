/* modes: processes */
/* args: --full */
/* A worker that holds 100 connections is killed, idle or at some instant of its work: those it only held are served by the
 * other one within 200 ms, at most two are closed, and its replacement holds connections again. */
#include "harness.h"
#include <signal.h>

enum { PEERS = 200, ATTEMPTS = 5, LATEST_MS = 5000, SOON_MS = 200 };
static h_peer *peer[PEERS];
static int asked, cut;

static void ask(int i) {
  char id[32];
  if (peer[i] && h_ended(peer[i])) { /* after its answer */
    h_close(peer[i]);
    peer[i] = NULL;
    cut++;
  }
  if (!peer[i]) peer[i] = h_client();
  snprintf(id, sizeof id, "ask-%d", ++asked);
  h_text text = h_request("OPTIONS", id, NULL, NULL);
  h_try_write(peer[i], text.data, text.length);
}

/* Answered, or ended. */
static void await_all(void) {
  for (int i = 0; i < PEERS; i++) {
    h_frame frame = {0};
    WAIT(h_next(peer[i], &frame) || h_ended(peer[i]), "peer %d is neither answered nor closed", i);
    if (frame.data || h_next(peer[i], &frame)) continue;
    h_close(peer[i]);
    peer[i] = NULL;
    cut++;
  }
}

static uint32_t held_by(int worker) {
  static sipwire_conn_info info[PEERS + 8];
  uint32_t cursor = 0, n = 0;
  info[0].struct_size = sizeof info[0];
  int listed = sipwire_conn_list(h_instance, &cursor, info, PEERS + 8);
  for (int i = 0; i < listed; i++) n += info[i].owner == SIPWIRE_OWNER_HELD && info[i].worker == worker;
  return n;
}

/* `ms`: its work goes on for so long before it is killed; below 0: it is idle. Returns how long the last answer took. */
static uint64_t kill_one(int worker, int ms) {
  uint64_t died = STAT(participants_died);
  pid_t pid = h_worker_pid(worker);
  for (int i = 0; i < PEERS; i++) ask(i);
  CHECK(cut <= 2, "%d connections were closed by the death before", cut);
  cut = 0;
  if (ms < 0) await_all();
  else h_sleep_ms(ms);
  if (ms < 0) WAIT(held_by(worker) >= 80, "worker %d holds %u connections", worker, held_by(worker));
  h_kill(pid);
  h_unseen += ms >= 0; /* perhaps inside an on_open that nobody has recorded */
  if (ms < 0)
    for (int i = 0; i < PEERS; i++) ask(i);
  uint64_t begun = h_now_ms();
  await_all();
  uint64_t took = h_now_ms() - begun;
  CHECK(took < LATEST_MS, "served after %llu ms", (unsigned long long)took);
  WAIT_NUM(died + 1, STAT(participants_died));
  CHECK(cut <= (ms < 0 ? 0 : 2), "%d connections were closed by one death", cut);
  pid = h_fork_worker(worker);
  WAIT(h_worker(worker).running && h_worker(worker).pid == (uint64_t)pid, "its replacement runs");
  return took;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "10m"); /* only death moves connections here */
  h_setting("worker_stall", "10m");
  h_start(2);
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < ATTEMPTS && best > SOON_MS; i++) {
    uint64_t took = kill_one(i % 2, -1);
    best = took < best ? took : best;
    for (int k = 0; k < PEERS; k++) h_close(peer[k]), peer[k] = NULL; /* both hold half of them again */
    WAIT_NUM(0, STAT(slots_used));
  }
  CHECK(best <= SOON_MS, "served after %llu ms at best", (unsigned long long)best);
  for (int i = 0; i < (h_full ? 200 : 8); i++) kill_one(i % 2, (int)(random() % 4));
  return h_finish();
}
