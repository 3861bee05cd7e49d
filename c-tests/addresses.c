/* modes: none */
/* Addresses as text, both ways. */
#include "harness.h"

static void both(const char *text, int family, unsigned port, const char *formatted) {
  sipwire_addr addr;
  CHECK(sipwire_addr_parse(text, &addr) == SIPWIRE_OK, "\"%s\" is not understood", text);
  CHECK(addr.family == family && addr.port == port, "\"%s\": family %u port %u", text, addr.family, addr.port);
  char out[80];
  size_t length = sipwire_addr_format(&addr, out, sizeof out);
  CHECK(strcmp(out, formatted) == 0 && length == strlen(formatted), "\"%s\" came back as \"%s\" (%zu)", text, out, length);
  char small[5];
  CHECK_NUM(length, sipwire_addr_format(&addr, small, sizeof small)); /* snprintf's rule */
  CHECK(memcmp(small, formatted, 4) == 0 && small[4] == 0, "cut to \"%.5s\"", small);
  CHECK_NUM(length, sipwire_addr_format(&addr, NULL, 0));
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  both("127.0.0.1:5060", 4, 5060, "127.0.0.1:5060");
  both("tcp:10.1.2.3:65535", 4, 65535, "10.1.2.3:65535");
  both("udp:10.1.2.3:1", 4, 1, "10.1.2.3:1");
  both("[::1]:5060", 6, 5060, "[::1]:5060");
  both("tcp:[2001:db8::5]:99", 6, 99, "[2001:db8::5]:99");
  both("[::ffff:192.0.2.1]:5060", 4, 5060, "192.0.2.1:5060"); /* v4-mapped is stored as v4 */
  static const char *const wrong[] = {"", ":", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "1.2.3:5060", "256.1.1.1:5060",
                                      "::1:5060", "[::1:5060", "[::1]5060", "[::g]:5060", "localhost:5060", "127.0.0.1:5060 ", " 127.0.0.1:5060",
                                      "127.0.0.1:5060x", "sctp:127.0.0.1:5060"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    sipwire_addr addr;
    CHECK(sipwire_addr_parse(wrong[i], &addr) < 0, "\"%s\" was taken", wrong[i]);
  }
  return h_finish();
}
