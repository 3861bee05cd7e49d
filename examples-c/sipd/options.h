/* The command line. Called by main.c, once. */
#ifndef SIPD_OPTIONS_H
#define SIPD_OPTIONS_H
#include <sipwire.h>

/* Fills `server`, the config and the UDP listeners. -1: go on; else end with this exit code, all has been said. */
int options_read(int argc, char **argv, sipwire_config *config);
#endif
