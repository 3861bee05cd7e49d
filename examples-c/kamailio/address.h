/* Between Kamailio's addresses and the library's. */
#ifndef SIPWIRE_KAMAILIO_ADDRESS_H
#define SIPWIRE_KAMAILIO_ADDRESS_H
#include "module.h"

enum { ADDRESS_TEXT = 64 };

sipwire_addr address_from_ip(const struct ip_addr *ip, unsigned short port);
sipwire_addr address_from_su(const union sockaddr_union *su);
void address_to_ip(const sipwire_addr *addr, struct ip_addr *ip);
void address_to_su(const sipwire_addr *addr, union sockaddr_union *su);
bool address_is_any(const sipwire_addr *addr); /* 0.0.0.0 or [::], whatever the port */
bool address_same_ip(const sipwire_addr *a, const sipwire_addr *b);
bool address_same(const sipwire_addr *a, const sipwire_addr *b);
const char *address_text(const sipwire_addr *addr, char buffer[ADDRESS_TEXT]);
#endif
