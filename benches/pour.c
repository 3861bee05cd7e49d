/* pour: answers each request with 64 KB, so that slow readers make queues. A host of libsipwire, for the bench. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sipwire.h>
#include "pour.h"

static char body[POUR_BYTES];

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[] = {{POUR_HEADERS, sizeof POUR_HEADERS - 1}, {body, sizeof body}};
    (void)user;
    return sipwire_send(instance, &target, parts, 2, 0) < 0 ? -1 : 0;
}

static int listening(void)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (pour_small_buffer(fd) || bind(fd, (struct sockaddr *)&local, sizeof local) || listen(fd, 4096))
        return -1;
    return fd;
}

static int fail(const char *what) { return fprintf(stderr, "pour: %s\n", what), 1; }

int main(int argc, char **argv)
{
    sipwire_config *config = sipwire_config_new();
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_instance *instance = NULL;
    sipwire_addr addr;
    char text[64];
    int processes = 0, rc, signal_number;
    sigset_t signals;
    memset(body, 'x', sizeof body);
    rc = sipwire_config_listen_fd(config, listening());
    sipwire_config_set(config, "workers", "1");
    for (int i = 1; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');
        if (strcmp(argv[i], "--processes") == 0)
            processes = 1;
        else if (value)
            *value = 0, rc = sipwire_config_set(config, argv[i], value + 1);
        else if (strcmp(argv[i], "--threads") && strcmp(argv[i], "-o"))
            return fail("usage: pour [--threads|--processes] [-o key=value]...");
    }
    if (rc < 0 || (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0)
        return fail(*sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
    sigemptyset(&signals), sigaddset(&signals, SIGTERM), sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (int role = 0; processes && role < 2; role++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            rc = role ? sipwire_run_worker(instance, 0) : sipwire_run_supervisor(instance);
            _exit(rc < 0);
        }
    if (!processes && (rc = sipwire_start(instance)) < 0)
        return fail(sipwire_strerror(rc));
    sipwire_listener_addr(instance, 0, &addr), sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\n", text), fflush(stdout);
    sigwait(&signals, &signal_number);
    sipwire_stop(instance);
    while (wait(NULL) > 0) {}
    return sipwire_free(instance), sipwire_config_free(config), 0;
}
