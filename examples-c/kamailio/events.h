/* event_route[sipwire:closed] and event_route[sipwire:failed], in a worker, with a made-up request that has the
 * connection's addresses. */
#ifndef SIPWIRE_KAMAILIO_EVENTS_H
#define SIPWIRE_KAMAILIO_EVENTS_H
#include "module.h"

extern char *events_callback; /* modparam "event_callback": the function of a KEMI script that stands for the routes */

void events_callbacks(sipwire_callbacks *callbacks); /* asks for what the configuration has a route for */
void events_failed(const sipwire_failure *failure, const receive_info_t *info);

/* Of the event whose route runs in this process. */
struct event {
    uint32_t conn_id;
    int32_t reason, error;
    const char *message; /* sipwire:failed: what was not sent, NUL-terminated */
    size_t length;
};
const struct event *events_current(void); /* NULL: none */
#endif
