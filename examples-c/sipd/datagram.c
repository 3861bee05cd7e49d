/* Datagrams with both addresses (ip(7), ipv6(7): packet information); see datagram.h. */
#include "datagram.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/uio.h>

/* Room for the packet information of either family, aligned for its header. */
union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

bool datagram_ask_local(int fd, int family)
{
    int on = 1;

    if (family == 6)
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0;
    return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0;
}

static void read_local(struct msghdr *message, sipwire_addr *local)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(local->ip, &info.ipi_spec_dst, 4); /* not ipi_addr: one cannot send from a broadcast address */
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(local->ip, &info.ipi6_addr, 16);
            local->scope_id = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
        }
    }
}

ssize_t datagram_receive(int fd, char *buffer, size_t size, sipwire_addr *remote, sipwire_addr *local)
{
    struct sockaddr_storage from = {0};
    struct iovec piece = {buffer, size};
    union control control;
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);

    if (length >= 0) {
        address_from_socket(&from, remote);
        read_local(&message, local);
    }
    return length;
}

static void write_local(struct msghdr *message, const sipwire_addr *local)
{
    struct cmsghdr *c = message->msg_control;

    if (local->family == 6) {
        struct in6_pktinfo info = {.ipi6_ifindex = local->scope_id};
        memcpy(&info.ipi6_addr, local->ip, 16);
        c->cmsg_level = IPPROTO_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        message->msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->ip, 4);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        message->msg_controllen = CMSG_SPACE(sizeof info);
    }
}

ssize_t datagram_send(int fd, struct str data, const sipwire_addr *remote, const sipwire_addr *local)
{
    struct sockaddr_storage to;
    struct iovec piece = {(char *)data.s, data.len};
    union control control = {0};
    struct msghdr message = {
        .msg_name = &to, .msg_namelen = address_to_socket(remote, &to), .msg_iov = &piece, .msg_iovlen = 1};

    if (local->family == remote->family) {
        message.msg_control = &control;
        write_local(&message, local);
    }
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}
