/* Starting, replacing and ending the participants; see participants.h. */
#include "participants.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "delayed.h"
#include "log.h"
#include "server.h"
#include "shared.h"
#include "udp.h"

enum kind { SUPERVISOR, WORKER, RECEIVER, TIMER };

struct participant {
    enum kind kind;
    int number; /* WORKER, RECEIVER: msg.worker */
    pid_t pid;
    pthread_t thread;
    uint64_t started_ms;
};

enum { RETRY_MS = 20, QUICK_DEATH_MS = 1000 };

static struct participant *participants;
static int participant_count;
static struct engine **engines; /* by worker number; an entry is touched by its own worker only */

struct engine *participants_engine(int32_t worker)
{
    return worker >= 0 && worker < server.workers ? engines[worker] : NULL;
}

void participants_on_worker_start(void *user, sipwire_instance *instance, int32_t worker)
{
    (void)user, (void)instance;
    if (worker >= 0 && worker < server.workers && engines[worker] == NULL)
        engines[worker] = engine_new(worker);
}

void participants_on_worker_stop(void *user, sipwire_instance *instance, int32_t worker)
{
    (void)user, (void)instance;
    if (worker >= 0 && worker < server.workers) {
        engine_free(engines[worker]);
        engines[worker] = NULL;
    }
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static const char *name_of(const struct participant *p, char *buffer, size_t size)
{
    static const char *const names[] = {"supervisor", "TCP worker", "UDP receiver", "timer"};

    if (p->kind == WORKER || p->kind == RECEIVER)
        snprintf(buffer, size, "%s %d", names[p->kind], p->number);
    else
        snprintf(buffer, size, "%s", names[p->kind]);
    return buffer;
}

/* What a participant does; in both modes. The library's own two are threads of the library when threads are used. */
static int32_t run(const struct participant *p)
{
    struct engine *e;
    char name[16];

    switch (p->kind) {
    case SUPERVISOR:
        return sipwire_run_supervisor(server.instance);
    case WORKER:
        return sipwire_run_worker(server.instance, p->number);
    case RECEIVER:
        snprintf(name, sizeof name, "sipd-udp%d", p->number);
        prctl(PR_SET_NAME, name);
        e = engine_new(p->number);
        if (e == NULL)
            return SIPWIRE_E_NO_MEMORY;
        udp_receive(e, delayed_stop_fd());
        engine_free(e);
        return SIPWIRE_OK;
    case TIMER:
        prctl(PR_SET_NAME, "sipd-timer");
        delayed_run();
        return SIPWIRE_OK;
    }
    return SIPWIRE_E_ROLE;
}

static void *thread_main(void *argument)
{
    run(argument);
    return NULL;
}

/* Gives the parent time to replace the supervisor. False: it is stopping, there will be none. */
static bool supervisor_may_come(void)
{
    struct pollfd stop = {delayed_stop_fd(), POLLIN, 0};

    return poll(&stop, 1, RETRY_MS) == 0;
}

static void child_main(const struct participant *p)
{
    int32_t rc = SIPWIRE_OK;

    if (p->kind == RECEIVER || p->kind == TIMER)
        while ((rc = sipwire_attach(server.instance)) == SIPWIRE_E_SUPERVISOR_GONE && supervisor_may_come())
            ;
    if (rc >= 0)
        while ((rc = run(p)) == SIPWIRE_E_SUPERVISOR_GONE && supervisor_may_come())
            ;
    if (p->kind == RECEIVER || p->kind == TIMER)
        sipwire_detach(server.instance);
    if (rc == SIPWIRE_E_SUPERVISOR_GONE)
        rc = SIPWIRE_OK; /* the end of all */
    if (rc < 0)
        log_error("%s", sipwire_strerror(rc));
    sipwire_free(server.instance); /* this process's part; the others go on */
    _exit(rc < 0 ? 1 : 0);
}

static bool start_child(struct participant *p)
{
    pid_t parent = getpid();

    p->started_ms = now_ms();
    p->pid = fork();
    if (p->pid < 0)
        log_error("fork: %s", strerror(errno));
    if (p->pid != 0)
        return p->pid > 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no orphan keeps the ports when the parent is killed */
    if (getppid() != parent)
        _exit(1);
    child_main(p);
    return false;
}

static void add(enum kind kind, int number)
{
    participants[participant_count++] = (struct participant){.kind = kind, .number = number};
}

bool participants_start(void)
{
    int32_t rc;

    participants = calloc((size_t)(2 + server.workers + server.receivers), sizeof *participants);
    engines = calloc((size_t)server.workers + 1, sizeof *engines);
    if (participants == NULL || engines == NULL)
        return log_error("no memory"), false;
    if (server.processes) {
        add(SUPERVISOR, 0);
        for (int i = 0; i < server.workers; i++)
            add(WORKER, i);
    } else if ((rc = sipwire_start(server.instance)) < 0) {
        log_error("%s", sipwire_strerror(rc));
        return false;
    }
    for (int i = 0; i < server.receivers; i++)
        add(RECEIVER, server.workers + i);
    add(TIMER, 0);
    for (int i = 0; i < participant_count; i++) {
        if (server.processes ? !start_child(&participants[i])
                             : pthread_create(&participants[i].thread, NULL, thread_main, &participants[i]) != 0)
            return log_error("cannot start all participants"), false;
    }
    return true;
}

bool participants_reap(void)
{
    char name[32], how[32];
    bool all_run = true;
    pid_t pid;
    int status;

    /* With threads a child is one of a script's own, which waits for it. */
    while (server.processes && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < participant_count; i++) {
            struct participant *p = &participants[i];
            if (p->pid != pid)
                continue;
            snprintf(how, sizeof how, WIFSIGNALED(status) ? "killed by signal %d" : "ended with %d",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            log_error("%s, process %d, %s: starting another", name_of(p, name, sizeof name), (int)pid, how);
            sipwire_process_died(server.instance, pid); /* what it held is recovered before its number is used again */
            delayed_forget(pid);
            if (now_ms() - p->started_ms < QUICK_DEATH_MS)
                pause_ms(100); /* one that dies at once must not become a fork loop */
            p->pid = 0;
        }
    }
    for (int i = 0; server.processes && i < participant_count; i++)
        if (participants[i].pid <= 0 && !start_child(&participants[i]))
            all_run = false;
    return all_run;
}

/* The end by force: not all have ended in time, or whoever stops us has lost patience. A signal handler. */
static void give_up(int signal)
{
    static const char late[] = "sipd: error: not all have ended in time, they are killed\n";

    if (signal == SIGALRM && write(STDERR_FILENO, late, sizeof late - 1) < 0)
        signal = 0; /* nowhere left to say so */
    for (int i = 0; i < participant_count; i++)
        if (participants[i].pid > 0 && kill(participants[i].pid, SIGKILL) == 0)
            waitpid(participants[i].pid, NULL, 0); /* the ports are free when we are gone */
    _exit(1);
}

static void give_up_on(const int *signals, size_t count)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < count; i++) {
        signal(signals[i], give_up);
        sigaddset(&set, signals[i]);
    }
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void participants_stop(void)
{
    give_up_on((const int[]){SIGALRM, SIGTERM, SIGINT}, 3);
    alarm(server.grace_s); /* a script that sleeps on must not keep us */
    delayed_stop();
    if (server.processes) {
        sipwire_stop(server.instance);
        for (int i = 0; i < participant_count; i++)
            if (participants[i].pid > 0)
                waitpid(participants[i].pid, NULL, 0), participants[i].pid = 0;
    } else {
        for (int i = 0; i < participant_count; i++)
            pthread_join(participants[i].thread, NULL);
        sipwire_stop(server.instance);
    }
    participant_count = 0;
    free(participants);
    free(engines);
}
