/* modes: threads processes */
/* One worker reads many connections at once; a message is delivered the moment it is complete. The first part is
 * the example of the 2009 description: half of 1, half of 2, rest of 1 (1 is delivered), rest of 2 (2 is delivered). */
#include "harness.h"

static void description_example(void) {
  h_peer *con1 = h_client(), *con2 = h_client();
  h_text one = h_request("OPTIONS", "con1", NULL, "body of one"), two = h_request("OPTIONS", "con2", NULL, "body of two");
  uint64_t before = h_total(EV_MESSAGE);
  uint32_t id1 = h_conn_of(con1), id2 = h_conn_of(con2);
  sipwire_conn_info info;

  h_write(con1, one.data, one.length / 2);
  WAIT(h_info(id1, &info) && info.bytes_in == one.length / 2, "the first half of 1 was read");
  h_write(con2, two.data, two.length / 2);
  WAIT(h_info(id2, &info) && info.bytes_in == two.length / 2, "the first half of 2 was read");
  WAIT(h_info(id2, &info) && info.partial_bytes == two.length / 2, "half of 2 is kept");
  CHECK_NUM(before, h_total(EV_MESSAGE));

  h_write(con1, one.data + one.length / 2, one.length - one.length / 2);
  h_await_answer(con1, 200, "con1");
  CHECK_NUM(before + 1, h_total(EV_MESSAGE)); /* 1 was delivered while 2 lies half read */
  CHECK(!h_find(EV_MESSAGE, id2, NULL), "half a message of connection 2 was delivered");

  h_write(con2, two.data + two.length / 2, two.length - two.length / 2);
  h_await_answer(con2, 200, "con2");
  CHECK_NUM(h_hash(one.data, one.length), h_find(EV_MESSAGE, id1, NULL)->hash);
  CHECK_NUM(h_hash(two.data, two.length), h_find(EV_MESSAGE, id2, NULL)->hash);
  CHECK_NUM(before + 2, h_total(EV_MESSAGE));
  h_close(con1);
  h_close(con2);
}

/* The body holds empty lines and a whole request: only Content-Length may end it. */
static void pipelined(void) {
  h_peer *peer = h_client();
  char all[40000], id[32];
  size_t length = 0;
  enum { COUNT = 60 };
  for (int i = 0; i < COUNT; i++) {
    snprintf(id, sizeof id, "pipe%d", i);
    h_text text = h_request("MESSAGE", id, NULL, i % 3 == 0 ? NULL : "\r\n\r\nOPTIONS sip:x SIP/2.0\r\nContent-Length: 9\r\n\r\n");
    memcpy(all + length, text.data, text.length);
    length += text.length;
  }
  /* whole in one write, and cut where it hurts: odd pieces that end inside header names, CRLFs and bodies */
  h_write(peer, all, length);
  for (int i = 0; i < COUNT; i++) {
    snprintf(id, sizeof id, "pipe%d", i);
    h_await_answer(peer, 200, id); /* in order */
  }
  for (size_t at = 0, piece = 1; at < length; at += piece, piece = piece * 3 % 1009 + 1) {
    h_write(peer, all + at, piece < length - at ? piece : length - at);
    h_sleep_ms(1);
  }
  for (int i = 0; i < COUNT; i++) {
    snprintf(id, sizeof id, "pipe%d", i);
    h_await_answer(peer, 200, id);
  }
  h_close(peer);
}

static void many_alternating(void) {
  enum { PEERS = 20, ROUNDS = 10 };
  h_peer *peer[PEERS];
  char id[32];
  for (int i = 0; i < PEERS; i++) peer[i] = h_client();
  for (int round = 0; round < ROUNDS; round++) {
    char text[PEERS][1024];
    size_t length[PEERS];
    for (int i = 0; i < PEERS; i++) {
      snprintf(id, sizeof id, "alt%d-%d", i, round);
      h_text t = h_request("OPTIONS", id, NULL, "x");
      memcpy(text[i], t.data, length[i] = t.length);
    }
    for (int part = 0; part < 4; part++)
      for (int i = 0; i < PEERS; i++) {
        size_t from = length[i] * (size_t)part / 4, to = length[i] * (size_t)(part + 1) / 4;
        h_write(peer[i], text[i] + from, to - from);
      }
    for (int i = 0; i < PEERS; i++) {
      snprintf(id, sizeof id, "alt%d-%d", i, round);
      h_await_answer(peer[i], 200, id);
    }
  }
  for (int i = 0; i < PEERS; i++) h_close(peer[i]);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(1); /* one worker: all connections are interleaved in it */
  description_example();
  pipelined();
  many_alternating();
  return h_finish();
}
