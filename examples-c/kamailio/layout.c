/* The load-time test of the structures' layout; see layout.h. The core's structure has what it knows of a listen socket in
 * several members and forms, and once it is bound the kernel knows it too. Where the structure is laid out otherwise than
 * the headers said they cannot all agree, and everything else would be read from wrong places. */
#include "layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "address.h"
#include "listeners.h"

static bool refuse(void)
{
    LM_ERR("this sipwire.so was compiled for another Kamailio than the one that runs (its listen sockets look different): "
           "build it again with `make kamailio` for this one\n");
    return false;
}

/* Pointers last: they are followed only when all before them was right. */
static bool agrees_with_itself(const struct socket_info *si)
{
    return si->proto == PROTO_TCP && si->address.len == (si->address.af == AF_INET ? 4 : si->address.af == AF_INET6 ? 16 : 0) &&
           si->port_no != 0 && si->port_no_str.len > 0 && si->port_no_str.len <= 5 && si->sock_str.len > 0 &&
           atoi(si->port_no_str.s) == si->port_no && strnlen(si->sock_str.s, 256) == (size_t)si->sock_str.len &&
           (si->next == NULL || si->next->prev == si);
}

bool layout_is_known(void)
{
    return tcp_listen == NULL || agrees_with_itself(tcp_listen) || refuse();
}

bool layout_is_bound(void)
{
    struct socket_info *si;

    for (int32_t i = 0; (si = listener_socket(i)) != NULL; i++) {
        union sockaddr_union bound;
        socklen_t length = sizeof bound;
        sipwire_addr kernel, su = address_from_su(&si->su), members = address_from_ip(&si->address, si->port_no);
        if (getsockname(si->socket, &bound.s, &length) != 0)
            return refuse();
        kernel = address_from_su(&bound);
        if (!address_same(&kernel, &su) || !address_same(&kernel, &members))
            return refuse();
    }
    return true;
}
