/* Are the core's structures what this module was compiled for? The core compares version and flags only. */
#ifndef SIPWIRE_KAMAILIO_LAYOUT_H
#define SIPWIRE_KAMAILIO_LAYOUT_H
#include <stdbool.h>

/* False: they are not, and the log says so. */
bool layout_is_known(void); /* mod_init, before anything else is read */
bool layout_is_bound(void); /* PROC_INIT: the core has bound its TCP sockets */
#endif
