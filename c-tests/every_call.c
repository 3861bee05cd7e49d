/* modes: threads processes */
/* Every function, called by whom it is not for, too early, too late, with nothing and with garbage: a code, never worse;
 * and errno is the host's after each. test_header.py sees to it that none is forgotten. */
#include "harness.h"
#include <limits.h>
#include <stddef.h>
#include <sys/wait.h>

enum { ERRNO = 4711, REPORT = 20 };

static const char *place; /* for the failure's line */
#define KEEPS_ERRNO(call)                                                                                                     \
  ({                                                                                                                          \
    errno = ERRNO;                                                                                                            \
    int64_t got_ = (int64_t)(call);                                                                                           \
    if (errno != ERRNO) h_fail(__FILE__, __LINE__, "%s, %s: errno is %d", place, #call, errno);                               \
    got_;                                                                                                                     \
  })
#define SAYS(expected, call) says(expected, KEEPS_ERRNO(call), __LINE__, #call)
static void says(int64_t expected, int64_t got, int line, const char *call) {
  if (got != expected) h_fail(__FILE__, line, "%s: %s: expected %lld, got %lld", place, call, (long long)expected, (long long)got);
}
#define IS_SILENT(call) ((void)KEEPS_ERRNO(((call), 0)))

static const uint32_t ids[] = {0, 1, 0x3fffffff, 0x40000000, 0x40123456, 0x7fffffff, 0x80000000, UINT32_MAX};
static const int32_t numbers[] = {INT32_MIN, -1, 99, INT32_MAX};
#define EACH(i, array) for (size_t i = 0; i < sizeof(array) / sizeof *(array); i++)

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message) {
  (void)user, (void)instance, (void)message;
  return 0;
}

static sipwire_addr somewhere(void) {
  sipwire_addr addr;
  SAYS(SIPWIRE_OK, sipwire_addr_parse("127.0.0.1:9", &addr));
  return addr;
}

/* Those that ask for a process that takes part. `refused`: how they are, 0: not, and what is asked for is not there. */
static void for_participants(int32_t refused) {
  sipwire_addr addr = somewhere();
  sipwire_target target = h_to_conn(0x40123456), odd = target;
  sipwire_iov iov = {"x", 1};
  sipwire_conn_info info = {.struct_size = sizeof info};
  uint64_t bytes;
  char text[64];
  int32_t missing = refused ? refused : SIPWIRE_E_NO_CONNECTION, done = refused ? refused : SIPWIRE_OK;
  target.flags = odd.flags = SIPWIRE_SEND_NO_CONNECT;
  int32_t sent = KEEPS_ERRNO(sipwire_send(h_instance, &target, &iov, 1, 1));
  CHECK(sent == missing || (refused && sent == SIPWIRE_E_SHUTTING_DOWN), "%s: sipwire_send: %d", place, sent);
  SAYS(done, sipwire_refresh(h_instance));
  target.flags = 0;
  SAYS(missing, sipwire_queued(h_instance, &target, &bytes));
  int32_t drained = KEEPS_ERRNO(sipwire_log_drain(h_instance));
  CHECK(refused ? drained == refused : drained >= 0, "%s: sipwire_log_drain: %d", place, drained);
  EACH(i, ids) {
    uint32_t id = ids[i], found = 0, cursor = id;
    SAYS(missing, sipwire_conn_info_get(h_instance, id, &info));
    SAYS(missing, sipwire_conn_close(h_instance, id));
    SAYS(missing, sipwire_conn_set_user(h_instance, id, 1));
    SAYS(missing, sipwire_conn_set_lifetime(h_instance, id, 1000));
    SAYS(missing, sipwire_conn_set_keepalive(h_instance, id, 1000));
    SAYS(missing, sipwire_conn_set_flow_timer(h_instance, id, 1000));
    SAYS(missing, sipwire_conn_pause(h_instance, id));
    SAYS(missing, sipwire_conn_resume(h_instance, id));
    SAYS(missing, sipwire_conn_set_suspect(h_instance, id, 1));
    SAYS(missing, sipwire_flow_token(h_instance, id, text, sizeof text));
    int32_t alias = KEEPS_ERRNO(sipwire_conn_add_alias(h_instance, id, 5060));
    CHECK(refused ? alias == refused : alias < 0, "%s: sipwire_conn_add_alias: %d", place, alias);
    SAYS(missing, sipwire_conn_find(h_instance, &addr, NULL, &found));
    CHECK_NUM(0, found);
    int32_t listed = KEEPS_ERRNO(sipwire_conn_list(h_instance, &cursor, &info, 1));
    CHECK(refused ? listed == refused : listed >= 0, "%s: sipwire_conn_list: %d", place, listed);
    info.struct_size = sizeof info;
  }
  uint32_t found = 0;
  SAYS(refused ? refused : SIPWIRE_E_BAD_TOKEN, sipwire_flow_find(h_instance, "nonsense", 8, &found));
  SAYS(done, sipwire_blacklist_add(h_instance, &addr, 1000));
  int32_t removed = KEEPS_ERRNO(sipwire_blacklist_remove(h_instance, &addr));
  CHECK(refused ? removed == refused : removed >= 0, "%s: sipwire_blacklist_remove: %d", place, removed);
}

