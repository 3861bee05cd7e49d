/* modes: threads processes */
/* timeout: 200 */
/* 50,000 connections opened and closed in every way leave slots, blocks, fds and memory of supervisor and workers
 * where they were. */
#include "harness.h"

enum { WORKERS = 2, BATCH = 50, WARM = 6000 / BATCH, BATCHES = 50000 / BATCH };
/* Some are opened when first needed. And pages that are touched later than others: 64 KB are one and a half bytes for
 * each connection. What is in use of the shared ones the statistics say to the block. */
enum { ALLOWED_FDS = 12, ALLOWED_OWN_KB = 64, ALLOWED_SHARED_KB = 128 };

typedef struct level { uint64_t blocks, queued, partial; h_memory memory; } level;

/* Of every process in which the library runs. */
static pid_t process(int i) { return i < WORKERS ? h_worker_pid(i) : h_supervisor_pid(); }
static int processes(void) { return h_mode == H_PROCESSES ? WORKERS + 1 : 1; }

static int count_fds(void) {
  int fds = 0;
  for (int i = 0; i < processes(); i++) fds += h_count_fds(process(i));
  return fds;
}

static level measure(int first_fds) {
  WAIT(STAT(slots_used) == 0, "%llu slots are used", (unsigned long long)STAT(slots_used));
  WAIT(count_fds() <= first_fds + ALLOWED_FDS, "%d fds are open, %d after the first connections", count_fds(), first_fds);
  sipwire_stats stats = h_stats();
  level now = {.blocks = stats.blocks_used, .queued = stats.queued_bytes, .partial = stats.partial_bytes};
  for (int i = 0; i < processes(); i++) {
    h_memory more = h_memory_of(process(i));
    now.memory.own_kb += more.own_kb;
    now.memory.shared_kb += more.shared_kb;
  }
  return now;
}

static void batch(const sipwire_addr *listener, int number) {
  h_peer *peer[BATCH];
  char source[32];
  for (int i = 0; i < BATCH; i++) { /* many source addresses: one has 28,000 ports, and each waits a minute after use */
    snprintf(source, sizeof source, "127.0.%d.%d", number % 16 + 1, i % 16 + 1);
    peer[i] = h_connect_from(listener, source, 0);
    if (!peer[i]) h_fail(__FILE__, __LINE__, "connect: %s", strerror(errno));
    h_text text = h_request("OPTIONS", "leak", i % 7 == 3 ? "X-Close-After: 1\r\n" : NULL, "body");
    if (i % 7 == 6) h_write(peer[i], text.data, text.length / 2); /* leaves a partial message behind */
    else if (i % 7 != 5) h_write_text(peer[i], text);             /* some never say anything */
  }
  for (int i = 0; i < BATCH; i++)
    if (i % 7 < 5) h_await_answer(peer[i], 200, "leak");
  for (int i = 0; i < BATCH; i++) i % 7 == 4 ? h_reset(peer[i]) : h_close(peer[i]);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("max_connections", "1024"); /* all slots are touched while it warms up, and all of the log */
  h_setting("log_ring", "64");
  h_time_limit(190);
  h_start(WORKERS);
  h_record(false);
  sipwire_addr listener = h_listener(0);
  /* What the supervisor keeps for each participant comes when that announces itself: all have by then. */
  for (int w = 0; w < WORKERS; w++) WAIT(h_worker(w).running, "worker %d runs", w);
  batch(&listener, 0);
  WAIT(STAT(slots_used) == 0, "the first are closed");
  int first_fds = count_fds();
  for (int i = 0; i < WARM; i++) batch(&listener, i);
  level before = measure(first_fds);
  for (int i = 0; i < BATCHES; i++) batch(&listener, i);
  level after = measure(first_fds);
  CHECK_NUM(0, after.queued);
  CHECK_NUM(0, after.partial);
  CHECK(after.blocks <= before.blocks + 8, "%llu blocks used, were %llu", (unsigned long long)after.blocks, (unsigned long long)before.blocks);
  CHECK(after.memory.own_kb <= before.memory.own_kb + ALLOWED_OWN_KB, "%ld KB of their own, were %ld", after.memory.own_kb, before.memory.own_kb);
  CHECK(after.memory.shared_kb <= before.memory.shared_kb + ALLOWED_SHARED_KB, "%ld KB are shared, were %ld", after.memory.shared_kb,
        before.memory.shared_kb);
  WAIT_NUM((BATCHES + WARM + 1) * BATCH, STAT(accepted));
  WAIT_NUM((BATCHES + WARM + 1) * BATCH, STAT(closed));
  WAIT(h_total(EV_CLOSE) == h_total(EV_OPEN), "every on_open has its on_close");
  return h_finish();
}
