/* The load-time test of the structures' layout; see layout.h. A TCP socket that the core has bound is known twice: the
 * kernel says what the descriptor is bound to, and the core's structure has it in several members. Where the structure is
 * laid out otherwise than the headers said, they cannot agree, and everything else would be read from wrong places. */
#include "layout.h"

#include <stddef.h>
#include <sys/socket.h>

#include "address.h"
#include "listeners.h"

static bool agrees(const struct socket_info *si)
{
    union sockaddr_union bound;
    socklen_t length = sizeof bound;
    sipwire_addr kernel, members, su;

    if (si->proto != PROTO_TCP || si->socket < 0 || getsockname(si->socket, &bound.s, &length) != 0)
        return false;
    kernel = address_from_su(&bound);
    members = address_from_ip(&si->address, si->port_no);
    su = address_from_su(&si->su);
    return address_same(&kernel, &members) && address_same(&kernel, &su) && si->sock_str.s != NULL &&
           strnlen(si->sock_str.s, 256) == (size_t)si->sock_str.len && (si->next == NULL || si->next->prev == si);
}

bool layout_is_known(void)
{
    for (int32_t i = 0; i < listeners_count(); i++)
        if (!agrees(listener_socket(i))) {
            LM_ERR("this sipwire.so was compiled for another Kamailio than the one that runs (its listen sockets look "
                   "different): build it again with `make kamailio` for this one\n");
            return false;
        }
    return true;
}
