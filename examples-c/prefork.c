/* prefork: processes, as in Kamailio. The parent makes the instance and forks: a supervisor, the workers, and a timer
 * that only sends. What dies is started again: what it held is recovered, and the connections of the others live on.
 *
 * To try it:  ./prefork tcp:127.0.0.1:5060     then     pkill -KILL sipwire-w0; sipsak -vv -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "reply.h"

enum { SUPERVISOR, WORKERS = 2, TIMER, CHILDREN }; /* children 1 to WORKERS are the workers */

static const struct timespec a_moment = {0, 20000000}, a_second = {1, 0};
static sigset_t signals; /* blocked in all processes: parent and timer wait for them, the others end by sipwire_stop */

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

/* A process that is no worker attaches, and sends from then on: here it would retransmit. */
static int32_t run_timer(sipwire_instance *instance)
{
    int32_t rc = sipwire_attach(instance);

    while (rc == SIPWIRE_OK && sigtimedwait(&signals, NULL, &a_second) < 0)
        rc = sipwire_refresh(instance); /* who sends nothing for a while follows events by this */
    return rc;
}

static pid_t start(sipwire_instance *instance, int child)
{
    pid_t parent = getpid(), pid = fork();
    int32_t rc;

    if (pid != 0)
        return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(EXIT_FAILURE); /* no orphan is to keep the port when the parent is killed */
    do
        rc = child == SUPERVISOR ? sipwire_run_supervisor(instance)
             : child == TIMER    ? run_timer(instance)
                                 : sipwire_run_worker(instance, child - 1);
    while (rc == SIPWIRE_E_SUPERVISOR_GONE && nanosleep(&a_moment, NULL) == 0); /* until there is a new one */
    if (rc != SIPWIRE_OK)
        fprintf(stderr, "prefork: child %d: %s\n", child, sipwire_strerror(rc));
    sipwire_free(instance); /* this process's part of it */
    _exit(rc == SIPWIRE_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Starts what does not run: at the beginning all, later what died. */
static void start_missing(sipwire_instance *instance, pid_t children[CHILDREN])
{
    for (int i = 0; i < CHILDREN; i++) {
        if (children[i] > 0 && waitpid(children[i], NULL, WNOHANG) == 0)
            continue;
        if (children[i] > 0) { /* what it held is recovered before another takes its place */
            fprintf(stderr, "prefork: process %d died, starting another\n", (int)children[i]);
            sipwire_process_died(instance, children[i]);
            nanosleep(&a_moment, NULL); /* no fork loop */
        }
        children[i] = start(instance, i); /* -1: tried again in a second */
    }
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    pid_t children[CHILDREN] = {0};
    sipwire_addr addr;
    char text[64];
    int32_t rc;
    int received, status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* who started us may ignore it, and then waitpid would find nobody */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    if ((rc = sipwire_config_set_number(config, "workers", WORKERS)) < 0 ||
        (rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) { /* before any fork */
        fprintf(stderr, "prefork: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    sipwire_config_free(config); /* the instance has all of it, and children need no copy */
    config = NULL;
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout); /* before the fork: children have a copy of what is not yet written */

    do
        start_missing(instance, children);
    while ((received = sigtimedwait(&signals, NULL, &a_second)) != SIGTERM && received != SIGINT);

    sipwire_stop(instance); /* the run calls return in the children */
    if (children[TIMER] > 0)
        kill(children[TIMER], SIGTERM);
    while (wait(NULL) > 0) {
    }
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance);
    sipwire_config_free(config);
    return status;
}
