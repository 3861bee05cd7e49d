/* For tests of the limits of queued output. */
#ifndef SIPWIRE_TEST_QUEUE_H
#define SIPWIRE_TEST_QUEUE_H
#include "deadline.h"

/* The supervisor has done all that was asked of it and sleeps. While it moves what was sent to where it counts, a limit
 * may be passed by as much: who wants to see the exact limit sends when it rests. */
static inline bool supervisor_rests(void) {
  char path[64], state = 0;
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", h_supervisor_pid(), h_find_task("sipwire-super"));
  FILE *file = fopen(path, "re");
  if (!file) return false;
  bool known = fscanf(file, "%*d (%*[^)]) %c", &state) == 1;
  fclose(file);
  return known && state == 'S';
}
#define WAIT_REST() WAIT(supervisor_rests(), "the supervisor does not come to rest")
#endif
