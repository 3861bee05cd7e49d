/* modes: threads processes */
/* timeout: 150 */
/* args: --seconds 60 --connections 6000 */
/* Connections open, talk, stall and die while workers and senders are killed (processes) or leave and come back
 * (threads); at the end the books balance: messages in = callbacks, accepted sends = written + reported. A quarter of a
 * minute here, ten minutes and 15,000 connections in `make soak`. */
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include "soak/books.c"
#include "soak/host.c"
#include "soak/peers.c"
#include "soak/chaos.c"

enum { MORE_FDS = 24 }; /* that are opened when first needed: the first count comes early */
static int faults;
static uint64_t most_connections;
static void row(const char *name, uint64_t value) { printf("  %-52s %12llu\n", name, (unsigned long long)value); }
static void adds_up(const char *what, int64_t low, int64_t seen, int64_t high) {
  if (low <= seen && seen <= high) return;
  faults++;
  printf("  DOES NOT ADD UP: %s: %lld, expected %lld to %lld\n", what, (long long)seen, (long long)low, (long long)high);
}
static void equal(const char *what, uint64_t expected, uint64_t seen) { adds_up(what, (int64_t)expected, (int64_t)seen, (int64_t)expected); }

typedef struct sums { uint64_t sent, queued, refused, unsure, reported, received, unsure_reported; } sums;

/* Every message that the host sent, alone. */
static sums look_at_all(void) {
  sums s = {0};
  for (uint32_t n = 1; n < shared->next_message; n++) {
    uint8_t m = shared->out[n];
    bool accepted = m & (SENT | QUEUED), unsure = (m & (ABOUT | SENT | QUEUED | REFUSED)) == ABOUT;
    s.sent += (m & SENT) != 0;
    s.queued += (m & QUEUED) != 0;
    s.refused += (m & REFUSED) != 0;
    s.unsure += unsure;
    s.reported += (m & REPORTED) != 0;
    s.received += (m & RECEIVED) != 0;
    s.unsure_reported += unsure && m & REPORTED;
    const char *wrong = m & REFUSED && m & (REPORTED | RECEIVED) ? "was refused"
                      : m & SENT && m & REPORTED                 ? "was written at once, and is reported"
                      : m & RECEIVED && m & REPORTED             ? "was received, and is reported"
                      : m & AGAIN && !(m & MAY_COME_AGAIN)       ? "is reported again, and nobody died telling it"
                      : accepted && !(m & (REPORTED | RECEIVED)) && shared->to[n] && shared->clean[shared->to[n]]
                        ? "was accepted, and a peer that read to the end has not got it"
                        : NULL;
    if (wrong && faults++ < 20) printf("  DOES NOT ADD UP: message %u %s (%d; %s)\n", n, wrong, m, sipwire_reason_text(shared->why[n]));
  }
  return s;
}

