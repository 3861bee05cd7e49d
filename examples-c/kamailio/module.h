/* The module as a whole; each part has a header of its own. What is here is set in the main process before the first fork
 * and only read afterwards: each of Kamailio's processes has its own copy. */
#ifndef SIPWIRE_KAMAILIO_MODULE_H
#define SIPWIRE_KAMAILIO_MODULE_H
#include "core.h"
#include <sipwire.h>

/* NULL until the core has bound its sockets. */
extern sipwire_instance *instance;

/* Calls of the library that only a process that takes part may make. Most of Kamailio's processes never make one, so a
 * process attaches when the first one is refused. */
#define TAKING_PART(result, call)                                                     \
    do {                                                                              \
        (result) = (call);                                                            \
        if ((result) == SIPWIRE_E_NOT_ATTACHED && sipwire_attach(instance) >= 0)      \
            (result) = (call);                                                        \
    } while (0)
#endif
