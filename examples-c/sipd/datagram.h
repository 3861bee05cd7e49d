/* One UDP datagram with both of its addresses. A socket bound to the wildcard address has to ask for the one that a
 * client sent to, and has to say it in the answer: a client that gets it from another address does not take it (RFC
 * 3581 4). Called by listeners.c, udp.c and send.c. */
#ifndef SIPD_DATAGRAM_H
#define SIPD_DATAGRAM_H
#include <sys/types.h>
#include "address.h"

bool datagram_ask_local(int fd, int family); /* 4 or 6; once, for a socket bound to the wildcard address */
/* As recv(2), never blocking; *local is touched when the kernel names the address. */
ssize_t datagram_receive(int fd, char *buffer, size_t size, sipwire_addr *remote, sipwire_addr *local);
/* As send(2), never blocking; local of family 0: the kernel chooses. */
ssize_t datagram_send(int fd, struct str data, const sipwire_addr *remote, const sipwire_addr *local);
#endif