static void balance(void) {
  sipwire_stats stats = h_stats();
  uint64_t callbacks = 0;
  for (int i = 0; i < WORKERS; i++) callbacks += shared->hands[i].callbacks;
  sums s = look_at_all();
  uint64_t accepted = s.sent + s.queued, certain = accepted - (s.reported - s.unsure_reported), open = s.unsure - s.unsure_reported;
  uint64_t deaths = worker_deaths + sender_deaths, reset = stats.closed_by_reason[SIPWIRE_REASON_WORKER_DIED];
  printf("sums\n");
  row("connections of peers", shared->opened);
  row("  closed at once, no slot was free", stats.refused_max_connections);
  row("  never accepted by the kernel", shared->never_accepted);
  row("  dialled by the library", stats.dialled);
  row("  ended cleanly, every answer there", shared->ended_cleanly);
  row("workers killed", worker_deaths);
  row("  inside on_message", in_message_deaths);
  row("  inside on_send_failed", in_failed_deaths);
  row("senders killed", sender_deaths);
  row("workers and senders that left and came back", leaves);
  row("the supervisor stood still", pauses);
  row("messages in", stats.messages_in);
  row("  callbacks", callbacks);
  row("  counted, and killed before the callback", uncounted);
  row("sends accepted", accepted);
  row("  written at once", s.sent);
  row("  received by peers", s.received);
  row("  in the hands of who was killed", s.unsure);
  row("  refused", s.refused);
  for (int i = 0; i < MAX_CODES; i++)
    if (shared->refused_with[i]) printf("    %-50s %10u\n", sipwire_strerror(-i - CODES_FROM), shared->refused_with[i]);
  row("messages out", stats.messages_out);
  row("reported", s.reported);
  row("  told again", shared->told_again);
  for (int i = 1; i < SIPWIRE_REASON_COUNT; i++)
    if (stats.closed_by_reason[i]) printf("  closed: %-44s %12llu\n", sipwire_reason_text(i), (unsigned long long)stats.closed_by_reason[i]);

  /* The library counts the message, then for the worker, then calls: one can be killed between the first two. */
  adds_up("messages in", callbacks + uncounted, stats.messages_in, callbacks + uncounted + (worker_deaths > 0));
  equal("sends in the hands of who was killed", unsure_sends, s.unsure);
  adds_up("accepted = written + reported", certain, stats.messages_out, certain + open);
  adds_up("sends accepted, as the library counts", accepted, stats.sends_direct + stats.sends_queued, accepted + s.unsure);
  /* Before the first role of its process has begun a thread takes no part: what it sends then is in no counter. */
  uint64_t apart = shared->refused_with[-SIPWIRE_E_NOT_ATTACHED - CODES_FROM];
  adds_up("sends refused, as the library counts", s.refused - apart, stats.sends_refused, s.refused - apart + s.unsure);
  /* It counts a report when it is told: who dies before that tells one that is not counted. */
  adds_up("reports, as the library counts", (int64_t)(shared->told - in_failed_deaths - unclear_deaths), (int64_t)stats.failures_reported, shared->told - in_failed_deaths);
  adds_up("reports told again", 0, shared->told_again, worker_deaths);
  equal("connections ended", stats.accepted + stats.dialled, stats.closed);
  adds_up("deaths seen", deaths / 2, stats.participants_died, deaths);
  adds_up("connections that a worker's death ended", 0, reset, worker_deaths);
  adds_up("connections that a writer's death ended", 0, stats.closed_by_reason[SIPWIRE_REASON_SENDER_DIED], deaths);
  adds_up("peers that were turned away", 0, shared->turned_away, (int64_t)stats.refused_max_connections);
  equal("reports lost", 0, stats.messages_lost_report);
  equal("degraded", 0, stats.degraded);
  /* It happened at all. */
  adds_up("questions answered", shared->asked / 2, shared->answered, shared->asked);
  adds_up("connections at one time", options.connections / 2, most_connections, INT64_MAX);
  adds_up("clean ends", 1, shared->ended_cleanly, INT64_MAX);
  adds_up("reports", 1, s.reported, INT64_MAX);
}

static void progress(uint64_t begun) {
  sipwire_stats stats = h_stats();
  h_memory memory = h_memory_of(h_supervisor_pid());
  printf("%4llu s: %llu connections, %llu in, %llu out, %llu reported, %llu deaths, %llu bytes queued, %llu blocks, rss %ld + %ld KB\n",
         (unsigned long long)(h_now_ms() - begun) / 1000, (unsigned long long)stats.connections, (unsigned long long)stats.messages_in,
         (unsigned long long)stats.messages_out, (unsigned long long)stats.failures_reported,
         (unsigned long long)(worker_deaths + sender_deaths), (unsigned long long)stats.queued_bytes, (unsigned long long)stats.blocks_used,
         memory.own_kb, memory.shared_kb);
  fflush(stdout);
}

static void answer_puzzle(void) {
  uint32_t id;
  sipwire_conn_info info;
  if (!shared->puzzled) return;
  if (sipwire_conn_find(h_instance, &shared->puzzle, NULL, &id) == SIPWIRE_OK && h_info(id, &info))
    h_fail(__FILE__, __LINE__, "connection %u of %s does not end: flags %u, owner %d, worker %d, age %llu ms, idle %llu ms, %llu bytes and %llu messages in, "
           "%llu out, %d answers pending, %llu bytes queued, reason %d", id, h_addr_text(&shared->puzzle), info.flags, info.owner, info.worker,
           (unsigned long long)info.age_ms, (unsigned long long)info.idle_ms, (unsigned long long)info.bytes_in, (unsigned long long)info.messages_in,
           (unsigned long long)info.messages_out, info.pending_answers, (unsigned long long)info.queued_bytes, info.close_reason);
  shared->puzzled = false;
}

static void settings(void) {
  char number[16];
  snprintf(number, sizeof number, "%d", options.connections + options.connections / 10 + 100);
  h_setting("max_connections", number);
  h_setting("listen_backlog", "4096"); /* what comes while the supervisor stands still */
  h_setting("connection_lifetime", "40s");
  h_setting("worker_hold", "1s");
  h_setting("send_timeout", "3s");
  h_setting("connect_timeout", "2s");
  h_setting("half_close_timeout", "20s");
  h_setting("linger", "1s");
  h_setting("blacklist_ttl", "1s");
  h_setting("error_answers", "no"); /* the library's own messages would be counted with the host's */
}

