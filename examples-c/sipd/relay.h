/* Stateless relaying (RFC 3261 16.11). Called by script_message.c for requests, by receive.c for responses, and by
 * main.c for requests that the library could not deliver. */
#ifndef SIPD_RELAY_H
#define SIPD_RELAY_H
#include "reply.h"

/* NULL: relayed, or answered 400, 420, 482 or 483 by the rules of relaying (RFC 3261 16.3). Else why not, static text,
 * and nothing was answered. `contact`: becomes the Request-URI (16.5), empty to keep it. `out`: scratch. */
const char *relay_request(const struct request *r, const struct destination *to, struct str contact, struct text *out);
/* To where our topmost Via says. Not ours, or nothing below it: dropped. */
void relay_response(const struct sip_message *m, struct text *out);
/* `message` is a request as relay_request gave it to the library: its sender is answered 503. */
void relay_failed(struct str message, const char *reason, struct sip_message *scratch, struct text *out);
#endif
