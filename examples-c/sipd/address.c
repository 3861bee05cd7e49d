/* Addresses in the forms of the library, of SIP and of the kernel; see address.h. */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "sip.h"

const char *transport_name(enum transport transport)
{
    return transport == TRANSPORT_TCP ? "tcp" : "udp";
}

bool address_of_host(struct str host, int port, sipwire_addr *out)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr six;

    if (host.len >= 2 && host.s[0] == '[' && host.s[host.len - 1] == ']')
        host = (struct str){host.s + 1, host.len - 2};
    if (host.len == 0 || host.len >= sizeof text || memchr(host.s, '\0', host.len) != NULL)
        return false;
    memcpy(text, host.s, host.len);
    text[host.len] = '\0';
    memset(out, 0, sizeof *out);
    out->port = (uint16_t)(port == 0 ? SIP_DEFAULT_PORT : port);
    if (inet_pton(AF_INET, text, out->ip) == 1) {
        out->family = 4;
    } else if (inet_pton(AF_INET6, text, &six) == 1) {
        out->family = IN6_IS_ADDR_V4MAPPED(&six) ? 4 : 6; /* the library's rule: one form for one address */
        if (out->family == 4)
            memcpy(out->ip, six.s6_addr + 12, 4);
        else
            memcpy(out->ip, six.s6_addr, 16);
    }
    return out->family != 0;
}

bool address_same_ip(const sipwire_addr *a, const sipwire_addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

bool address_equal(const sipwire_addr *a, const sipwire_addr *b)
{
    return a->port == b->port && address_same_ip(a, b);
}

bool address_is_any(const sipwire_addr *a)
{
    static const uint8_t zero[16];

    return memcmp(a->ip, zero, a->family == 4 ? 4 : 16) == 0;
}

const char *address_ip(const sipwire_addr *a, bool brackets, char buffer[ADDRESS_TEXT])
{
    char text[INET6_ADDRSTRLEN] = "";

    inet_ntop(a->family == 6 ? AF_INET6 : AF_INET, a->ip, text, sizeof text);
    snprintf(buffer, ADDRESS_TEXT, a->family == 6 && brackets ? "[%s]" : "%s", text);
    return buffer;
}

const char *address_text(const sipwire_addr *a, char buffer[ADDRESS_TEXT])
{
    char ip[ADDRESS_TEXT];

    snprintf(buffer, ADDRESS_TEXT, "%.60s:%u", address_ip(a, true, ip), a->port);
    return buffer;
}

socklen_t address_to_socket(const sipwire_addr *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (a->family == 6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(a->port);
        six->sin6_scope_id = a->scope_id;
        memcpy(&six->sin6_addr, a->ip, 16);
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    four->sin_family = AF_INET;
    four->sin_port = htons(a->port);
    memcpy(&four->sin_addr, a->ip, 4);
    return sizeof *four;
}

void address_from_socket(const struct sockaddr_storage *from, sipwire_addr *out)
{
    memset(out, 0, sizeof *out);
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
        out->family = 6;
        out->port = ntohs(six->sin6_port);
        out->scope_id = six->sin6_scope_id;
        memcpy(out->ip, &six->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)from;
        out->family = 4;
        out->port = ntohs(four->sin_port);
        memcpy(out->ip, &four->sin_addr, 4);
    }
}
