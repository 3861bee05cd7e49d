/* modes: threads processes */
/* What the settings of input do, switched while running: crlf_ping, accept_no_content_length (error_answers: bad_input.c). */
#include "deadline.h"

#define NO_LENGTH "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKnone\r\nFrom: <sip:a@b>;tag=1\r\n" \
                  "To: <sip:c@d>\r\nCall-ID: none\r\nCSeq: 1 OPTIONS\r\n\r\n"

/* A pong comes before the answer to what is behind the ping: with the answer it is known whether there is one. */
static void ping(bool answered) {
  set_live("crlf_ping", answered ? "yes" : "no");
  uint64_t pings = STAT(pings);
  h_peer *peer = h_client();
  h_text text = h_request("OPTIONS", "behind", NULL, NULL);
  char both[2048] = "\r\n\r\n";
  memcpy(both + 4, text.data, text.length);
  h_write(peer, both, text.length + 4);
  h_await_answer(peer, 200, "behind");
  CHECK_NUM(answered ? 1 : 0, peer->pongs);
  CHECK(peer->parsed == peer->length, "more than the answer came");
  WAIT_NUM(pings + 1, STAT(pings)); /* counted all the same */
  h_close(peer);
}

/* Without a length it has no body: what is behind it is the next message. */
static void no_length(bool accepted) {
  set_live("accept_no_content_length", accepted ? "yes" : "no");
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  h_write(peer, NO_LENGTH, sizeof NO_LENGTH - 1);
  if (accepted) {
    h_await_answer(peer, 200, "none");
    h_write(peer, NO_LENGTH NO_LENGTH, 2 * (sizeof NO_LENGTH - 1));
    h_write_text(peer, h_request("OPTIONS", "next", NULL, "body"));
    h_await_answer(peer, 200, "none");
    h_await_answer(peer, 200, "none");
    h_await_answer(peer, 200, "next");
    CHECK_NUM(4, h_count(EV_MESSAGE, id, NULL));
    CHECK_NUM(0, h_find(EV_MESSAGE, id, "Call-ID: none")->body_length);
    CHECK_NUM(sizeof NO_LENGTH - 1, h_find(EV_MESSAGE, id, "Call-ID: none")->length);
  } else {
    h_await_answer(peer, 400, "none");
    h_await_end(peer, "behind the answer");
    CHECK_NUM(0, h_count(EV_MESSAGE, id, NULL));
  }
  h_close(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("linger", "10m"); /* for a peer of this test that takes its time */
  h_start(2);
  ping(true), ping(false), ping(true);
  no_length(false), no_length(true), no_length(false);
  return h_finish();
}
