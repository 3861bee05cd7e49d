/* modes: threads processes */
/* args: --full */
/* timeout: 200 */
/* Connections opened and closed in every way leave slots, blocks, fds and memory where they were.
 * 5,000 of them, 50,000 with --full. */
#include "harness.h"

enum { WORKERS = 2, BATCH = 50 };

typedef struct level { uint64_t slots, blocks, queued, partial; int fds; long rss_kb; } level;

static level measure(void) {
  WAIT(STAT(slots_used) == 0, "%llu slots are used", (unsigned long long)STAT(slots_used));
  h_sleep_ms(1200); /* stale duplicates of fds are swept at most once a second */
  sipwire_stats stats = h_stats();
  level now = {stats.slots_used, stats.blocks_used, stats.queued_bytes, stats.partial_bytes, h_count_fds(getpid()), h_rss_kb(getpid())};
  if (h_mode == H_PROCESSES) {
    now.fds += h_count_fds(h_supervisor_pid());
    now.rss_kb += h_rss_kb(h_supervisor_pid());
    for (int w = 0; w < WORKERS; w++) {
      now.fds += h_count_fds(h_worker_pid(w));
      now.rss_kb += h_rss_kb(h_worker_pid(w));
    }
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
  h_setting("max_connections", "1024"); /* all slots are touched in the first round */
  h_time_limit(190);
  h_start(WORKERS);
  h_record(false);
  sipwire_addr listener = h_listener(0);
  int batches = (h_full ? 50000 : 5000) / BATCH, warm = 2000 / BATCH;
  for (int i = 0; i < warm; i++) batch(&listener, i);
  level before = measure();
  for (int i = 0; i < batches; i++) batch(&listener, i);
  level after = measure();
  CHECK_NUM(0, after.queued);
  CHECK_NUM(0, after.partial);
  CHECK(after.fds <= before.fds, "%d fds, were %d", after.fds, before.fds);
  CHECK(after.blocks <= before.blocks + 8, "%llu blocks used, were %llu", (unsigned long long)after.blocks, (unsigned long long)before.blocks);
  CHECK(after.rss_kb <= before.rss_kb + 1024, "%ld KB, were %ld", after.rss_kb, before.rss_kb);
  WAIT_NUM((batches + warm) * BATCH, STAT(accepted));
  WAIT_NUM((batches + warm) * BATCH, STAT(closed));
  WAIT(h_total(EV_CLOSE) == h_total(EV_OPEN), "every on_open has its on_close");
  return h_finish();
}
