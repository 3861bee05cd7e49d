/* The processes of the crash tests: what a worker's script does, what a sender sends, each step often enough in one round. */
#include "crash.h"
#include <poll.h>
#include <sys/mman.h>

board *shared;
bool panics;

static int field(const sipwire_message *m, const char *name) {
  char value[32];
  return h_header(m->data, m->header_length, name, value, sizeof value) ? atoi(value) : 0;
}

static int32_t send_next(const sipwire_target *target, uint32_t tag, size_t size) {
  return h_send_numbered_here(target, tag, shared->next[tag]++, size);
}

/* Sends on the message's connection with tag X-Tag: X-Big large ones, or until one is refused (X-Flood); dials (X-Dial);
 * pauses the connection (X-Pause); asks for an alias with the number of the tag as port, or one above (X-Alias). */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  uint32_t tag = (uint32_t)field(m, "X-Tag"), number = (uint32_t)field(m, "X-Once");
  if (shared->delivered[number]++) h_fail("script", 0, "request %u was delivered twice", number);
  if (field(m, "X-Pause")) sipwire_conn_pause(instance, m->conn_id);
  sipwire_target here = h_to_conn(m->conn_id), there = h_to_addr(&shared->dialled), nowhere = h_to_addr(&shared->refused);
  for (int i = field(m, "X-Big"); i > 0; i--) send_next(&here, tag, BIG);
  for (int i = 0; i < 40 && field(m, "X-Flood") && send_next(&here, tag, BIG) > 0; i++) {}
  if (field(m, "X-Alias")) {
    sipwire_conn_add_alias(instance, m->conn_id, tag);
    sipwire_conn_add_alias(instance, m->conn_id, tag + 500); /* in place of the first */
    sipwire_addr alias = m->remote;
    alias.port = (uint16_t)(tag + 500);
    sipwire_target by_alias = h_to_addr(&alias);
    by_alias.flags = SIPWIRE_SEND_NO_CONNECT;
    send_next(&by_alias, tag, SMALL);
  }
  if (field(m, "X-Sleep")) h_sleep_ms(field(m, "X-Sleep"));
  if (field(m, "X-Dial")) {
    send_next(&there, tag, SMALL);
    send_next(&there, tag, SMALL);
    h_send_here(&nowhere, m->data, m->length, 0);
  }
  if (!field(m, "X-Silent") && strncmp(m->data, "SIP", 3) != 0) h_reply(instance, m, 200, field(m, "X-Close-After") ? SIPWIRE_SEND_CLOSE_AFTER : 0, 0);
  if (field(m, "X-Close")) sipwire_conn_close(instance, m->conn_id);
  return field(m, "X-Return");
}

static void closed(const sipwire_conn_info *info) { shared->reason[info->remote.port] = (uint8_t)info->close_reason; }

void actors_begin(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED, "mmap: %s", strerror(errno));
  h_script = script;
  h_closed_hook = closed;
}

static void begin(uint32_t role, aim at) {
  sipwire_crash_role(role);
  if (at.times) sipwire_crash_at(at.point, at.times, panics);
}

static void supervisor_body(void *at) {
  begin(SUPERVISOR, *(aim *)at);
  int32_t rc;
  do rc = sipwire_run_supervisor(h_instance);
  while (rc == SIPWIRE_E_PANIC); /* before it was one */
  CHECK_RC(SIPWIRE_OK, rc);
}

typedef struct seat { aim at; int worker; } seat;

/* Comes again after its supervisor's death. Worker 1 leaves when it is told to. */
static int32_t work(int worker) {
  sipwire_loop *loop = NULL;
  int32_t rc = sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, worker, &loop);
  if (rc == SIPWIRE_E_ROLE || rc == SIPWIRE_E_PANIC) h_sleep_ms(1); /* until its predecessor is recovered */
  while (rc >= 0 && !(worker == 1 && shared->worker_leaves)) {
    struct pollfd fd = {.fd = sipwire_loop_fd(loop), .events = POLLIN};
    int64_t wish = sipwire_loop_timeout_ms(loop);
    poll(&fd, 1, wish < 0 || wish > 10 ? 10 : (int)wish);
    while ((rc = sipwire_loop_step(loop)) == 1) {}
  }
  sipwire_loop_free(loop);
  return rc;
}

static void worker_body(void *argument) {
  seat *s = argument;
  begin(WORKER, s->at);
  int32_t rc;
  do rc = work(s->worker);
  while (rc == SIPWIRE_E_SUPERVISOR_GONE || rc == SIPWIRE_E_ROLE || rc == SIPWIRE_E_PANIC);
  if (rc != SIPWIRE_OK && rc != SIPWIRE_E_SHUTTING_DOWN) h_fail("worker", s->worker, "%d (%s)", rc, sipwire_strerror(rc));
}

