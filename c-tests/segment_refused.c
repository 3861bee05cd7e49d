/* modes: none */
/* The kernel gives no memory for the segment, or settings ask for one that cannot be: sipwire_new says so with one code
 * and one line, and leaves nothing behind; with more memory the same configuration makes an instance. */
#include "harness.h"
#include <sys/resource.h>

static int32_t make(sipwire_instance **instance) {
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks};
  return sipwire_new(h_config, &callbacks, NULL, instance);
}

/* With so little of a resource, for as long as it takes. */
static void refused(int resource, rlim_t little, int32_t code, const char *named) {
  struct rlimit all, low;
  CHECK(getrlimit(resource, &all) == 0, "getrlimit: %s", strerror(errno));
  low = (struct rlimit){.rlim_cur = little, .rlim_max = all.rlim_max};
  int before = h_count_fds(getpid());
  sipwire_instance *instance = NULL;
  CHECK(setrlimit(resource, &low) == 0, "setrlimit: %s", strerror(errno));
  int32_t rc = make(&instance);
  CHECK(setrlimit(resource, &all) == 0, "setrlimit: %s", strerror(errno));
  CHECK(rc == code, "with %llu of resource %d: %d (%s)", (unsigned long long)little, resource, rc, sipwire_strerror(rc));
  CHECK(instance == NULL, "an out-parameter was written on failure");
  const char *line = sipwire_config_error(h_config);
  CHECK(strstr(line, named) && !strchr(line, '\n'), "\"%s\" does not say %s in one line", line, named);
  CHECK_NUM(before, h_count_fds(getpid()));
  CHECK(make(&instance) == SIPWIRE_OK, "with more of it: %s", sipwire_config_error(h_config));
  sipwire_free(instance);
}

static void unacceptable(const char *key, const char *value, const char *named) {
  char before[64];
  sipwire_config_get(h_config, key, before, sizeof before);
  int32_t rc = sipwire_config_set(h_config, key, value);
  sipwire_instance *instance = NULL;
  if (rc == SIPWIRE_OK) rc = make(&instance); /* it only contradicts another setting */
  CHECK_RC(SIPWIRE_E_SETTING, rc);
  const char *line = sipwire_config_error(h_config);
  CHECK(strstr(line, key) && strstr(line, named) && !strchr(line, '\n'), "%s=%s: \"%s\"", key, value, line);
  h_setting(key, before);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_listen("tcp:127.0.0.1:0");
  h_setting("wq_max", "256m");
  refused(RLIMIT_FSIZE, 1 << 20, SIPWIRE_E_SYSTEM, "shared memory: larger"); /* and SIGXFSZ would end this test */
  refused(RLIMIT_AS, 300 << 20, SIPWIRE_E_NO_MEMORY, "shared memory");
  int lowest = dup(0);
  close(lowest);
  refused(RLIMIT_NOFILE, (rlim_t)lowest + 3, SIPWIRE_E_SYSTEM, "descriptors");
  unacceptable("max_connections", "1048577", "1048576");
  unacceptable("max_connections_per_ip", "1048577", "1048576");
  unacceptable("participants", "1001", "1000");
  unacceptable("workers", "200", "participants");
  unacceptable("partial_max", "5g", "4g");
  return h_finish();
}
