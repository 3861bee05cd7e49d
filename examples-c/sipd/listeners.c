/* Where sipd listens; see listeners.h. */
#include "listeners.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "datagram.h"

enum { MAX_LOCAL = 128, RECEIVE_BUFFER_BYTES = 1 << 20 };

static struct listener listeners[MAX_LISTENERS];
static int listener_count;
/* This machine's addresses when we started: what a wildcard listener answers to. */
static sipwire_addr local[MAX_LOCAL];
static int local_count;

static void learn_local(void)
{
    struct ifaddrs *all, *one;

    if (local_count > 0 || getifaddrs(&all) != 0)
        return;
    for (one = all; one != NULL && local_count < MAX_LOCAL; one = one->ifa_next) {
        struct sockaddr_storage s = {0};
        int family = one->ifa_addr == NULL ? 0 : one->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6)
            continue;
        memcpy(&s, one->ifa_addr, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        address_from_socket(&s, &local[local_count++]);
    }
    freeifaddrs(all);
}

static bool add(enum transport transport, const sipwire_addr *addr, int fd)
{
    if (listener_count == MAX_LISTENERS)
        return false;
    listeners[listener_count++] = (struct listener){transport, *addr, fd};
    if (address_is_any(addr))
        learn_local();
    return true;
}

bool listeners_add_udp(const char *address, char *error, size_t size)
{
    struct sockaddr_storage s;
    sipwire_addr addr;
    socklen_t length;
    int fd, on = 1, bytes = RECEIVE_BUFFER_BYTES;

    if (sipwire_addr_parse(address, &addr) < 0) {
        snprintf(error, size, "%s: not an address, should be like udp:127.0.0.1:5060", address);
        return false;
    }
    length = address_to_socket(&addr, &s);
    fd = socket(s.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        if (addr.family == 6) /* else it would take the IPv4 listener's port */
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes); /* a burst while the script sleeps */
    }
    if (fd < 0 || (address_is_any(&addr) && !datagram_ask_local(fd, addr.family)) ||
        bind(fd, (struct sockaddr *)&s, length) != 0 ||
        (length = sizeof s, getsockname(fd, (struct sockaddr *)&s, &length)) != 0) {
        snprintf(error, size, "cannot listen on %s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    address_from_socket(&s, &addr);
    if (!add(TRANSPORT_UDP, &addr, fd)) {
        snprintf(error, size, "more than %d listeners", MAX_LISTENERS);
        close(fd);
        return false;
    }
    return true;
}

bool listeners_add_tcp(sipwire_instance *instance)
{
    sipwire_addr addr;

    for (int i = 0; i < sipwire_listener_count(instance); i++)
        if (sipwire_listener_addr(instance, i, &addr) < 0 || !add(TRANSPORT_TCP, &addr, -1))
            return false;
    return true;
}

const struct listener *listener_get(int index)
{
    return index >= 0 && index < listener_count ? &listeners[index] : NULL;
}

int listener_first(enum transport transport, const sipwire_addr *like)
{
    for (int i = 0; i < listener_count; i++)
        if (listeners[i].transport == transport && listeners[i].addr.family == like->family)
            return i;
    return -1;
}

void listeners_close(void)
{
    for (int i = 0; i < listener_count; i++)
        if (listeners[i].fd >= 0)
            close(listeners[i].fd);
    listener_count = 0;
}

bool listeners_own(struct str host, int port)
{
    sipwire_addr addr;

    if (!address_of_host(host, port, &addr))
        return false;
    for (int i = 0; i < listener_count; i++) {
        const sipwire_addr *ours = &listeners[i].addr;
        if (ours->port != addr.port || ours->family != addr.family)
            continue;
        if (address_same_ip(ours, &addr))
            return true;
        for (int k = 0; address_is_any(ours) && k < local_count; k++)
            if (address_same_ip(&local[k], &addr))
                return true;
    }
    return false;
}

/* The address that the kernel would send from: connecting a datagram socket asks the routing table and sends nothing. */
static bool route_source(const sipwire_addr *remote, sipwire_addr *out)
{
    struct sockaddr_storage s;
    socklen_t length = address_to_socket(remote, &s);
    int fd = socket(s.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool known = fd >= 0 && connect(fd, (struct sockaddr *)&s, length) == 0 &&
                 (length = sizeof s, getsockname(fd, (struct sockaddr *)&s, &length)) == 0;

    if (fd >= 0)
        close(fd);
    if (known)
        address_from_socket(&s, out);
    return known;
}

bool listeners_sent_by(enum transport transport, const sipwire_addr *remote, const sipwire_addr *at, sipwire_addr *out)
{
    const struct listener *best = NULL;
    int score, best_score = -1;
    sipwire_addr source;

    for (int i = 0; i < listener_count; i++) {
        const struct listener *l = &listeners[i];
        score = (l->transport == transport ? 8 : 0) + (l->addr.family == remote->family ? 4 : 0) +
                (address_same_ip(&l->addr, at) ? 2 : 0) + (l->addr.port == at->port ? 1 : 0);
        if (score > best_score) {
            best_score = score;
            best = l;
        }
    }
    if (best == NULL)
        return false;
    *out = best->addr;
    if (address_is_any(out)) {
        if (at->family == out->family && !address_is_any(at))
            source = *at;
        else if (!route_source(remote, &source) || source.family != out->family)
            return true; /* a peer that cannot be reached will not read it */
        memcpy(out->ip, source.ip, sizeof out->ip);
    }
    return true;
}