static void to_id(_Atomic uint32_t *id, uint32_t tag, int count, size_t size, uint32_t flags) {
  sipwire_target target = h_to_conn(*id);
  target.flags = flags;
  for (int i = 0; i < count && target.conn_id; i++) send_next(&target, tag, size);
}

static void to_addr(const sipwire_addr *addr, uint32_t tag, int count, uint32_t flags) {
  sipwire_target target = h_to_addr(addr);
  target.flags = flags;
  for (int i = 0; i < count; i++) send_next(&target, tag, SMALL);
}

static void keep_alive(int64_t interval_ms, int64_t flow_timer_ms) {
  sipwire_conn_set_keepalive(h_instance, shared->reader, interval_ms);
  sipwire_conn_set_flow_timer(h_instance, shared->reader, flow_timer_ms);
}

/* All that the API lets a sender do. */
static void sender_body(void *at) {
  begin(SENDER, *(aim *)at);
  char line[200];
  int32_t rc = sipwire_attach(h_instance);
  if (rc == SIPWIRE_E_PANIC) rc = sipwire_attach(h_instance);
  if (rc != SIPWIRE_OK) h_fail("sender", 0, "sipwire_attach: %d (%s)", rc, sipwire_strerror(rc));
  while (!shared->begin) h_sleep_ms(1);
  keep_alive(10, 3600000);
  for (int i = 0; i < 6; i++) { /* at the second it is passed the descriptor */
    to_id(&shared->reader, TO_READER, 1, SMALL, 0);
    h_sleep_ms(1);
    sipwire_refresh(h_instance);
  }
  keep_alive(0, 0);
  to_id(&shared->reader, TO_READER, 2, 3000, 0);
  to_id(&shared->slow, TO_SLOW, 2, BIG, 0);
  h_sleep_ms(1);
  to_id(&shared->slow, TO_SLOW, 2, BIG, 0); /* directly, as far as the kernel takes it */
  to_addr(&shared->reader_addr, TO_READER, 1, 0);
  sipwire_conn_add_alias(h_instance, shared->reader, TO_READER);
  sipwire_conn_set_suspect(h_instance, shared->reader, 1);
  sipwire_conn_set_suspect(h_instance, shared->reader, 0);
  to_addr(&shared->dialled, TO_DIALLED, 3, 0);
  to_addr(&shared->refused, TO_REFUSED, 2, SIPWIRE_SEND_FRESH);
  sipwire_addr other = shared->refused;
  other.port++;
  sipwire_blacklist_add(h_instance, &other, 5000);
  sipwire_blacklist_remove(h_instance, &other);
  sipwire_log_drain(h_instance);
  sipwire_set(h_instance, "message_timeout", "19s", line, sizeof line);
  sipwire_set(h_instance, "trusted_networks", "192.0.2.0/24, 2001:db8::/32", line, sizeof line);
  sipwire_set(h_instance, "trusted_networks", "none", line, sizeof line);
  for (int i = 0; i < 2; i++) {
    int32_t index = sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", line, sizeof line);
    for (int ms = 0; ms < 20 * i && sipwire_listener_state(h_instance, index, NULL, 0) == SIPWIRE_LISTENER_PENDING; ms++) h_sleep_ms(1);
    sipwire_listener_remove(h_instance, index);
  }
  sipwire_conn_set_user(h_instance, shared->reader, 7);
  sipwire_conn_set_lifetime(h_instance, shared->reader, 100000);
  sipwire_conn_pause(h_instance, shared->reader);
  sipwire_conn_resume(h_instance, shared->reader);
  for (int i = 0; i < 30; i++) to_id(&shared->full, TO_FULL, 1, BIG, 0);
  to_id(&shared->gone, TO_GONE, 1, SMALL, SIPWIRE_SEND_CLOSE_AFTER);
  sipwire_conn_close(h_instance, shared->gone);
  sipwire_process_died(h_instance, 1 << 22); /* nobody's number */
  keep_alive(10, 3600000); /* to its end */
  shared->done = true;
  while (!shared->leave) h_sleep_ms(1);
  rc = sipwire_detach(h_instance);
  if (rc != SIPWIRE_OK && rc != SIPWIRE_E_PANIC) h_fail("sender", 0, "sipwire_detach: %d (%s)", rc, sipwire_strerror(rc));
}

pid_t fork_supervisor(aim at) { return h_fork(supervisor_body, &at); }
pid_t fork_worker(int worker, aim at) { return h_fork(worker_body, &(seat){at, worker}); }
pid_t fork_sender(aim at) { return h_fork(sender_body, &at); }
