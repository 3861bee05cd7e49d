/* modes: threads processes */
/* Wrong calls are answered with the right code and change nothing. */
#include "harness.h"

static int32_t reentrant_rc = 1;

static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  if (h_header(m->data, m->header_length, "X-Reenter", (char[8]){0}, 8)) {
    reentrant_rc = sipwire_run_worker(instance, 0);
    *h_word(0) = (uint64_t)(int64_t)reentrant_rc;
    *h_word(1) = (uint64_t)(int64_t)sipwire_start(instance);
    *h_word(2) = 1;
  }
  return h_default_script(instance, m);
}

/* What a child does with its copy of a threaded parent's instance does not touch the parent. */
static void child_frees_its_copy(void *attaches) {
  if (attaches) CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  sipwire_free(h_instance);
  h_instance = NULL;
}

static void not_attached(void *listener) {
  sipwire_target target = h_to_addr(listener);
  sipwire_conn_info info = {.struct_size = sizeof info};
  CHECK_RC(SIPWIRE_E_NOT_ATTACHED, h_send_here(&target, "x", 1, 1));
  CHECK_RC(SIPWIRE_E_NOT_ATTACHED, sipwire_conn_info_get(h_instance, 0x40000001, &info));
  CHECK_RC(SIPWIRE_E_NOT_ATTACHED, sipwire_conn_close(h_instance, 0x40000001));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_script = script;
  h_start(2);
  sipwire_addr listener = h_listener(0), addr;
  sipwire_target target = h_to_addr(&listener);
  sipwire_iov iov = {"x", 1};
  sipwire_stats stats = {.struct_size = sizeof stats};
  sipwire_conn_info info = {.struct_size = sizeof info};
  sipwire_worker_stats worker = {.struct_size = sizeof worker};
  sipwire_instance *other = NULL;
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks};
  uint32_t id = 0;

  /* NULL, everywhere */
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_new(NULL, &callbacks, NULL, &other));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_new(h_config, &callbacks, NULL, NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_set(NULL, "workers", "1"));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_set(h_config, NULL, "1"));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_set(h_config, "workers", NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_config_listen(h_config, NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_start(NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_stop(NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_attach(NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_run_worker(NULL, 0));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_send(NULL, &target, &iov, 1, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_send(h_instance, NULL, &iov, 1, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_send(h_instance, &target, NULL, 1, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_info_get(h_instance, 1, NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_find(h_instance, NULL, NULL, &id));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_stats_get(h_instance, NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_stats_get(NULL, &stats));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_set(h_instance, NULL, "1", NULL, 0));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_blacklist_check(h_instance, NULL));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_addr_parse(NULL, &addr));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_addr_parse("nonsense", &addr));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_listener_addr(h_instance, 7, &addr));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_listener_addr(h_instance, -1, &addr));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_worker_stats_get(h_instance, 99, &worker));
  sipwire_free(NULL);
  sipwire_config_free(NULL);
  sipwire_loop_free(NULL);

  /* nothing to send, nowhere to send it */
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_send(h_instance, &target, &iov, 0, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&target, "", 0, 1));
  sipwire_target nowhere = {.struct_size = sizeof nowhere};
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&nowhere, "x", 1, 1));
  sipwire_target bad_family = target;
  bad_family.remote.family = 5;
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&bad_family, "x", 1, 1));
  sipwire_target mixed = target, flagged = target;
  mixed.local.family = 6;
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&mixed, "x", 1, 1));
  flagged.flags = 0x40000000;
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&flagged, "x", 1, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_process_died(h_instance, 0));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_process_died(h_instance, -5));

  /* lengths that no memory has: refused before anything is read or copied */
  sipwire_iov huge[65];
  for (int i = 0; i < 65; i++) huge[i] = (sipwire_iov){"x", SIZE_MAX};
  CHECK_RC(SIPWIRE_E_TOO_LARGE, sipwire_send(h_instance, &target, huge, 1, 1));
  CHECK_RC(SIPWIRE_E_TOO_LARGE, sipwire_send(h_instance, &target, huge, 65, 1));
  for (int i = 0; i < 65; i++) huge[i].length = (size_t)1 << 40;
  CHECK_RC(SIPWIRE_E_TOO_LARGE, sipwire_send(h_instance, &target, huge, 65, 1));
  sipwire_target unknown = h_to_conn(0x40123456);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&unknown, "x", 1, 1));
  unknown.conn_id = 12; /* one of Kamailio's own, say */
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&unknown, "x", 1, 1));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_close(h_instance, 0x40123456));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_set_user(h_instance, 0x40123456, 1));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_set_lifetime(h_instance, 0x40123456, 1));
  static const int64_t no_times[] = {INT64_MIN, -2, 1, 9, 4 * 3600000 + 1, 1LL << 32, INT64_MAX};
  for (size_t i = 0; i < sizeof no_times / sizeof *no_times; i++) {
    CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_set_keepalive(h_instance, 0x40123456, no_times[i]));
    CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_set_flow_timer(h_instance, 0x40123456, no_times[i]));
  }
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_conn_set_flow_timer(h_instance, 0x40123456, SIPWIRE_KEEPALIVE_DEFAULT));
  static const int64_t times[] = {0, 10, 4 * 3600000};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_set_keepalive(h_instance, 0x40123456, times[i]));
    CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_set_flow_timer(h_instance, 0x40123456, times[i]));
  }
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_set_keepalive(h_instance, 0x40123456, SIPWIRE_KEEPALIVE_DEFAULT));

  /* struct_size */
  sipwire_target sized = target;
  sized.struct_size = 0;
  CHECK_RC(SIPWIRE_E_VERSION, h_send_here(&sized, "x", 1, 1));
  stats.struct_size = 0;
  CHECK_RC(SIPWIRE_E_VERSION, sipwire_stats_get(h_instance, &stats));
  info.struct_size = 3;
  CHECK_RC(SIPWIRE_E_VERSION, sipwire_conn_info_get(h_instance, 0x40123456, &info));
  callbacks.struct_size = 1;
  CHECK_RC(SIPWIRE_E_VERSION, sipwire_new(h_config, &callbacks, NULL, &other));
  /* An older host has a smaller struct: it gets what fits, and nothing behind it is touched. */
  union { sipwire_stats stats; unsigned char bytes[sizeof(sipwire_stats)]; } small;
  memset(&small, 0xAB, sizeof small);
  small.stats.struct_size = offsetof(sipwire_stats, accepted);
  CHECK_RC(SIPWIRE_OK, sipwire_stats_get(h_instance, &small.stats));
  CHECK_NUM(2, small.stats.workers);
  for (size_t i = offsetof(sipwire_stats, accepted); i < sizeof small; i++) CHECK(small.bytes[i] == 0xAB, "byte %zu behind struct_size was written", i);

  /* A newer host has a larger one: what this version does not know reads as zero. */
  struct { sipwire_stats stats; unsigned char more[64]; } large;
  memset(&large, 0xAB, sizeof large);
  large.stats.struct_size = sizeof large;
  CHECK_RC(SIPWIRE_OK, sipwire_stats_get(h_instance, &large.stats));
  for (size_t i = 0; i < sizeof large.more; i++) CHECK_NUM(0, large.more[i]);

  /* role and phase */
  if (h_mode == H_THREADS) {
    CHECK_RC(SIPWIRE_E_ROLE, sipwire_start(h_instance)); /* already running */
    h_peer *kept = h_client();
    uint32_t kept_id = h_conn_of(kept);
    for (int attaches = 0; attaches < 2; attaches++) {
      pid_t child = h_fork(child_frees_its_copy, attaches ? &child : NULL);
      h_expect_code(child, 0);
      WAIT(h_gone(child), "the child ends");
    }
    STAYS(50, !h_ended(kept) && h_info(kept_id, &info), "the parent's connection was closed by its child");
    info = (sipwire_conn_info){.struct_size = sizeof info};
    sipwire_loop *loop = NULL;
    CHECK_RC(SIPWIRE_E_ROLE, sipwire_loop_new(h_instance, SIPWIRE_ROLE_SUPERVISOR, 0, &loop)); /* one runs */
    h_write_text(kept, h_request("OPTIONS", "kept", NULL, NULL));
    h_await_answer(kept, 200, "kept");
  } else {
    CHECK_RC(SIPWIRE_E_ROLE, sipwire_run_worker(h_instance, 0)); /* this process is attached as a sender */
    CHECK_RC(SIPWIRE_E_ROLE, sipwire_run_supervisor(h_instance));
    pid_t child = h_fork(not_attached, &listener);
    h_expect_code(child, 0);
    WAIT(h_gone(child), "the child that did not attach ends");
  }

  /* inside a callback */
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "reenter", "X-Reenter: 1\r\n", NULL));
  h_await_answer(peer, 200, "reenter");
  CHECK_NUM(1, *h_word(2));
  CHECK((int64_t)*h_word(0) == SIPWIRE_E_REENTRANT || (int64_t)*h_word(0) == SIPWIRE_E_ROLE, "run_worker in on_message: %lld", (long long)*h_word(0));
  CHECK((int64_t)*h_word(1) == SIPWIRE_E_REENTRANT || (int64_t)*h_word(1) == SIPWIRE_E_ROLE, "start in on_message: %lld", (long long)*h_word(1));

  /* text for every code and for any other */
  for (int32_t code = -3000; code <= 100; code++) CHECK(sipwire_strerror(code) && sipwire_strerror(code)[0], "no text for %d", code);
  for (int32_t reason = -3; reason < 100; reason++) CHECK(sipwire_reason_text(reason) && sipwire_reason_text(reason)[0], "no text for reason %d", reason);
  CHECK_NUM(SIPWIRE_VERSION_MAJOR << 16 | SIPWIRE_VERSION_MINOR << 8 | SIPWIRE_VERSION_PATCH, sipwire_version_number());
  h_write_text(peer, h_request("OPTIONS", "alive", NULL, NULL));
  h_await_answer(peer, 200, "alive");
  return h_finish();
}
