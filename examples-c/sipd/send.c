/* Sending over TCP by the library and over UDP by our own sockets; see send.h. */
#include "send.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datagram.h"
#include "listeners.h"
#include "server.h"

static const char *send_udp(const struct destination *to, struct str message)
{
    int index = to->udp_listener >= 0 ? to->udp_listener : listener_first(TRANSPORT_UDP, &to->addr);
    const struct listener *listener = listener_get(index);

    if (listener == NULL || listener->fd < 0)
        return "no UDP listener";
    if (datagram_send(listener->fd, message, &to->addr, &to->local) < 0)
        return strerror(errno); /* EAGAIN too: UDP may lose a datagram, the sender repeats it */
    return NULL;
}

const char *send_message(const struct destination *to, struct str message, uint64_t cookie, int32_t *code)
{
    sipwire_target target = {.struct_size = sizeof target};
    sipwire_iov iov = {message.s, message.len};

    *code = 0;
    switch (to->kind) {
    case TO_UDP:
        return send_udp(to, message);
    case TO_CONN:
        target.conn_id = to->conn_id;
        target.flags = SIPWIRE_SEND_NO_CONNECT;
        break;
    case TO_TCP:
        target.remote = to->addr;
        break;
    default:
        return "no destination";
    }
    *code = sipwire_send(server.instance, &target, &iov, 1, cookie);
    return *code < 0 ? sipwire_strerror(*code) : NULL;
}

bool conn_is_alive(uint32_t conn_id, sipwire_conn_info *info)
{
    *info = (sipwire_conn_info){.struct_size = sizeof *info};
    return server.instance != NULL && sipwire_conn_info_get(server.instance, conn_id, info) >= 0 &&
           (info->flags & SIPWIRE_CONN_CLOSING) == 0;
}

bool destination_parse(const char *text, struct destination *to)
{
    unsigned long id;

    *to = (struct destination){.kind = TO_NOWHERE, .udp_listener = -1};
    if (strncmp(text, "conn:", 5) == 0) {
        if (!str_number(str_of(text + 5), UINT32_MAX, &id) || id == 0)
            return false;
        to->kind = TO_CONN;
        to->conn_id = (uint32_t)id;
        return true;
    }
    if (strncmp(text, "tcp:", 4) != 0 && strncmp(text, "udp:", 4) != 0)
        return false;
    to->kind = text[0] == 't' ? TO_TCP : TO_UDP;
    return sipwire_addr_parse(text + 4, &to->addr) >= 0 && to->addr.port != 0;
}

void destination_text(const struct destination *to, char buffer[ADDRESS_TEXT])
{
    char address[ADDRESS_TEXT];

    if (to->kind == TO_CONN)
        snprintf(buffer, ADDRESS_TEXT, "conn:%u", to->conn_id);
    else
        snprintf(buffer, ADDRESS_TEXT, "%s:%.70s", to->kind == TO_TCP ? "tcp" : "udp",
                 address_text(&to->addr, address));
}
