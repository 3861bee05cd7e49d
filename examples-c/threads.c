/* threads: work that takes time goes to a thread of the host. The worker copies the request, hands it over and reads on;
 * the host's thread answers later, by the connection's id. Any thread of the process may send, without ado.
 *
 * To try it:  ./threads tcp:127.0.0.1:5060     then     sipsak -vv -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "reply.h"

enum { POOL = 4 };

struct job {
    struct job *next;
    sipwire_instance *instance;
    sipwire_message message; /* its data is the copy behind it */
    char data[];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct job *first, **last;
    int over;
    unsigned long answered[POOL]; /* each thread's own: read when it has ended */
} jobs = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER, .last = &jobs.first};

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    struct job *job = malloc(sizeof *job + message->length + 1);

    (void)user;
    if (job == NULL)
        return -1; /* the client hears of it by the end of its connection, and may come again */
    job->next = NULL;
    job->instance = instance;
    job->message = *message;
    job->message.data = memcpy(job->data, message->data, message->length + 1); /* with its NUL */
    pthread_mutex_lock(&jobs.lock); /* held by nobody for longer than these lines */
    *jobs.last = job;
    jobs.last = &job->next;
    pthread_cond_signal(&jobs.some);
    pthread_mutex_unlock(&jobs.lock);
    return 0;
}

static struct job *take(void)
{
    struct job *job;

    pthread_mutex_lock(&jobs.lock);
    while ((job = jobs.first) == NULL && !jobs.over)
        pthread_cond_wait(&jobs.some, &jobs.lock);
    if (job != NULL && (jobs.first = job->next) == NULL)
        jobs.last = &jobs.first;
    pthread_mutex_unlock(&jobs.lock);
    return job;
}

static void *answer(void *number)
{
    struct job *job;

    while ((job = take()) != NULL) { /* here a database would be asked */
        sipwire_target target = {.struct_size = sizeof target, .conn_id = job->message.conn_id};
        sipwire_iov parts[REPLY_PARTS];
        int count = reply_200(&job->message, parts);

        if (count > 0 && sipwire_send(job->instance, &target, parts, (size_t)count, 0) >= 0)
            ++*(unsigned long *)number;
        free(job);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    pthread_t pool[POOL];
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int which, threads = 0, status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL); /* the threads inherit it: only sigwait sees them */

    if ((rc = sipwire_config_listen(config, argc > 1 ? argv[1] : "tcp:127.0.0.1:5060")) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "threads: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "threads: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    for (; threads < POOL; threads++)
        if (pthread_create(&pool[threads], NULL, answer, &jobs.answered[threads]) != 0) {
            fprintf(stderr, "threads: no more threads\n");
            goto out;
        }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout);
    sigwait(&stop, &which);
    status = EXIT_SUCCESS;
out:
    if (instance != NULL)
        sipwire_stop(instance); /* no callback runs any more; sends are refused from now on */
    pthread_mutex_lock(&jobs.lock);
    jobs.over = 1;
    pthread_cond_broadcast(&jobs.some);
    pthread_mutex_unlock(&jobs.lock);
    for (int i = 0; i < threads; i++) {
        pthread_join(pool[i], NULL);
        printf("thread %d answered %lu\n", i, jobs.answered[i]);
    }
    sipwire_free(instance); /* behind the last call with it */
    sipwire_config_free(config);
    return status;
}