/* Those that every process which has the instance may call. */
static void for_all(void) {
  sipwire_addr addr = somewhere();
  sipwire_stats stats = {.struct_size = sizeof stats};
  sipwire_worker_stats worker = {.struct_size = sizeof worker};
  sipwire_blacklist_entry entry = {.struct_size = sizeof entry};
  uint32_t cursor = 0;
  char text[64];
  SAYS(1, sipwire_listener_count(h_instance));
  SAYS(SIPWIRE_OK, sipwire_listener_addr(h_instance, 0, &addr));
  CHECK(KEEPS_ERRNO(sipwire_listener_state(h_instance, 0, text, sizeof text)) >= 0, "%s", place);
  SAYS(SIPWIRE_OK, sipwire_stats_get(h_instance, &stats));
  SAYS(SIPWIRE_OK, sipwire_worker_stats_get(h_instance, 0, &worker));
  SAYS(SIPWIRE_OK, sipwire_set(h_instance, "send_timeout", "10s", text, sizeof text));
  CHECK(KEEPS_ERRNO(sipwire_get(h_instance, "send_timeout", text, sizeof text)) > 0, "%s", place);
  CHECK(KEEPS_ERRNO(sipwire_dump(h_instance, SIPWIRE_DUMP_STATS, text, sizeof text)) > 0, "%s", place);
  CHECK(KEEPS_ERRNO(sipwire_prometheus(h_instance, text, sizeof text)) > 0, "%s", place);
  SAYS(0, sipwire_blacklist_check(h_instance, &addr));
  SAYS(0, sipwire_blacklist_list(h_instance, &cursor, &entry, 1));
  SAYS(SIPWIRE_OK, sipwire_process_died(h_instance, 1 << 22)); /* nobody's number */
}

