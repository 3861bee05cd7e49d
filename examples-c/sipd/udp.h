/* A UDP receiver: reads every UDP listener and runs the script, as a TCP worker does. Called by main.c in a thread or
 * process of its own. */
#ifndef SIPD_UDP_H
#define SIPD_UDP_H
#include "engine.h"

enum { DATAGRAM_BYTES = 65536 };

void udp_receive(struct engine *e, int stop_fd); /* until stop_fd is readable */
#endif
