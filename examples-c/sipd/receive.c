/* The way of a message that has arrived; see receive.h. */
#include "receive.h"

#include "log.h"
#include "relay.h"
#include "route.h"
#include "script.h"

void receive(struct engine *e, struct str message, const struct source *source)
{
    struct sip_message *m = &e->request.sip;
    char from[ADDRESS_TEXT];
    const char *why;

    e->request.source = *source;
    if (!sip_parse(m, message, &why)) {
        log_info("bad message from %s:%s: %s", transport_name(source->transport), address_text(&source->remote, from),
                 why);
        /* Dropped when nobody is there to answer. Its connection goes on: the library has framed it, what follows on it
         * is whole (RFC 3261 16.3 step 1 asks for an answer only, 16.7 for silence). */
        if (m->is_request && m->via.text.len > 0)
            reply(&e->request, &e->out, 400, str_of(why), STR(""));
        return;
    }
    if (m->is_request) {
        if (reply_is_ack_of_ours(m))
            return;
        route_read(&e->request);
        script_route(e);
    } else {
        relay_response(m, &e->out);
    }
}
