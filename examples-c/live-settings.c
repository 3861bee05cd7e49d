/* live-settings: a console on stdin that shows and changes settings while the host runs. "KEY" shows a value, "KEY VALUE"
 * changes it for all workers at once, without a restart and without loss of a connection.
 *
 * To try it:  ./live-settings tcp:127.0.0.1:5060     then type     send_timeout     and     send_timeout 3s */
#define _GNU_SOURCE 1 /* ppoll */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "reply.h"

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[REPLY_PARTS];
    int count = reply_200(message, parts);

    (void)user;
    if (count > 0)
        sipwire_send(instance, &target, parts, (size_t)count, 0);
    return count < 0 ? -1 : 0;
}

static void command(sipwire_instance *instance, char *line)
{
    char text[256], *rest = NULL, *key = strtok_r(line, " \t", &rest), *value = strtok_r(NULL, "", &rest);
    int32_t rc;

    if (key == NULL)
        return;
    if (value != NULL && (rc = sipwire_set(instance, key, value, text, sizeof text)) < 0)
        printf("%s\n", *text ? text : sipwire_strerror(rc)); /* names key, value and the nearest valid one */
    else if (sipwire_get(instance, key, text, sizeof text) < 0)
        printf("there is no setting %s\n", key);
    else
        printf("%s is %s\n", key, text);
}

/* The lines that have come; a part of one waits for its rest. 0: nothing more will come. */
static int read_commands(sipwire_instance *instance)
{
    static char buffer[512];
    static size_t used;
    ssize_t count = read(STDIN_FILENO, buffer + used, sizeof buffer - used);
    char *line = buffer, *end;

    if (count < 0)
        return errno == EINTR || errno == EAGAIN;
    used += (size_t)count;
    for (; (end = memchr(line, '\n', used)) != NULL; used -= (size_t)(end + 1 - line), line = end + 1) {
        *end = '\0';
        command(instance, line);
    }
    memmove(buffer, line, used);
    if (used == sizeof buffer) { /* no line of ours is that long */
        printf("too long\n");
        used = 0;
    }
    return count > 0;
}

static volatile sig_atomic_t over;
static void on_signal(int number) { over = number; }

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    struct sigaction action = {.sa_handler = on_signal};
    struct pollfd console = {.fd = STDIN_FILENO, .events = POLLIN};
    sipwire_addr addr;
    sigset_t stop, none;
    char text[64];
    int32_t rc;
    int status = EXIT_FAILURE;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL); /* they come in ppoll only: none is missed between a look at `over` and the wait */

    if ((rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "live-settings: %s\n",
                *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "live-settings: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);

    while (!over)
        if (ppoll(&console, 1, NULL, &none) > 0 && !read_commands(instance))
            console.fd = -1; /* the server outlives its console */
    sipwire_stop(instance);
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance);
    sipwire_config_free(config);
    return status;
}
