/* Where sipd listens: the library's TCP listeners, known by address, and UDP sockets of our own, shared by all
 * receivers. Filled by main.c before any thread or child exists; afterwards only read, by everyone. */
#ifndef SIPD_LISTENERS_H
#define SIPD_LISTENERS_H
#include "address.h"

enum { MAX_LISTENERS = 64 };

struct listener {
    enum transport transport;
    sipwire_addr addr; /* the real port, also when 0 was asked for */
    int fd;            /* UDP only; -1: the library has it */
};

/* "udp:ADDR:PORT". False: `error` says why, in one line. */
bool listeners_add_udp(const char *address, char *error, size_t size);
bool listeners_add_tcp(sipwire_instance *instance);
const struct listener *listener_get(int index); /* NULL: no such */
int listener_first(enum transport transport, const sipwire_addr *like); /* of like's family; -1: none */
void listeners_close(void);

/* Does host:port name one of our listeners? A name never does: sipd asks no DNS. */
bool listeners_own(struct str host, int port);
/* What our Via and Record-Route say when we send to `remote`: a listener of that transport, with an address that the
 * peer can use. `at`: our end of the connection, or the address that a datagram leaves from; family 0: not known. */
bool listeners_sent_by(enum transport transport, const sipwire_addr *remote, const sipwire_addr *at, sipwire_addr *out);
#endif
