/* Between Kamailio's addresses and the library's; see address.h. */
#include "address.h"

#include <arpa/inet.h>
#include <string.h>

static size_t ip_length(const sipwire_addr *addr)
{
    return addr->family == 4 ? 4 : addr->family == 6 ? 16 : 0;
}

sipwire_addr address_from_ip(const struct ip_addr *ip, unsigned short port)
{
    sipwire_addr addr = {.family = ip->af == AF_INET ? 4 : ip->af == AF_INET6 ? 6 : 0, .port = port};

    memcpy(addr.ip, ip->u.addr, ip_length(&addr));
    return addr;
}

sipwire_addr address_from_su(const union sockaddr_union *su)
{
    sipwire_addr addr = {0};

    if (su->s.sa_family == AF_INET) {
        addr = (sipwire_addr){.family = 4, .port = ntohs(su->sin.sin_port)};
        memcpy(addr.ip, &su->sin.sin_addr, 4);
    } else if (su->s.sa_family == AF_INET6) {
        addr = (sipwire_addr){.family = 6, .port = ntohs(su->sin6.sin6_port), .scope_id = su->sin6.sin6_scope_id};
        memcpy(addr.ip, &su->sin6.sin6_addr, 16);
    }
    return addr;
}

void address_to_ip(const sipwire_addr *addr, struct ip_addr *ip)
{
    memset(ip, 0, sizeof *ip);
    ip->af = addr->family == 6 ? AF_INET6 : AF_INET;
    ip->len = addr->family == 6 ? 16 : 4;
    memcpy(ip->u.addr, addr->ip, ip->len);
}

void address_to_su(const sipwire_addr *addr, union sockaddr_union *su)
{
    memset(su, 0, sizeof *su);
    if (addr->family == 6) {
        su->sin6.sin6_family = AF_INET6;
        su->sin6.sin6_port = htons(addr->port);
        su->sin6.sin6_scope_id = addr->scope_id;
        memcpy(&su->sin6.sin6_addr, addr->ip, 16);
    } else {
        su->sin.sin_family = AF_INET;
        su->sin.sin_port = htons(addr->port);
        memcpy(&su->sin.sin_addr, addr->ip, 4);
    }
}

bool address_is_any(const sipwire_addr *addr)
{
    static const uint8_t any[16];

    return memcmp(addr->ip, any, ip_length(addr)) == 0;
}

bool address_same_ip(const sipwire_addr *a, const sipwire_addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, ip_length(a)) == 0;
}

bool address_same(const sipwire_addr *a, const sipwire_addr *b)
{
    return a->port == b->port && address_same_ip(a, b);
}

const char *address_text(const sipwire_addr *addr, char buffer[ADDRESS_TEXT])
{
    sipwire_addr_format(addr, buffer, ADDRESS_TEXT);
    return buffer;
}
