/* libevent: the library in a loop of libevent. Each role is one event: readable, or after the time it names. libuv is
 * the same with a uv_poll_t and a uv_timer_t.
 *
 * To try it:  ./libevent tcp:127.0.0.1:5060     then     sipsak -vv -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <event2/event.h>
#include "reply.h"

enum { SUPERVISOR, WORKER, ROLES };

struct role {
    sipwire_loop *loop;
    struct event *event;
    struct event_base *base;
    int *running; /* roles that have not ended */
};

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

/* Waits again: until the descriptor is readable, or until the role wants to be stepped in any case. */
static void await(struct role *role, int32_t rc)
{
    int64_t ms = rc == 1 ? 0 : sipwire_loop_timeout_ms(role->loop); /* 1: there is more to do already */
    struct timeval time = {ms / 1000, ms % 1000 * 1000};

    event_add(role->event, ms < 0 ? NULL : &time);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    struct role *role = argument;
    int32_t rc = sipwire_loop_step(role->loop); /* callbacks run in here */

    (void)fd, (void)what;
    if (rc >= 0) {
        await(role, rc);
        return;
    }
    if (rc != SIPWIRE_E_SHUTTING_DOWN)
        fprintf(stderr, "libevent: %s\n", sipwire_strerror(rc));
    if (--*role->running == 0)
        event_base_loopbreak(role->base);
}

static void on_signal(evutil_socket_t number, short what, void *instance)
{
    (void)number, (void)what;
    sipwire_stop(instance); /* returns at once: the steps to come end what is open */
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    struct event_base *base = event_base_new();
    struct event *term = NULL, *interrupt = NULL;
    int running = ROLES, status = EXIT_FAILURE;
    struct role roles[ROLES] = {{.base = base, .running = &running}, {.base = base, .running = &running}};
    sipwire_addr addr;
    char text[64];
    int32_t rc;

    signal(SIGPIPE, SIG_IGN);
    if ((rc = sipwire_config_set(config, "workers", "1")) < 0 ||
        (rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "libevent: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_loop_new(instance, SIPWIRE_ROLE_SUPERVISOR, 0, &roles[SUPERVISOR].loop)) < 0 ||
        (rc = sipwire_loop_new(instance, SIPWIRE_ROLE_WORKER, 0, &roles[WORKER].loop)) < 0) {
        fprintf(stderr, "libevent: no loop: %s\n", sipwire_strerror(rc));
        goto out;
    }
    if (base == NULL || (term = evsignal_new(base, SIGTERM, on_signal, instance)) == NULL ||
        (interrupt = evsignal_new(base, SIGINT, on_signal, instance)) == NULL ||
        event_add(term, NULL) < 0 || event_add(interrupt, NULL) < 0) {
        fprintf(stderr, "libevent: no events\n");
        goto out;
    }
    for (int i = 0; i < ROLES; i++) { /* level-triggered: who is not done is called again */
        if ((roles[i].event = event_new(base, sipwire_loop_fd(roles[i].loop), EV_READ, on_event, &roles[i])) == NULL) {
            fprintf(stderr, "libevent: no events\n");
            goto out;
        }
        await(&roles[i], SIPWIRE_OK);
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout);

    if (event_base_dispatch(base) == 0)
        status = EXIT_SUCCESS;
out:
    for (int i = ROLES - 1; i >= 0; i--) { /* the worker first: it gives back to the supervisor */
        if (roles[i].event != NULL)
            event_free(roles[i].event);
        sipwire_loop_free(roles[i].loop);
    }
    if (term != NULL)
        event_free(term);
    if (interrupt != NULL)
        event_free(interrupt);
    if (base != NULL)
        event_base_free(base);
    sipwire_free(instance);
    sipwire_config_free(config);
    return status;
}
