/* own-epoll: the host's own event loop drives the library. One epoll waits for the supervisor, for a worker and for
 * signals; no thread is started. A server that has a loop already adds two descriptors to it.
 *
 * To try it:  ./own-epoll tcp:127.0.0.1:5060     then     sipsak -vv -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "reply.h"

enum { SUPERVISOR, WORKER, ROLES };

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

/* One turn of each; how many are left. `timeout`: how long epoll_wait may sleep then, -1: for ever. */
static int step(sipwire_loop *loops[ROLES], int *timeout)
{
    int left = 0;

    *timeout = -1;
    for (int i = 0; i < ROLES; i++) {
        int32_t rc;
        int64_t ms;

        if (loops[i] == NULL)
            continue;
        if ((rc = sipwire_loop_step(loops[i])) < 0) { /* callbacks run in a step */
            if (rc != SIPWIRE_E_SHUTTING_DOWN) /* which it says after sipwire_stop, when all is told */
                fprintf(stderr, "own-epoll: %s\n", sipwire_strerror(rc));
            sipwire_loop_free(loops[i]);
            loops[i] = NULL;
            continue;
        }
        left++;
        ms = rc == 1 ? 0 : sipwire_loop_timeout_ms(loops[i]); /* 1: there is more to do already */
        if (ms >= 0 && (*timeout < 0 || ms < *timeout))
            *timeout = (int)ms;
    }
    return left;
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    sipwire_loop *loops[ROLES] = {NULL};
    struct signalfd_siginfo info;
    struct epoll_event events[ROLES + 1];
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int epoll = -1, signals = -1, timeout, status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    if ((rc = sipwire_config_set(config, "workers", "1")) < 0 ||
        (rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "own-epoll: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_loop_new(instance, SIPWIRE_ROLE_SUPERVISOR, 0, &loops[SUPERVISOR])) < 0 ||
        (rc = sipwire_loop_new(instance, SIPWIRE_ROLE_WORKER, 0, &loops[WORKER])) < 0) {
        fprintf(stderr, "own-epoll: no loop: %s\n", sipwire_strerror(rc));
        goto out;
    }
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 || (signals = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK)) < 0) {
        perror("own-epoll");
        goto out;
    }
    for (int i = 0; i <= ROLES; i++) { /* level-triggered: who is not done is called again */
        int fd = i < ROLES ? sipwire_loop_fd(loops[i]) : signals;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            perror("own-epoll: epoll_ctl");
            goto out;
        }
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout);

    while (step(loops, &timeout) > 0) {
        if (epoll_wait(epoll, events, ROLES + 1, timeout) < 0 && errno != EINTR) {
            perror("own-epoll: epoll_wait");
            goto out;
        }
        /* A host looks here which of its own descriptors are ready; a step of ours that has nothing to do is cheap. */
        if (read(signals, &info, sizeof info) == sizeof info)
            sipwire_stop(instance); /* returns at once: the steps to come end what is open */
    }
    status = EXIT_SUCCESS;
out:
    for (int i = ROLES - 1; i >= 0; i--) /* the worker first: it gives back to the supervisor */
        sipwire_loop_free(loops[i]);
    if (signals >= 0)
        close(signals);
    if (epoll >= 0)
        close(epoll);
    sipwire_free(instance);
    sipwire_config_free(config);
    return status;
}
