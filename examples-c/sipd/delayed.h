/* Answers that are sent later, by a participant of its own: a worker leaves the finished message in shared memory, the
 * timer thread or process sends it when it is due. Called by script.c (put), main.c (run, forget). */
#ifndef SIPD_DELAYED_H
#define SIPD_DELAYED_H
#include <sys/types.h>
#include "send.h"

enum { DELAYED_ENTRIES = 4096 };

bool delayed_create(size_t message_bytes); /* the longest answer */
/* NULL: kept. Else why not, static text. */
const char *delayed_put(uint64_t due_ms, const struct destination *to, struct str message);
void delayed_run(void);          /* the timer participant; returns after delayed_stop */
void delayed_stop(void);         /* from any process */
void delayed_forget(pid_t died); /* what it was writing when it died is free again */
int delayed_stop_fd(void);       /* readable once delayed_stop was called: also ends the UDP receivers */
#endif
