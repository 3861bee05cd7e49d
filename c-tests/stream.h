/* For tests of what a byte stream means: pieces of it that the library reads one by one. */
#ifndef SIPWIRE_TEST_STREAM_H
#define SIPWIRE_TEST_STREAM_H
#include "harness.h"
#include <sched.h>

/* Waits until the library has read `bytes` in all from this connection, or ends it. Does not sleep: it is asked for every byte. */
static inline void s_read(h_peer *peer, uint32_t id, uint64_t bytes) {
  sipwire_conn_info info;
  uint64_t until = h_deadline_ms(20);
  while (h_info(id, &info) && info.bytes_in < bytes && !(info.flags & SIPWIRE_CONN_CLOSING)) {
    CHECK(h_now_ms() <= until, "%llu of %llu bytes from %s are read", (unsigned long long)info.bytes_in, (unsigned long long)bytes, h_addr_text(&peer->local));
    sched_yield();
  }
}

/* Writes data in pieces of `piece` bytes, each of which is a read of its own. What was written before is read. */
static inline void s_write_in(h_peer *peer, uint32_t id, const void *data, size_t length, size_t piece) {
  sipwire_conn_info info;
  if (!h_info(id, &info)) return;
  for (size_t at = 0; at < length; at += piece) {
    size_t n = piece < length - at ? piece : length - at;
    if (!h_try_write(peer, (const char *)data + at, n)) return; /* ended by what came before */
    s_read(peer, id, info.bytes_in + at + n);
  }
}
#endif
