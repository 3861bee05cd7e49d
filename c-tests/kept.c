/* modes: threads processes */
/* timeout: 400 */
/* args: --full */
/* rows: C5 */
/* A connection with a transaction that is not over: the host gives it a lifetime of its own for as long, and it is not
 * closed as idle; then it is like all others again. With --full in the times of RFC 3261: an INVITE pending 200 s. */
#include "deadline.h"

enum { LONGEST_MS = 600000 };

/* What a host does with an INVITE: Timer C is above 3 minutes (RFC 3261 section 16.6). */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  if (strncmp(m->data, "INVITE ", 7) == 0) CHECK_RC(SIPWIRE_OK, sipwire_conn_set_lifetime(instance, m->conn_id, LONGEST_MS));
  return h_default_script(instance, m);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_time_limit(h_full ? 380 : 100);
  char value[16];
  CHECK(sipwire_config_get(h_config, "connection_lifetime", value, sizeof value) > 0 && atoi(value) > 32, "C5: the default, %s, is below 64*T1", value);
  uint64_t lifetime = h_full ? 120000 : 1500, pending = h_full ? 200000 : 4000;
  if (!h_full) h_setting("connection_lifetime", "1500ms");
  h_setting("worker_hold", "200ms");
  h_script = script;
  h_start(2);
  h_peer *kept = h_client(), *other = h_client();
  uint32_t id = h_conn_of(kept), other_id = h_conn_of(other);
  uint64_t before = h_now_ms();
  h_write_text(kept, h_request("INVITE", "pending", "X-Silent: 1\r\n", NULL));
  h_write_text(other, h_request("OPTIONS", "done", NULL, NULL));
  h_await_answer(other, 200, "done");
  WAIT(h_find(EV_MESSAGE, id, "Call-ID: pending"), "the INVITE");
  sipwire_conn_info info;
  WAIT_FOR(h_full ? 200 : 20, h_find(EV_CLOSE, other_id, NULL), "C5: an idle connection ends at its lifetime");
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, other_id, NULL)->reason);
  while (h_now_ms() < before + pending) {
    CHECK(h_info(id, &info) && !h_ended(kept), "C5: closed as idle after %llu ms, with an INVITE pending", (unsigned long long)(h_now_ms() - before));
    CHECK_NUM(1, info.pending_answers);
    h_tick();
  }
  CHECK_NUM(LONGEST_MS, info.lifetime_ms);

  /* The transaction ends. */
  sipwire_target target = h_to_conn(id);
  static const char answer[] = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nCall-ID: pending\r\nContent-Length: 0\r\n\r\n";
  uint64_t answered = h_now_ms();
  CHECK(h_send_here(&target, answer, sizeof answer - 1, 1) > 0, "C5: the final answer");
  h_await_answer(kept, 200, "pending");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_lifetime(h_instance, id, 0));
  CHECK(h_info(id, &info) && info.lifetime_ms == lifetime, "C5: back at the setting: %llu", (unsigned long long)info.lifetime_ms);
  WAIT_FOR(h_full ? 200 : 20, h_find(EV_CLOSE, id, NULL), "C5: and it ends as idle");
  CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_ACTED("connection_lifetime", answered, answered, lifetime, h_find(EV_CLOSE, id, NULL)->time_ms);
  return h_finish();
}
