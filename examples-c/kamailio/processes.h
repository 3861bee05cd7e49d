/* The supervisor's and the workers' processes. */
#ifndef SIPWIRE_KAMAILIO_PROCESSES_H
#define SIPWIRE_KAMAILIO_PROCESSES_H
#include <stdbool.h>

bool processes_ask_for(int workers); /* mod_init: tells the core how many will come */
bool processes_start(void);          /* PROC_MAIN: forks them; they never return from it */

/* Kamailio ends: what a worker is still told is not worth running the script for. Other processes are killed meanwhile,
 * some of them with a lock that the script would wait for. */
bool processes_are_ending(void);
#endif
