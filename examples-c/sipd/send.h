/* Where a message came from and where one goes, and the one way out for both transports. Called by reply.c, relay.c and
 * delayed.c in any worker, receiver or timer; never blocks. */
#ifndef SIPD_SEND_H
#define SIPD_SEND_H
#include "address.h"

struct source {
    enum transport transport;
    uint32_t conn_id;           /* TCP */
    int udp_listener;           /* UDP: see listener_get */
    sipwire_addr remote, local; /* local: the real one, also of a wildcard listener */
};

struct destination {
    enum { TO_NOWHERE, TO_CONN, TO_TCP, TO_UDP } kind;
    uint32_t conn_id;   /* TO_CONN */
    sipwire_addr addr;  /* TO_TCP, TO_UDP */
    int udp_listener;   /* TO_UDP: the socket to send by; -1: any of that family */
    sipwire_addr local; /* and the address to send from; family 0: any of it */
};

/* The cookie of sipwire_send: what on_send_failed has to do. */
enum { COOKIE_NONE, COOKIE_REQUEST, COOKIE_RESPONSE };

/* NULL: sent or queued. Else the reason, static text; *code is then the library's code or 0. */
const char *send_message(const struct destination *to, struct str message, uint64_t cookie, int32_t *code);

bool conn_is_alive(uint32_t conn_id, sipwire_conn_info *info);

/* "tcp:IP:PORT", "udp:IP:PORT", "conn:ID" */
bool destination_parse(const char *text, struct destination *to);
void destination_text(const struct destination *to, char buffer[ADDRESS_TEXT]);
#endif
