/* For tests of settings that are times. */
#ifndef SIPWIRE_TEST_DEADLINE_H
#define SIPWIRE_TEST_DEADLINE_H
#include "harness.h"

/* What is to happen `limit_ms` after something did so at `at_ms`: not before, and not several times as late. That
 * something lies between `before_ms` and `after_ms`, so that a pause of the test itself widens both bounds. */
#define CHECK_ACTED(what, before_ms, after_ms, limit_ms, at_ms)                                                        \
  do {                                                                                                                 \
    uint64_t acted_ = (at_ms), least_ = (uint64_t)(limit_ms) * 95 / 100, now_ = h_now_ms();                            \
    uint64_t most_ = (uint64_t)(limit_ms) + h_deadline_ms(5) - now_;                                                   \
    CHECK(acted_ >= (before_ms) + least_, "%s is %llu ms and acted after at most %llu ms", what,                       \
          (unsigned long long)(limit_ms), (unsigned long long)(acted_ - (before_ms)));                                 \
    CHECK(acted_ <= (after_ms) + most_, "%s is %llu ms and acted only after %llu ms", what,                            \
          (unsigned long long)(limit_ms), (unsigned long long)(acted_ - (after_ms)));                                  \
  } while (0)

static inline void set_live(const char *key, const char *value) {
  char line[200] = "";
  CHECK(sipwire_set(h_instance, key, value, line, sizeof line) == SIPWIRE_OK, "%s=%s: %s", key, value, line);
}
#endif