static void with_nothing(void) {
  sipwire_instance *i = h_instance, *made = NULL;
  sipwire_config *config = h_config;
  sipwire_loop *loop = NULL;
  sipwire_addr addr = somewhere();
  sipwire_target target = h_to_addr(&addr);
  sipwire_iov iov = {"x", 1};
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
  sipwire_conn_info info = {.struct_size = sizeof info};
  sipwire_blacklist_entry entry = {.struct_size = sizeof entry};
  sipwire_worker_stats worker = {.struct_size = sizeof worker};
  sipwire_stats stats = {.struct_size = sizeof stats};
  uint32_t id = 0, cursor = 0;
  uint64_t bytes = 0;
  char text[64];
#define NO(call) SAYS(SIPWIRE_E_ARGUMENT, call)
  NO(sipwire_addr_parse(NULL, &addr)), NO(sipwire_addr_parse("127.0.0.1:1", NULL));
  SAYS(0, sipwire_addr_format(NULL, text, sizeof text));
  CHECK(KEEPS_ERRNO(sipwire_addr_format(&addr, NULL, SIZE_MAX)) > 0, "addr_format counts");
  NO(sipwire_proxy_header(0, &addr, &addr, text, sizeof text)), NO(sipwire_proxy_header(INT32_MIN, NULL, NULL, NULL, SIZE_MAX));
  CHECK(KEEPS_ERRNO(sipwire_proxy_header(1, NULL, NULL, NULL, 0)) > 0, "proxy_header counts");
  NO(sipwire_config_set(NULL, "workers", "1")), NO(sipwire_config_set(config, NULL, "1")), NO(sipwire_config_set(config, "workers", NULL));
  NO(sipwire_config_set(config, "\xff\xfe", "1")), NO(sipwire_config_set(config, "workers", "\xc3\x28"));
  NO(sipwire_config_set_number(NULL, "workers", 1)), NO(sipwire_config_set_number(config, NULL, 1));
  NO(sipwire_config_get(NULL, "workers", text, 1)), NO(sipwire_config_get(config, NULL, text, 1));
  CHECK(KEEPS_ERRNO(sipwire_config_get(config, "workers", NULL, SIZE_MAX)) > 0, "config_get counts");
  NO(sipwire_config_listen(NULL, "tcp:127.0.0.1:0")), NO(sipwire_config_listen(config, NULL));
  NO(sipwire_config_listen_fd(NULL, 0));
  EACH(n, numbers) SAYS(SIPWIRE_E_SETTING, sipwire_config_listen_fd(config, numbers[n] == 99 ? 999999 : numbers[n]));
  NO(sipwire_config_listener_set(NULL, 0, "proxy_protocol", "off")), NO(sipwire_config_listener_set(config, 0, NULL, "off"));
  NO(sipwire_config_listener_set(config, 0, "proxy_protocol", NULL));
  EACH(n, numbers) NO(sipwire_config_listener_set(config, numbers[n], "proxy_protocol", "off"));
  CHECK(KEEPS_ERRNO(sipwire_config_error(NULL) != NULL), "config_error");
  sipwire_config *another = NULL;
  CHECK(KEEPS_ERRNO((another = sipwire_config_new()) != NULL), "config_new");
  IS_SILENT(sipwire_config_free(another));
  IS_SILENT(sipwire_config_free(NULL));
  NO(sipwire_new(NULL, &callbacks, NULL, &made)), NO(sipwire_new(config, NULL, NULL, &made)), NO(sipwire_new(config, &callbacks, NULL, NULL));
  IS_SILENT(sipwire_free(NULL));
  NO(sipwire_start(NULL)), NO(sipwire_run_supervisor(NULL)), NO(sipwire_run_worker(NULL, 0)), NO(sipwire_attach(NULL)), NO(sipwire_detach(NULL));
  EACH(n, numbers) NO(sipwire_run_worker(i, numbers[n]));
  NO(sipwire_process_died(NULL, 1)), NO(sipwire_process_died(i, 0)), NO(sipwire_process_died(i, INT32_MIN));
  NO(sipwire_drain(NULL, 0)), NO(sipwire_drain(i, -1)), NO(sipwire_drain(i, INT64_MIN)), NO(sipwire_stop(NULL));
  NO(sipwire_loop_new(NULL, SIPWIRE_ROLE_WORKER, 0, &loop)), NO(sipwire_loop_new(i, SIPWIRE_ROLE_WORKER, 0, NULL));
  EACH(n, numbers) NO(sipwire_loop_new(i, numbers[n], 0, &loop));
  NO(sipwire_loop_new(i, SIPWIRE_ROLE_WORKER, -1, &loop));
  NO(sipwire_loop_fd(NULL)), NO(sipwire_loop_timeout_ms(NULL)), NO(sipwire_loop_step(NULL));
  IS_SILENT(sipwire_loop_free(NULL));
  NO(sipwire_listener_count(NULL)), NO(sipwire_listener_addr(NULL, 0, &addr)), NO(sipwire_listener_addr(i, 0, NULL));
  NO(sipwire_listener_state(NULL, 0, text, 1)), NO(sipwire_listener_add(NULL, "tcp:127.0.0.1:0", text, 1));
  NO(sipwire_listener_add(i, NULL, text, 1)), NO(sipwire_listener_remove(NULL, 0));
  EACH(n, numbers) {
    NO(sipwire_listener_addr(i, numbers[n], &addr)), NO(sipwire_listener_state(i, numbers[n], NULL, SIZE_MAX));
    NO(sipwire_listener_remove(i, numbers[n])), NO(sipwire_worker_stats_get(i, numbers[n], &worker));
  }
  NO(sipwire_send(NULL, &target, &iov, 1, 1)), NO(sipwire_send(i, NULL, &iov, 1, 1)), NO(sipwire_send(i, &target, NULL, 1, 1));
  NO(sipwire_send(i, &target, &iov, 0, 1)), NO(sipwire_send(i, &target, &iov, SIZE_MAX, 1)), NO(sipwire_refresh(NULL));
  NO(sipwire_queued(NULL, &target, &bytes)), NO(sipwire_queued(i, NULL, &bytes)), NO(sipwire_queued(i, &target, NULL));
  NO(sipwire_conn_info_get(NULL, 1, &info)), NO(sipwire_conn_info_get(i, 1, NULL));
  NO(sipwire_conn_find(NULL, &addr, NULL, &id)), NO(sipwire_conn_find(i, NULL, NULL, &id)), NO(sipwire_conn_find(i, &addr, NULL, NULL));
  NO(sipwire_conn_list(NULL, &cursor, &info, 1)), NO(sipwire_conn_list(i, NULL, &info, 1)), NO(sipwire_conn_list(i, &cursor, NULL, 1));
  NO(sipwire_conn_list(i, &cursor, &info, 0));
  NO(sipwire_conn_close(NULL, 1)), NO(sipwire_conn_set_user(NULL, 1, 1)), NO(sipwire_conn_set_lifetime(NULL, 1, 1));
  NO(sipwire_conn_set_lifetime(i, 1, INT64_MIN)), NO(sipwire_conn_set_keepalive(NULL, 1, 1000)), NO(sipwire_conn_set_flow_timer(NULL, 1, 1000));
  NO(sipwire_conn_pause(NULL, 1)), NO(sipwire_conn_resume(NULL, 1)), NO(sipwire_conn_set_suspect(NULL, 1, 1));
  NO(sipwire_conn_add_alias(NULL, 1, 5060)), NO(sipwire_conn_add_alias(i, 1, 0)), NO(sipwire_conn_add_alias(i, 1, UINT32_MAX));
  NO(sipwire_flow_token(NULL, 1, text, sizeof text)), NO(sipwire_flow_find(NULL, "x", 1, &id)), NO(sipwire_flow_find(i, NULL, 1, &id));
  NO(sipwire_flow_find(i, "x", 1, NULL));
  NO(sipwire_blacklist_check(NULL, &addr)), NO(sipwire_blacklist_check(i, NULL)), NO(sipwire_blacklist_add(NULL, &addr, 1));
  NO(sipwire_blacklist_add(i, NULL, 1)), NO(sipwire_blacklist_remove(NULL, &addr)), NO(sipwire_blacklist_remove(i, NULL));
  NO(sipwire_blacklist_list(NULL, &cursor, &entry, 1)), NO(sipwire_blacklist_list(i, NULL, &entry, 1)), NO(sipwire_blacklist_list(i, &cursor, NULL, 1));
  NO(sipwire_stats_get(NULL, &stats)), NO(sipwire_stats_get(i, NULL)), NO(sipwire_worker_stats_get(NULL, 0, &worker)), NO(sipwire_worker_stats_get(i, 0, NULL));
  NO(sipwire_set(NULL, "send_timeout", "1s", text, 1)), NO(sipwire_set(i, NULL, "1s", NULL, 0)), NO(sipwire_set(i, "send_timeout", NULL, NULL, 0));
  NO(sipwire_set(i, "\xff", "1s", NULL, SIZE_MAX)), NO(sipwire_get(NULL, "workers", text, 1)), NO(sipwire_get(i, NULL, text, 1));
  NO(sipwire_log_drain(NULL)), NO(sipwire_dump(NULL, SIPWIRE_DUMP_STATS, text, 1)), NO(sipwire_dump(i, 0, text, 1)), NO(sipwire_dump(i, UINT32_MAX, text, 1));
  NO(sipwire_prometheus(NULL, text, 1));
  SAYS(0, sipwire_entry(SIPWIRE_ABI + 1) != NULL);
  SAYS(1, sipwire_entry(SIPWIRE_ABI) != NULL && sipwire_abi_version() == SIPWIRE_ABI && sipwire_version_number() && sipwire_version_string());
  EACH(n, numbers) SAYS(1, sipwire_strerror(numbers[n]) && sipwire_reason_text(numbers[n]));
  CHECK(made == NULL && loop == NULL && id == 0 && bytes == 0, "an out-parameter was written");
}

