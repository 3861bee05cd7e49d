/* modes: threads processes */
/* Every descriptor of the library's is close-on-exec, in every process; those of the host are left alone. */
#include "harness.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { HOSTS = 40 };
static bool was_there[4096]; /* before the library: the host's */

static unsigned flags_of(pid_t pid, const char *fd) {
  char path[300], line[100];
  unsigned flags = 0;
  snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", pid, fd);
  FILE *file = fopen(path, "re");
  if (!file) return O_CLOEXEC; /* closed meanwhile */
  while (fgets(line, sizeof line, file)) sscanf(line, "flags: %o", &flags);
  fclose(file);
  return flags;
}

static int each_closes_on_exec(pid_t pid, const char *when) {
  char path[64], link[400], what[200];
  int seen = 0;
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  CHECK(dir, "%s: %s", path, strerror(errno));
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (entry->d_name[0] == '.' || was_there[atoi(entry->d_name) % 4096]) continue;
    snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
    ssize_t n = readlink(link, what, sizeof what - 1);
    what[n > 0 ? n : 0] = 0;
    CHECK(flags_of(pid, entry->d_name) & O_CLOEXEC, "%s: descriptor %s of process %d, %s, is left to an exec", when, entry->d_name, pid, what);
    seen++;
  }
  closedir(dir);
  return seen;
}

/* A file, a pipe: what they are, where they stand, and how they block. */
static int host[HOSTS];
static struct stat before[HOSTS];
static int flags_before[HOSTS];
static void open_hosts(void) {
  for (int i = 0; i < HOSTS; i += 4) {
    CHECK(pipe(&host[i]) == 0 && pipe(&host[i + 2]) == 0, "pipe");
    close(host[i + 2]);
    host[i + 2] = memfd_create("host", 0);
  }
  for (int i = 0; i < HOSTS; i++) {
    CHECK(fstat(host[i], &before[i]) == 0, "fstat");
    flags_before[i] = fcntl(host[i], F_GETFL) << 1 | fcntl(host[i], F_GETFD);
    was_there[host[i]] = true;
  }
}
static void check_hosts(void) {
  for (int i = 0; i < HOSTS; i++) {
    struct stat now;
    CHECK(fstat(host[i], &now) == 0 && now.st_ino == before[i].st_ino && now.st_dev == before[i].st_dev && now.st_size == before[i].st_size,
          "descriptor %d is another one", host[i]);
    CHECK_NUM(flags_before[i], fcntl(host[i], F_GETFL) << 1 | fcntl(host[i], F_GETFD));
  }
}

static int32_t script(sipwire_instance *instance, sipwire_message *message) {
  check_hosts(); /* a worker's copies, too */
  return h_default_script(instance, message);
}

static void look(const char *when, int least) {
  int seen = each_closes_on_exec(getpid(), when);
  if (h_mode == H_PROCESSES) seen += each_closes_on_exec(h_supervisor_pid(), when) + each_closes_on_exec(h_worker_pid(0), when);
  CHECK(seen >= least, "%s: only %d descriptors were seen", when, seen);
  check_hosts();
}

int main(int argc, char **argv) {
  open_hosts();
  for (int fd = 0; fd < 4096; fd++) was_there[fd] |= fcntl(fd, F_GETFD) >= 0;
  h_init(argc, argv);
  h_script = script;
  h_start(1);
  look("begun", 6);
  sipwire_addr dialled;
  int listener = h_listener_open(8, &dialled);
  fcntl(listener, F_SETFD, FD_CLOEXEC);
  h_peer *peer[5];
  for (int i = 0; i < 5; i++) { /* accepted, passed to a worker and to a sender, dialled */
    char id[32];
    snprintf(id, sizeof id, "fd%d", i);
    peer[i] = h_client();
    h_write_text(peer[i], h_request("OPTIONS", id, NULL, NULL));
    h_await_answer(peer[i], 200, id);
    sipwire_target target = h_to_conn(h_conn_of(peer[i]));
    for (int n = 0; n < 3; n++) {
      CHECK(h_send_here(&target, "\r\n", 2, 1) >= 0, "a send");
      WAIT_NUM(0, STAT(queued_bytes));
      sipwire_refresh(h_instance);
    }
  }
  sipwire_target far = h_to_addr(&dialled);
  CHECK(h_send_here(&far, "\r\n", 2, 2) >= 0, "a dial");
  h_peer *accepted = h_accept(listener);
  CHECK(sipwire_listener_add(h_instance, "tcp:127.0.0.1:0", NULL, 0) == 1, "a listener is added");
  WAIT(sipwire_listener_state(h_instance, 1, NULL, 0) == SIPWIRE_LISTENER_OPEN, "it is open");
  look("in use", 12);
  for (int i = 0; i < 5; i++) h_close(peer[i]);
  h_close(accepted);
  close(listener);
  WAIT_NUM(0, STAT(slots_used));
  look("after it", 6);
  int rc = h_finish();
  check_hosts();
  return rc;
}
