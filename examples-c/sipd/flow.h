/* A flow: the way to one peer, a connection or of UDP a socket of ours and both addresses, in a form that fits into a
 * Via or a Record-Route and that nobody else can make. RFC 3261 16.11 lets a stateless proxy find its way back only by what
 * it wrote into the message; RFC 5626 5.2 asks that such a token cannot be forged. A destination of another kind is
 * written as not known and read as TO_NOWHERE. Called by relay.c and route.c. */
#ifndef SIPD_FLOW_H
#define SIPD_FLOW_H
#include "send.h"

enum { FLOW_TEXT = 256 };

/* The value of the parameter `sw` in our Via: the way back to who sent the request, bound to the branch. */
void flow_write_via(const struct destination *back, struct str branch, char buffer[FLOW_TEXT]);
bool flow_read_via(struct str value, struct str branch, struct destination *back);

/* The user part of our Record-Route URI: the ways to both ends of the dialog's first request, bound to the From tag of
 * who sent it. That tag tells later which way a request of the dialog goes: in its From or in its To. */
void flow_write_route(const struct destination *source, const struct destination *target, struct str tag,
                      char buffer[FLOW_TEXT]);
bool flow_read_route(struct str user, struct str tag, struct destination *source, struct destination *target);
bool flow_is_route(struct str user); /* has the form of one of ours, perhaps of before a restart */
#endif
