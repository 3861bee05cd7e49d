/* Addresses of the library's form, against SIP's texts and the kernel's sockaddr. Called by listeners.c, udp.c, reply.c,
 * relay.c, registrar.c, script.c. */
#ifndef SIPD_ADDRESS_H
#define SIPD_ADDRESS_H
#include <sys/socket.h>
#include <sipwire.h>
#include "text.h"

enum transport { TRANSPORT_UDP, TRANSPORT_TCP };

const char *transport_name(enum transport transport); /* "udp", "tcp" */

enum { ADDRESS_TEXT = 80 }; /* room for any text below */
/* An IP literal, brackets allowed; false: a name or nonsense. Port 0 becomes 5060. */
bool address_of_host(struct str host, int port, sipwire_addr *out);
bool address_same_ip(const sipwire_addr *a, const sipwire_addr *b);
bool address_equal(const sipwire_addr *a, const sipwire_addr *b);
bool address_is_any(const sipwire_addr *a);
const char *address_ip(const sipwire_addr *a, bool brackets, char buffer[ADDRESS_TEXT]); /* brackets: around IPv6 */
const char *address_text(const sipwire_addr *a, char buffer[ADDRESS_TEXT]);              /* ip:port */

socklen_t address_to_socket(const sipwire_addr *a, struct sockaddr_storage *out);
void address_from_socket(const struct sockaddr_storage *from, sipwire_addr *out);
#endif
