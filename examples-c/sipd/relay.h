/* Stateless relaying (RFC 3261 16.11). Called by script.c for requests, by receive.c for responses, and by main.c for
 * requests that the library could not deliver. */
#ifndef SIPD_RELAY_H
#define SIPD_RELAY_H
#include "reply.h"

/* NULL: relayed, or answered 483 or 482 by the rules of relaying. Else why not, static text, and nothing was answered.
 * `ruri`: the new Request-URI, empty to keep the old one. `out`: scratch. */
const char *relay_request(const struct request *r, const struct destination *to, struct str ruri, struct text *out);
/* To where our topmost Via says. Not ours, or nothing below it: dropped. */
void relay_response(const struct sip_message *m, struct text *out);
/* `message` is a request as relay_request gave it to the library: its sender is answered 503. */
void relay_failed(struct str message, const char *reason, struct sip_message *scratch, struct text *out);
#endif
