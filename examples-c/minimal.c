/* minimal: the least that a host does. The library runs its supervisor and workers as threads, a worker calls
 * on_message with each complete message, and the main thread waits for the signal that ends all.
 *
 * To try it:  ./minimal tcp:127.0.0.1:5060     then     sipsak -vv -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "reply.h"

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[REPLY_PARTS];
    int count = reply_200(message, parts);

    (void)user;
    if (count > 0) /* never blocks; refused: the client is gone or does not read */
        sipwire_send(instance, &target, parts, (size_t)count, 0);
    return count < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int which, status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN); /* the library raises none; stdout may be a pipe */
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL); /* before any thread is there: only sigwait sees them */

    if ((rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "minimal: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "minimal: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout);

    sigwait(&stop, &which);
    sipwire_stop(instance); /* returns when the threads have ended */
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance); /* NULL is allowed, as for config */
    sipwire_config_free(config);
    return status;
}
