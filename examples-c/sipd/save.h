/* REGISTER (RFC 3261 10.3): from the request to the registrar's table, and its answer. Called by script.c. */
#ifndef SIPD_SAVE_H
#define SIPD_SAVE_H
#include "reply.h"

/* Answers the request: 200 with the contacts, or an error. NULL: saved and said so. Else what was wrong, static text.
 * *answered becomes true when the answer went out. */
const char *save(const struct request *r, struct text *out, bool *answered);
#endif
