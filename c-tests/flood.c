/* modes: threads processes */
/* One connection that never stops sending does not starve the others of the same worker. */
#include "harness.h"

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(1);
  h_record(false);
  h_peer *flood = h_client(), *other = h_client();
  enum { PACK = 500 };
  static char pack[PACK * 400];
  size_t length = 0;
  for (int i = 0; i < PACK; i++) { /* ACKs: nothing to answer, so nothing but reading limits it */
    h_text text = h_request("ACK", "flood", NULL, NULL);
    memcpy(pack + length, text.data, text.length);
    length += text.length;
  }
  int asked = 0;
  for (int i = 0; i < 60; i++) {
    h_write(flood, pack, length); /* returns when the last of it is in the socket buffers: they stay full */
    char id[32];
    snprintf(id, sizeof id, "other%d", asked++);
    h_write_text(other, h_request("OPTIONS", id, NULL, NULL));
    h_frame frame = {0};
    while (!h_next(other, &frame)) { /* the flood goes on until this one is answered */
      CHECK(!h_ended(other) && !h_ended(flood), "closed");
      h_write(flood, pack, length);
      for (size_t k = 0; k < 1; k++) h_tick();
    }
  }
  h_half_close(flood);
  WAIT_FOR(60, h_ended(flood), "the flood is read to its end");
  CHECK((h_total(EV_MESSAGE) - (uint64_t)asked) % PACK == 0, "%llu messages", (unsigned long long)h_total(EV_MESSAGE));
  return h_finish();
}