/* Takes what is ours out of the arguments. */
static void read_arguments(int *argc, char **argv) {
  int kept = 1;
  options.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
  for (int i = 1; i < *argc; i++) {
    bool more = i + 1 < *argc;
    if (more && strcmp(argv[i], "--seconds") == 0) options.seconds = atoi(argv[++i]);
    else if (more && strcmp(argv[i], "--connections") == 0) options.connections = atoi(argv[++i]);
    else if (more && strcmp(argv[i], "--seed") == 0) options.seed = strtoull(argv[++i], NULL, 10);
    else argv[kept++] = argv[i];
  }
  *argc = kept;
  CHECK(options.seconds > 0 && options.connections >= 100 && options.connections <= MAX_PEERS_LIVE, "--seconds from 1, --connections 100 to %d",
        MAX_PEERS_LIVE);
}

int main(int argc, char **argv) {
  read_arguments(&argc, argv);
  h_init(argc, argv);
  h_time_limit(options.seconds + 240);
  h_record(false);
  h_script = script;
  h_failed_hook = on_failed;
  printf("soak: %s, %d s, %d connections, --seed %llu\n", h_mode == H_PROCESSES ? "processes" : "threads", options.seconds,
         options.connections, (unsigned long long)options.seed);
  fflush(stdout);
  books_open();
  int refuses = h_refusing_port(&refusing);
  h_full_listener full = h_full_listener_open(&never_accepting);
  pid_t peers = h_fork(peers_process, NULL);
  h_expect_code(peers, 0);
  WAIT(*h_word(0), "the peers listen");
  settings();
  begin_all();
  int first_fds = h_count_fds(h_supervisor_pid());
  int first_worker_fds = h_count_fds(h_worker_pid(0));
  uint64_t first_blocks = STAT(blocks_used);
  shared->phase = RUN;
  for (uint32_t i = 0; i < SENDERS; i++) sender_begin(i);

  uint64_t begun = h_now_ms(), half = (uint64_t)options.seconds * 500, lines = 0, pace = options.seconds < 100 ? 5000 : 15000;
  h_memory warm = {0};
  while (h_now_ms() < begun + (uint64_t)options.seconds * 1000) {
    chaos_turn();
    answer_puzzle();
    if (!warm.own_kb && h_now_ms() > begun + half) warm = h_memory_of(h_supervisor_pid());
    if (STAT(connections) > most_connections) most_connections = STAT(connections);
    if (h_now_ms() > begun + lines * pace) lines++, progress(begun);
    h_tick();
  }
  progress(begun);
  h_memory last = h_memory_of(h_supervisor_pid());
  if (pause_ends) supervisor_stands(false);
  for (uint32_t i = 0; i < SENDERS; i++) sender_leave(i);
  shared->phase = WIND_DOWN;
  WAIT_FOR(120, (answer_puzzle(), h_gone(peers)), "%u peers do not come to their end", shared->live);
  WAIT_FOR(60, STAT(slots_used) == 0, "%llu slots are used", (unsigned long long)STAT(slots_used));
  WAIT_NUM(0, STAT(queued_bytes));
  WAIT_NUM(0, STAT(partial_bytes));
  WAIT(STAT(blocks_used) <= first_blocks + 4 * STAT(participants), "%llu blocks are used, %llu were", (unsigned long long)STAT(blocks_used),
       (unsigned long long)first_blocks);
  WAIT(h_count_fds(h_supervisor_pid()) <= first_fds + MORE_FDS, "%d fds are open, %d were", h_count_fds(h_supervisor_pid()), first_fds);
  for (int i = 0; i < WORKERS; i++)
    WAIT(h_count_fds(h_worker_pid(i)) <= first_worker_fds + MORE_FDS, "worker %d has %d fds, worker 0 had %d", i, h_count_fds(h_worker_pid(i)), first_worker_fds);
  balance();
  row("KB of the supervisor's process, half-way", (uint64_t)warm.own_kb);
  row("KB of the supervisor's process, at the end", (uint64_t)last.own_kb);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed for a while; it looks for leaks itself */
  adds_up("memory", 0, last.own_kb, warm.own_kb + warm.own_kb / 4 + 2048);
#endif
  end_loops();
  close(refuses);
  close(full.fd);
  int rc = h_finish();
  printf(faults ? "soak: FAILED, %d sums\n" : "soak: passed\n", faults);
  return faults ? 1 : rc;
}