/* No version of a structure had this size, or it says more than this version understands. */
static void of_no_size(void) {
  static const uint32_t sizes[] = {0, 1, 3, 4, 7, 65537, 1u << 31, UINT32_MAX};
  static union { uint32_t size; char bytes[65536]; } any;
  sipwire_instance *made = NULL;
  sipwire_iov iov = {"x", 1};
  uint32_t cursor = 0;
  uint64_t bytes;
#define ALL_OF(expected)                                                                                                      \
  SAYS(expected, sipwire_new(h_config, (void *)&any, NULL, &made));                                                           \
  SAYS(expected, sipwire_send(h_instance, (void *)&any, &iov, 1, 1));                                                         \
  SAYS(expected, sipwire_queued(h_instance, (void *)&any, &bytes))
  EACH(n, sizes) {
    memset(&any, 0xAB, sizeof any);
    any.size = sizes[n];
    ALL_OF(SIPWIRE_E_VERSION);
    SAYS(SIPWIRE_E_VERSION, sipwire_conn_info_get(h_instance, 1, (void *)&any));
    SAYS(SIPWIRE_E_VERSION, sipwire_conn_list(h_instance, &cursor, (void *)&any, 1));
    SAYS(SIPWIRE_E_VERSION, sipwire_blacklist_list(h_instance, &cursor, (void *)&any, 1));
    SAYS(SIPWIRE_E_VERSION, sipwire_stats_get(h_instance, (void *)&any));
    SAYS(SIPWIRE_E_VERSION, sipwire_worker_stats_get(h_instance, 0, (void *)&any));
  }
  memset(&any, 0, sizeof any);
  any.size = sizeof any;
  any.bytes[sizeof any - 1] = 1; /* of a version to come, and used */
  ALL_OF(SIPWIRE_E_VERSION);
}

