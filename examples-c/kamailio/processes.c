/* Forking the participants; see processes.h. Kamailio ends when any of its children does, so none is ever replaced. */
#include "processes.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "module.h"
#include "settings.h"

/* After this a script that does not return no longer keeps us. */
enum { GRACE_S = 5 };

static atomic_bool *ending; /* of all processes */
static sr_corecb_void_f others_shutdown;

bool processes_are_ending(void)
{
    return atomic_load(ending);
}

/* The core's main process, before it kills its children: connections get their FIN and not a reset. */
static void on_shutdown(void)
{
    atomic_store(ending, true);
    sipwire_stop(instance);
    if (others_shutdown != NULL)
        others_shutdown();
}

bool processes_ask_for(int workers)
{
    sr_corecb_t *core = sr_corecb_get();

    ending = shm_malloc(sizeof *ending);
    if (ending == NULL) {
        LM_ERR("no shared memory\n");
        return false;
    }
    atomic_init(ending, false);
    others_shutdown = core->app_shutdown;
    core->app_shutdown = on_shutdown;
    register_fds(16); /* that every process has more than the core counts */
    cfg_register_child(workers); /* the supervisor does not follow the core's settings */
    if (register_procs(1 + workers) < 0) {
        LM_ERR("the core has no place for %d more processes\n", 1 + workers);
        return false;
    }
    return true;
}

static void on_signal(int signo)
{
    if (signo == SIGALRM)
        _exit(0);
    atomic_store(ending, true);
    sipwire_stop(instance);
    alarm(GRACE_S);
}

/* The core's handler ends a child at once, with what it has in hand. */
static void follow_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a main process that was killed ends nobody: no orphan keeps the ports */
    if (getppid() != pt[0].pid)
        raise(SIGTERM);
}

static _Noreturn void end(int32_t result)
{
    if (result < 0 && !(result == SIPWIRE_E_SUPERVISOR_GONE && processes_are_ending())) {
        LM_CRIT("%s\n", sipwire_strerror(result));
        _exit(1);
    }
    sipwire_free(instance); /* this process's part */
    _exit(0);
}

static bool start_supervisor(void)
{
    int pid = fork_process(PROC_NOCHLDINIT, "sipwire supervisor", 0);

    if (pid == 0) {
        follow_signals();
        end(sipwire_run_supervisor(instance));
    }
    return pid > 0;
}

static bool start_worker(int32_t number)
{
    char name[MAX_PT_DESC];
    int pid;

    snprintf(name, sizeof name, "sipwire worker child=%d", (int)number);
    /* With the core's channel: a script that relays to TLS sends by the core. */
    pid = fork_process(PROC_XWORKER, name, 1);
    if (pid == 0) {
        if (cfg_child_init() != 0)
            end(SIPWIRE_E_NO_MEMORY); /* the core has said more */
        follow_signals();
        end(sipwire_run_worker(instance, number));
    }
    return pid > 0;
}

bool processes_start(void)
{
    bool started = start_supervisor();

    for (int32_t i = 0; started && i < settings_workers(); i++)
        started = start_worker(i);
    if (!started)
        LM_ERR("cannot fork the processes of sipwire\n");
    return started;
}
