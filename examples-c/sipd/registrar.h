/* Who is registered where, in memory that all workers share. An address of record is known by its user part alone:
 * one sipd, one domain. Called by save.c (REGISTER), script.c (lookup), route.c (contacts in dialogs), delayed.c
 * (sweep). */
#ifndef SIPD_REGISTRAR_H
#define SIPD_REGISTRAR_H
#include "send.h"

enum { REGISTRAR_BINDINGS = 16384, REGISTRAR_CONTACTS = 8, USER_BYTES = 96, CONTACT_BYTES = 384, PARAMS_BYTES = 384 };

/* One contact of one user, with the way to it. */
struct binding {
    char user[USER_BYTES], contact[CONTACT_BYTES]; /* contact: its URI */
    char params[PARAMS_BYTES];                     /* its parameters as they came, ";q=0.5;...", without expires */
    unsigned q;                                    /* thousandths */
    uint64_t expires_ms;                           /* when, by now_ms; 0 in a change: remove it */
    uint64_t call_id;                              /* hash of the Call-ID that registered it last, */
    unsigned long cseq;                            /* and its CSeq */
    struct destination to; /* TO_CONN: `addr` is its own address, for when the connection is gone */
    bool contact_udp;      /* that address is to be reached by UDP */
};

enum registrar_result { REGISTRAR_OK, REGISTRAR_OUT_OF_ORDER, REGISTRAR_TOO_MANY, REGISTRAR_FULL };

bool registrar_create(void);
/* All changes or none; no contact twice. remove_all: every contact of `user`, asked for by the only change given (for
 * its Call-ID and CSeq). A user has at most REGISTRAR_CONTACTS: a new one then takes the place of one whose connection
 * is gone, else of one that the same phone has left, so that its own past never locks a phone out. */
enum registrar_result registrar_update(const struct binding *changes, size_t count, bool remove_all);
/* The bindings of `user` that have not expired: the highest q first (RFC 3261 10.2.1.2), of equal ones the newest
 * contact, whichever was refreshed last. */
size_t registrar_list(struct str user, struct binding out[REGISTRAR_CONTACTS]);
/* The same, as ways to go: those over a living connection, then those that have an address to dial. */
size_t registrar_lookup(struct str user, struct binding out[REGISTRAR_CONTACTS]);
/* The way to whoever registered exactly this contact URI last. */
bool registrar_find_contact(struct str uri, struct destination *to);
void registrar_sweep(void); /* frees what has expired, a part at each call */
#endif
