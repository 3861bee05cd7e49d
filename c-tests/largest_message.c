/* modes: threads processes */
/* timeout: 200 */
/* max_message_size up to 16 MiB: a message of that size arrives whole, in and out, also when others that are under
 * way fill partial_max; one byte more is refused. */
#include "deadline.h"

enum { MIB = 1 << 20, MAX = 16 * MIB, MANY = 15 * MIB };
static char *text;

/* A MESSAGE of exactly so many bytes, with every byte value in its body. */
static void build(size_t size, const char *call_id) {
  size_t head = 0, body = size;
  for (int i = 0; i < 2; i++) {
    head = (size_t)sprintf(text, "MESSAGE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
                           "To: <sip:c@d>\r\nCall-ID: %s\r\nCSeq: 1 MESSAGE\r\nContent-Length: %08zu\r\n\r\n", call_id, body);
    body = size - head;
  }
  for (size_t i = head; i < size; i++) text[i] = (char)(i * 31 + i / 256 + (size_t)call_id[0]);
}

static void in(size_t size, size_t piece, const char *call_id) {
  build(size, call_id);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  for (size_t at = 0; at < size; at += piece) h_write(peer, text + at, piece < size - at ? piece : size - at);
  h_await_answer(peer, 200, call_id);
  h_event *e = h_find(EV_MESSAGE, id, NULL);
  CHECK_NUM(size, e->length);
  CHECK(e->hash == h_hash(text, size), "%s: %zu bytes arrived changed", call_id, size);
  h_close(peer);
  WAIT_NUM(0, STAT(partial_bytes));
}

/* Two at once, which together are above partial_max: what was begun below it is read on. */
static void two_at_once(void) {
  h_peer *peer[2] = {h_client(), h_client()};
  for (int i = 0; i < 2; i++) build(MANY, "both"), h_write(peer[i], text, 100);
  WAIT_NUM(200, STAT(partial_bytes));
  for (size_t at = 100; at < MANY; at += MIB / 2)
    for (int i = 0; i < 2; i++) h_write(peer[i], text + at, MIB / 2 < MANY - at ? MIB / 2 : MANY - at);
  for (int i = 0; i < 2; i++) {
    h_await_answer(peer[i], 200, "both");
    CHECK(h_find(EV_MESSAGE, h_conn_of(peer[i]), NULL)->hash == h_hash(text, MANY), "one of two arrived changed");
    h_close(peer[i]);
  }
}

static void too_large(void) {
  build(MAX + 1, "toolarge");
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  h_try_write(peer, text, 4096);
  h_await_answer(peer, 513, "toolarge");
  h_await_end(peer, "one byte too large");
  h_close(peer);
  WAIT(h_find(EV_CLOSE, id, NULL), "on_close");
  CHECK_NUM(SIPWIRE_REASON_TOO_LARGE, h_find(EV_CLOSE, id, NULL)->reason);
  CHECK_NUM(0, h_count(EV_MESSAGE, id, NULL));
}

/* To a peer that begins to read when all is queued. */
static void out(size_t size, const char *call_id) {
  build(size, call_id);
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 8192);
  sipwire_target target = h_to_conn(h_conn_of(peer));
  peer->paused = true;
  int32_t rc = h_send_here(&target, text, size, 7);
  CHECK(rc == SIPWIRE_QUEUED || rc == SIPWIRE_SENT, "%s: %d (%s)", call_id, rc, sipwire_strerror(rc));
  peer->paused = false;
  h_frame frame = {0};
  WAIT_FOR(60, h_next(peer, &frame), "%s arrives", call_id);
  CHECK(frame.length == size && h_hash(frame.data, size) == h_hash(text, size), "%s: %zu bytes, sent %zu", call_id, frame.length, size);
  WAIT_NUM(0, STAT(queued_bytes));
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_time_limit(150);
  text = malloc(MAX + 4096);
  CHECK(text, "no memory");
  h_setting("max_message_size", "16m");
  h_setting("wq_max", "16m");
  h_setting("partial_max", "16m");
  h_setting("max_connections", "8"); /* no room because of others' settings */
  h_setting("participants", "8");
  h_setting("message_timeout", "10m");
  h_setting("send_timeout", "10m");
  h_start(2);
  in(MAX, MAX, "whole");
  in(MAX, 100000, "pieces");
  in(MAX - 1, MAX, "less");
  in(65537, 65537, "just above the read buffer");
  too_large();
  sipwire_target nobody = h_to_conn(1);
  CHECK_RC(SIPWIRE_E_TOO_LARGE, h_send_here(&nobody, text, MAX + 1, 7));
  out(MAX, "out");
  out(MAX - 1, "out, less");
  two_at_once();
  set_live("max_message_size", "64k"); /* and back, while it runs */
  build(65537, "toolarge");
  h_peer *peer = h_client();
  h_try_write(peer, text, 4096);
  h_await_answer(peer, 513, "toolarge");
  h_close(peer);
  free(text);
  return h_finish();
}
