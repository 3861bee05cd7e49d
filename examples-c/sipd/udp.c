/* A UDP receiver; see udp.h. All receivers share the sockets: whoever is free takes the next datagram. */
#include "udp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "datagram.h"
#include "listeners.h"
#include "log.h"
#include "receive.h"
#include "server.h"

enum { TURN = 64, REFRESH_MS = 1000 };

static bool is_keepalive(const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (data[i] != '\r' && data[i] != '\n' && data[i] != '\0')
            return false;
    return true;
}

static void read_socket(struct engine *e, int index, char *buffer)
{
    const struct listener *listener = listener_get(index);
    struct source source = {.transport = TRANSPORT_UDP, .udp_listener = index, .local = listener->addr};

    for (int n = 0; n < TURN; n++) { /* bounded: the other sockets have their turn */
        ssize_t length = datagram_receive(listener->fd, buffer, DATAGRAM_BYTES, &source.remote, &source.local);
        if (length < 0) {
            if (errno != EAGAIN && errno != EINTR)
                log_warning("UDP receive: %s", strerror(errno));
            return;
        }
        if (is_keepalive(buffer, (size_t)length))
            continue;
        receive(e, (struct str){buffer, (size_t)length}, &source);
    }
}

void udp_receive(struct engine *e, int stop_fd)
{
    struct pollfd fds[MAX_LISTENERS + 1] = {{stop_fd, POLLIN, 0}};
    int indexes[MAX_LISTENERS + 1];
    const struct listener *listener;
    static _Thread_local char buffer[DATAGRAM_BYTES];
    nfds_t count = 1;

    for (int i = 0; (listener = listener_get(i)) != NULL; i++)
        if (listener->transport == TRANSPORT_UDP) {
            indexes[count] = i;
            fds[count++] = (struct pollfd){listener->fd, POLLIN, 0};
        }
    while ((fds[0].revents & POLLIN) == 0) {
        sipwire_refresh(server.instance); /* a receiver that sends nothing keeps no dead supervisor's connection open */
        if (poll(fds, count, REFRESH_MS) < 0 && errno != EINTR) {
            log_error("UDP receiver: %s", strerror(errno));
            return;
        }
        for (nfds_t i = 1; i < count; i++)
            if (fds[i].revents != 0)
                read_socket(e, indexes[i], buffer);
    }
}
