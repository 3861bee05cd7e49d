/* The participants of a running sipd: supervisor, TCP workers, UDP receivers, timer; as threads of this process or as
 * children, each replaced when it dies. Called by main.c. */
#ifndef SIPD_PARTICIPANTS_H
#define SIPD_PARTICIPANTS_H
#include <stdbool.h>
#include <sipwire.h>
#include "engine.h"

bool participants_start(void);
/* Reports and replaces dead children. False: one could not be started, call it again in a while. */
bool participants_reap(void);
/* Ends them all. What does not end within server.grace_s, or at another SIGTERM or SIGINT, is killed: then this process
 * ends here, with exit code 1. */
void participants_stop(void);

/* The engine of the TCP worker that runs in this thread or process; NULL: none. */
struct engine *participants_engine(int32_t worker);
/* The library's callbacks around a worker's life. */
void participants_on_worker_start(void *user, sipwire_instance *instance, int32_t worker);
void participants_on_worker_stop(void *user, sipwire_instance *instance, int32_t worker);
#endif
