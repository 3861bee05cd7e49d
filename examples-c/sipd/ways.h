/* The ways that lookup() and msg.next_hop have told the script of while it is at one request. To the script a way is a
 * text, but not all of it can be said there: the contact that becomes the Request-URI, the socket that a phone
 * registered by. Called by script_message.c and script_globals.c. */
#ifndef SIPD_WAYS_H
#define SIPD_WAYS_H
#include "engine.h"

enum { WAY_TEXT = ADDRESS_TEXT + 12 };

struct way {
    char name[WAY_TEXT];
    struct destination to;
    char contact[CONTACT_BYTES]; /* the new Request-URI (RFC 3261 16.5); empty: it stays */
};

/* The way's name: the text of its destination, and behind it "#2", "#3" ... when another contact has that already, as
 * two over one connection have. The same way again has the same name. NULL: no memory. */
const char *way_name(struct engine *e, const struct destination *to, const char *contact);
const struct way *way_find(const struct engine *e, const char *name); /* NULL: not of this request */
#endif
