/* modes: threads processes */
/* A crowd of connections is given back at once: the lifetime of each one runs from then, also of those that the
 * supervisor sees idle before it has heard that they are back. */
#include "deadline.h"

enum { CROWD = 1500, LIFETIME_MS = 1500 };

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "3s");
  h_setting("worker_stall", "60s");
  h_setting("worker_fd_cache", "2000");
  h_start(2);
  static h_peer *peer[CROWD];
  static uint32_t id[CROWD];
  for (int i = 0; i < CROWD; i++) id[i] = h_conn_of(peer[i] = h_client());
  uint64_t before = h_now_ms();
  for (int i = 0; i < CROWD; i++) h_write_text(peer[i], h_request("OPTIONS", "silent", "X-Silent: 1\r\n", NULL));
  WAIT_NUM(CROWD, h_total(EV_MESSAGE));
  set_live("connection_lifetime", "1500ms");
  WAIT(STAT(givebacks) >= CROWD, "all are given back"); /* one may have been lent twice: its worker was slow to say so */
  uint64_t after = h_now_ms();
  for (int i = 0; i < CROWD; i++) {
    WAIT(h_find(EV_CLOSE, id[i], NULL), "its lifetime is over");
    CHECK_NUM(SIPWIRE_REASON_LIFETIME, h_find(EV_CLOSE, id[i], NULL)->reason);
    CHECK_ACTED("connection_lifetime", before + 3000, after, LIFETIME_MS, h_find(EV_CLOSE, id[i], NULL)->time_ms);
  }
  return h_finish();
}
