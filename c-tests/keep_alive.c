/* modes: threads processes */
/* RFC 5626: CRLFCRLF is answered by exactly one CRLF, in every cut; a lone CRLF is not answered. */
#include "harness.h"

static void check_pongs(h_peer *peer, size_t expected, const char *what) {
  h_frame none;
  WAIT((h_next(peer, &none), peer->pongs >= expected), "%s: %zu of %zu pongs", what, peer->pongs, expected);
  STAYS(100, (h_next(peer, &none), peer->pongs == expected && peer->parsed == peer->length), "%s: %zu pongs, expected %zu", what, peer->pongs, expected);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_start(1);
  h_peer *peer = h_client();
  h_write(peer, "\r\n\r\n", 4);
  check_pongs(peer, 1, "whole");
  sipwire_conn_info info;
  uint32_t id = h_conn_of(peer);
  for (uint64_t i = 0; i < 4; i++) { /* the next one when the one before was read */
    h_write(peer, &"\r\n\r\n"[i], 1);
    WAIT(h_info(id, &info) && info.bytes_in == 4 + i + 1, "piece %llu is read", (unsigned long long)i);
  }
  check_pongs(peer, 2, "in four pieces");
  h_write(peer, "\r\n\r\n\r\n\r\n", 8);
  check_pongs(peer, 4, "two in one write");
  h_text text = h_request("OPTIONS", "behind", NULL, NULL);
  char both[2048] = "\r\n\r\n";
  memcpy(both + 4, text.data, text.length);
  h_write(peer, both, text.length + 4);
  h_await_answer(peer, 200, "behind");
  check_pongs(peer, 5, "in front of a request");
  WAIT_NUM(5, STAT(pings));
  CHECK_NUM(1, h_total(EV_MESSAGE));

  h_peer *lone = h_client();
  h_write(lone, "\r\n", 2); /* between messages: to be ignored (RFC 3261 7.5) */
  h_write_text(lone, h_request("OPTIONS", "lone", NULL, NULL));
  h_await_answer(lone, 200, "lone");
  check_pongs(lone, 0, "a lone CRLF");
  return h_finish();
}