static void of_no_family(void) {
  static const int families[] = {1, 5, 7, 255};
  char text[128];
  uint32_t id = 0;
  EACH(n, families) {
    sipwire_addr addr = somewhere();
    addr.family = (uint8_t)families[n];
    sipwire_target target = h_to_addr(&addr);
    sipwire_iov iov = {"x", 1};
    CHECK(KEEPS_ERRNO(sipwire_addr_format(&addr, text, sizeof text)) < (int)sizeof text, "addr_format");
    CHECK(KEEPS_ERRNO(sipwire_proxy_header(2, &addr, &addr, text, sizeof text)) > 0, "proxy_header");
    CHECK(KEEPS_ERRNO(sipwire_send(h_instance, &target, &iov, 1, 1)) < 0, "send");
    CHECK(KEEPS_ERRNO(sipwire_conn_find(h_instance, &addr, &addr, &id)) < 0, "conn_find");
    CHECK(KEEPS_ERRNO(sipwire_blacklist_check(h_instance, &addr)) <= 0, "blacklist_check");
    CHECK(KEEPS_ERRNO(sipwire_blacklist_add(h_instance, &addr, INT64_MAX)) <= 0, "blacklist_add");
    CHECK(KEEPS_ERRNO(sipwire_blacklist_remove(h_instance, &addr)) <= 1, "blacklist_remove");
  }
}

/* A handle that was freed, and another one was made since. */
static void stale(void) {
  sipwire_instance *kept = h_instance, *old = NULL;
  sipwire_loop *loop = NULL;
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
  sipwire_config *config = sipwire_config_new();
  SAYS(SIPWIRE_OK, sipwire_new(config, &callbacks, NULL, &old));
  SAYS(SIPWIRE_OK, sipwire_loop_new(old, SIPWIRE_ROLE_WORKER, 0, &loop));
  IS_SILENT(sipwire_loop_free(loop));
  IS_SILENT(sipwire_loop_free(loop));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_loop_step(loop));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_loop_fd(loop));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_loop_timeout_ms(loop));
  IS_SILENT(sipwire_free(old));
  SAYS(SIPWIRE_OK, sipwire_new(config, &callbacks, NULL, &h_instance));
  IS_SILENT(sipwire_free(old));
  sipwire_addr addr = somewhere();
  sipwire_target target = h_to_addr(&addr);
  sipwire_iov iov = {"x", 1};
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_start(old));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_run_worker(old, 0));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_attach(old));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_stop(old));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_send(old, &target, &iov, 1, 1));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_conn_close(old, 1));
  SAYS(SIPWIRE_E_ARGUMENT, sipwire_listener_count(old));
  SAYS(0, sipwire_listener_count(h_instance));
  sipwire_free(h_instance);
  sipwire_config_free(config);
  h_instance = kept;
}

