/* modes: threads processes */
/* What the settings of the log do: log_level leaves out what is less urgent, log_ring is how many records wait for a
 * worker; more are dropped and counted. */
#include "deadline.h"

enum { RING = 16 };

/* A dial that is refused logs a warning. Returns the port, which the line names. */
static const char *refused(uint64_t cookie) {
  static char text[4][64];
  sipwire_addr addr;
  int fd = h_refusing_port(&addr);
  sipwire_target target = h_to_addr(&addr);
  uint64_t failed = STAT(connect_failed);
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&target, "OPTIONS", 7, cookie));
  snprintf(text[cookie % 4], sizeof text[0], "%s ends", h_addr_text(&addr));
  WAIT(STAT(connect_failed) > failed, "the refusal");
  close(fd);
  return text[cookie % 4];
}

static void level(void) {
  set_live("log_level", "error");
  const char *quiet = refused(1);
  WAIT(h_failure(1), "the report");
  set_live("log_level", "warning");
  const char *loud = refused(2);
  WAIT(h_find(EV_LOG, 0, loud), "a line about %s", loud);
  CHECK_NUM(SIPWIRE_LOG_WARNING, h_find(EV_LOG, 0, loud)->level);
  CHECK_NUM(0, h_count(EV_LOG, 0, quiet)); /* records keep their order */

  /* A peer that goes is told at the level info. */
  uint32_t id[2];
  for (int told = 0; told < 2; told++) {
    set_live("log_level", told ? "info" : "notice");
    h_peer *peer = h_client();
    id[told] = h_conn_of(peer);
    h_close(peer);
    WAIT(h_find(EV_CLOSE, id[told], NULL), "on_close");
  }
  WAIT(h_find(EV_LOG, id[1], "closed by the peer"), "a line about it");
  CHECK_NUM(SIPWIRE_LOG_INFO, h_find(EV_LOG, id[1], NULL)->level);
  CHECK_NUM(0, h_count(EV_LOG, id[0], NULL));
  set_live("log_level", "notice");
}

/* The only worker is in a callback, and nobody else takes records. */
static void ring(void) {
  h_peer *peer = h_client();
  h_write_text(peer, h_request("OPTIONS", "blocked", "X-Wait: 1\r\n", NULL));
  WAIT(h_find(EV_MESSAGE, 0, "Call-ID: blocked"), "the script blocks");
  uint64_t logs = h_total(EV_LOG);
  CHECK_NUM(0, STAT(log_dropped));
  for (uint64_t cookie = 10; STAT(log_dropped) == 0; cookie++) { /* a few lines a second, the others are left out */
    CHECK(cookie < 10000, "nothing is dropped");
    refused(cookie);
    h_sleep_ms(20);
  }
  CHECK_NUM(logs, h_total(EV_LOG));
  *h_word(1) = 1;
  h_await_answer(peer, 200, "blocked");
  WAIT(h_total(EV_LOG) >= logs + RING, "%llu of %d records were told", (unsigned long long)(h_total(EV_LOG) - logs), RING);
  STAYS(100, h_total(EV_LOG) == logs + RING, "%llu records waited, log_ring is %d", (unsigned long long)(h_total(EV_LOG) - logs), RING);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("log_ring", "16");
  h_setting("blacklist_ttl", "0");
  h_start(1);
  level();
  ring();
  return h_finish();
}
