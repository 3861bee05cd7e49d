/* Loose routing (RFC 3261 16.4, 16.6): our own Route entries, our Record-Route, and where a request that carries its
 * own way goes. Called by relay.c and script.c. */
#ifndef SIPD_ROUTE_H
#define SIPD_ROUTE_H
#include "reply.h"

/* How many of the topmost Route entries are ours; *next: the URI of the one after them, empty when there is none. */
int route_own_count(const struct sip_message *m, struct str *next);
/* All Route lines without the first `skip` entries. */
void route_write(struct text *out, const struct sip_message *m, int skip);
/* Our Record-Route, two when the request leaves by another transport than it came by (RFC 5658). */
void route_record(struct text *out, const struct request *r, const struct destination *to, const sipwire_addr *sent_by);

/* Where the request says it goes: its next Route; with our Route the other end of its dialog; a registered contact; with
 * our Route the address in its Request-URI when that is not ours. False: it says nothing, the script has to decide. */
bool route_next_hop(const struct request *r, struct destination *to);
#endif