/* A process that does not take part, whoever it comes from; then it does; and what it forks does not. */
static void outside(void *generations) {
  int left = *(int *)generations;
  place = left ? "a child" : "a grandchild";
  for_participants(SIPWIRE_E_NOT_ATTACHED);
  for_all();
  SAYS(SIPWIRE_E_NOT_ATTACHED, sipwire_detach(h_instance));
  SAYS(SIPWIRE_OK, sipwire_attach(h_instance));
  SAYS(SIPWIRE_OK, sipwire_attach(h_instance));
  for_participants(0);
  if (left--) {
    pid_t pid = fork();
    if (pid == 0) outside(&left), _exit(0);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the grandchild ended with %x", status);
    place = "a parent";
    for_participants(0);
  }
  SAYS(SIPWIRE_E_ROLE, sipwire_start(h_instance));
  SAYS(SIPWIRE_E_ROLE, sipwire_run_supervisor(h_instance));
  SAYS(SIPWIRE_E_ROLE, sipwire_run_worker(h_instance, 0));
  SAYS(SIPWIRE_OK, sipwire_detach(h_instance));
  for_participants(SIPWIRE_E_NOT_ATTACHED);
}

static void a_child_of_mine(void) {
  int generations = 1;
  pid_t pid = h_fork(outside, &generations);
  h_expect_code(pid, 0);
  WAIT(h_gone(pid), "it ends");
}

/* In a callback: what would take the ground from under it is refused, all the rest is as elsewhere. */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  sipwire_loop *loop = NULL;
  place = "on_message";
  *h_word(REPORT) = 1;
  SAYS(SIPWIRE_E_REENTRANT, sipwire_log_drain(instance));
  SAYS(SIPWIRE_E_REENTRANT, sipwire_detach(instance));
  SAYS(SIPWIRE_E_ROLE, sipwire_start(instance));
  SAYS(SIPWIRE_E_ROLE, sipwire_run_supervisor(instance));
  SAYS(SIPWIRE_E_ROLE, sipwire_run_worker(instance, 1));
  SAYS(SIPWIRE_E_REENTRANT, sipwire_loop_new(instance, SIPWIRE_ROLE_SUPERVISOR, 0, &loop));
  SAYS(SIPWIRE_E_REENTRANT, sipwire_loop_new(instance, SIPWIRE_ROLE_WORKER, 1, &loop));
  SAYS(SIPWIRE_OK, sipwire_attach(instance));
  IS_SILENT(sipwire_free(instance)); /* not heard */
  for_all();
  if (h_mode == H_PROCESSES) { /* the child of a worker is no worker */
    pid_t pid = fork();
    int left = 0, status;
    if (pid == 0) outside(&left), _exit(0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "a worker's child ended with %x", status);
  }
  place = "on_message";
  return h_default_script(instance, m);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  place = "before";
  h_create(2);
  for_participants(SIPWIRE_E_NOT_ATTACHED);
  for_all();
  stale();
  a_child_of_mine();
  sipwire_free(h_instance);
  h_no_listener = true; /* the configuration has it */
  h_start(2);
  place = "running";
  for_participants(0);
  for_all();
  with_nothing();
  of_no_size();
  of_no_family();
  a_child_of_mine();
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "wrong", NULL, NULL));
  h_await_answer(peer, 200, "wrong");
  h_close(peer);
  WAIT_NUM(0, STAT(slots_used));
  h_stop();
  place = "stopped";
  if (h_mode == H_PROCESSES) CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
  for_participants(SIPWIRE_E_NOT_ATTACHED);
  sipwire_loop *loop = NULL;
  SAYS(SIPWIRE_E_ROLE, sipwire_start(h_instance));
  SAYS(SIPWIRE_OK, sipwire_run_supervisor(h_instance));
  SAYS(SIPWIRE_OK, sipwire_run_worker(h_instance, 0));
  SAYS(SIPWIRE_E_SHUTTING_DOWN, sipwire_loop_new(h_instance, SIPWIRE_ROLE_WORKER, 0, &loop));
  SAYS(SIPWIRE_E_SHUTTING_DOWN, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &loop));
  SAYS(SIPWIRE_OK, sipwire_stop(h_instance));
  if (h_mode == H_PROCESSES) CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance)); /* the harness detaches */
  return h_finish();
}
