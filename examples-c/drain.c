/* drain: the end of a server without the loss of a call. At SIGTERM the listeners close at once; a connection ends as soon
 * as what was asked on it is answered and written; what is left is cut at the deadline. A second SIGTERM does not wait.
 * Each request here is answered MS milliseconds after it came, so that there is something to wait for.
 *
 * To try it:  ./drain tcp:127.0.0.1:5060 3000     then     sipsak -E tcp -s sip:127.0.0.1:5060 & sleep 1; pkill -x drain */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "reply.h"

enum { DEADLINE_MS = 10000, TURN_MS = 20 };

struct job {
    struct job *next;
    uint64_t due_ms;
    sipwire_message message; /* its data is the copy behind it */
    char data[];
};

static struct job *first, **last = &first; /* in the order in which they are due */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t delay_ms;

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    struct job *job = malloc(sizeof *job + message->length + 1);

    (void)user, (void)instance;
    if (job == NULL)
        return -1;
    job->next = NULL;
    job->message = *message;
    job->message.data = memcpy(job->data, message->data, message->length + 1);
    pthread_mutex_lock(&lock);
    job->due_ms = message->time_ms + delay_ms;
    *last = job;
    last = &job->next;
    pthread_mutex_unlock(&lock);
    printf("a request waits for its answer\n");
    return 0;
}

static struct job *take_due(uint64_t now_ms)
{
    struct job *job;

    pthread_mutex_lock(&lock);
    if ((job = first) != NULL && job->due_ms > now_ms)
        job = NULL;
    if (job != NULL && (first = job->next) == NULL)
        last = &first;
    pthread_mutex_unlock(&lock);
    return job;
}

static void answer_due(sipwire_instance *instance, uint64_t now_ms)
{
    for (struct job *job; (job = take_due(now_ms)) != NULL; free(job)) {
        sipwire_target target = {.struct_size = sizeof target, .conn_id = job->message.conn_id};
        sipwire_iov parts[REPLY_PARTS];
        int count = reply_200(&job->message, parts);

        if (count > 0)
            sipwire_send(instance, &target, parts, (size_t)count, 0);
    }
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    sipwire_stats stats = {.struct_size = sizeof stats};
    const struct timespec turn = {0, TURN_MS * 1000000};
    struct timespec now;
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int signals = 0, status = EXIT_FAILURE;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    delay_ms = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

    if ((rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "drain: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "drain: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);

    do { /* answers go on during the drain; the last look is behind it */
        if (sigtimedwait(&stop, NULL, &turn) > 0 && ++signals == 1) {
            sipwire_drain(instance, DEADLINE_MS); /* returns at once */
            printf("draining\n");
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        answer_due(instance, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
        sipwire_stats_get(instance, &stats);
    } while (signals == 0 || (signals == 1 && stats.connections > 0));
    sipwire_stop(instance);
    printf("%llu connections were cut\n", (unsigned long long)stats.drain_cut);
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance);
    answer_due(NULL, UINT64_MAX); /* what was not answered: sends without an instance are refused */
    sipwire_config_free(config);
    return status;
}
