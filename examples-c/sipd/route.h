/* Routing by what a request carries (RFC 3261 16.4, 16.6): Route headers, ours and others', strict routers before and
 * behind us, and our Record-Route. Called by receive.c, relay.c and script_message.c. */
#ifndef SIPD_ROUTE_H
#define SIPD_ROUTE_H
#include "request.h"

/* Fills r->route. A strict router before us has put our Record-Route into the Request-URI and what stood there at the
 * end of the Routes: r->sip.ruri is what stood there. */
void route_read(struct request *r);

/* Where a request says that it goes: to its next Route; with our Record-Route to the other end of its dialog or to a
 * registered contact; with our Route to the address in its Request-URI, when that is not ours. */
enum next_hop {
    NEXT_HOP_UNSAID, /* the script has to decide */
    NEXT_HOP_KNOWN,
    NEXT_HOP_UNREACHABLE, /* it says where, and we cannot go there: a name (sipd asks no DNS), sips, other transports */
};
enum next_hop route_next_hop(const struct request *r, struct destination *to);
/* The URI that says so. */
struct str route_next_uri(const struct request *r);

/* The Request-URI that goes out with `target` as the URI of who is meant: a strict router finds its own there. */
struct str route_request_uri(const struct request *r, struct str target);
/* The Routes that go out: none of ours, and for a strict router `target` behind the others. */
void route_write(struct text *out, const struct request *r, struct str target);
/* Our Record-Route; two when the request leaves by another transport, address or port than it came to (RFC 5658), so
 * that each end of the dialog has one that it can reach. */
void route_record(struct text *out, const struct request *r, const struct destination *to, const sipwire_addr *sent_by);
#endif
