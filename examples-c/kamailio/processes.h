/* The supervisor's and the workers' processes. */
#ifndef SIPWIRE_KAMAILIO_PROCESSES_H
#define SIPWIRE_KAMAILIO_PROCESSES_H
#include <stdbool.h>

bool processes_ask_for(int workers); /* mod_init: tells the core how many will come */
bool processes_start(void);          /* PROC_MAIN: forks them; they never return from it */

/* This process was told to end: what it is still told is not worth running the script for. Others were told as well and
 * may have ended with a lock that the script would wait for. */
bool process_is_ending(void);
#endif
