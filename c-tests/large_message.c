/* modes: threads processes */
/* Messages up to max_message_size over many reads: the body arrives exactly, whatever bytes it has, in every cut;
 * buffers exist only while a message is partial. */
#include "harness.h"

enum { MAX = 65536 };
static char text[MAX + 1];

/* A MESSAGE of exactly size bytes whose body holds every byte value and things that look like the end of a message. */
static void build(size_t size, const char *call_id) {
  char head[512];
  int n = 0;
  size_t body = size;
  for (int i = 0; i < 3; i++) {
    n = snprintf(head, sizeof head,
                 "MESSAGE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
                 "Call-ID: %s\r\nCSeq: 1 MESSAGE\r\nContent-Length: %5zu\r\n\r\n", call_id, body);
    body = size - (size_t)n;
  }
  memcpy(text, head, (size_t)n);
  for (size_t i = 0; i < body; i++) text[(size_t)n + i] = (char)(i * 31 + i / 256 + (size_t)call_id[1]);
  for (size_t i = 0; i + 64 < body; i += 1000) memcpy(text + n + i, "\r\n\r\nOPTIONS sip:x SIP/2.0\r\nContent-Length: 3\r\n\r\n", 48);
}

static void deliver(h_peer *peer, size_t size, size_t piece, const char *call_id) {
  build(size, call_id);
  for (size_t at = 0; at < size; at += piece) {
    h_write(peer, text + at, piece < size - at ? piece : size - at);
    if (size / piece < 400) h_sleep_ms(1);
  }
  h_await_answer(peer, 200, call_id);
  h_event *e = NULL;
  char line[64];
  snprintf(line, sizeof line, "Call-ID: %s\r", call_id);
  WAIT((e = h_find(EV_MESSAGE, 0, line)) != NULL, "%s in on_message", call_id);
  CHECK_NUM(size, e->length);
  CHECK(e->hash == h_hash(text, size), "%s: %zu bytes in pieces of %zu arrived changed", call_id, size, piece);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "50ms"); /* given back in the middle of messages as well */
  h_start(2);
  h_peer *peer = h_client(), *slow = h_client();
  static const size_t sizes[] = {MAX, MAX - 1, 40000, 16384, 16383, 8192, 4097, 1000};
  static const size_t pieces[] = {MAX, 17, 1460, 4096, 65535, 9000};
  int n = 0;
  uint64_t blocks = STAT(blocks_used);
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
      char id[16];
      snprintf(id, sizeof id, "L%03d", n++);
      deliver(peer, sizes[s], pieces[p], id);
    }

  /* over several hand-offs: parked with the supervisor between the pieces */
  build(60000, "Lslow");
  uint32_t id = h_conn_of(slow);
  sipwire_conn_info info;
  for (size_t at = 0; at < 60000; at += 15000) {
    h_write(slow, text + at, 15000);
    if (at < 45000) {
      WAIT(h_info(id, &info) && info.owner == SIPWIRE_OWNER_IDLE && info.partial_bytes == at + 15000, "parked with %zu bytes", at + 15000);
      WAIT_NUM(info.partial_bytes, STAT(partial_bytes));
    }
  }
  h_await_answer(slow, 200, "Lslow");
  CHECK(h_find(EV_MESSAGE, id, NULL)->hash == h_hash(text, 60000), "the parked message arrived changed");
  WAIT(STAT(partial_bytes) == 0, "partial_bytes is %llu", (unsigned long long)STAT(partial_bytes));
  WAIT(STAT(blocks_used) <= blocks + 16, "%llu blocks are used, were %llu", (unsigned long long)STAT(blocks_used), (unsigned long long)blocks);
  return h_finish();
}
