/* capture: what passes goes to a pcap file that Wireshark and tshark read, each message as one packet of the kind
 * "exported PDU", which needs no made-up TCP below it. One write(2) for each: workers do not wait for one another.
 * (sipd/pcap.c writes TCP packets instead.)
 *
 * To try it:  ./capture tcp:127.0.0.1:5060 /tmp/sip.pcap     then     sipsak -E tcp -s sip:127.0.0.1:5060
 *             and     tshark -r /tmp/sip.pcap */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include "reply.h"

enum { LINKTYPE_EXPORTED_PDU = 252, PORT_TYPE_TCP = 2, PIECES = 64 };
/* Tags of an exported PDU (epan/exported_pdu.h of Wireshark): what it is, and who sent it to whom. */
enum { DISSECTOR = 12, IPV4_FROM = 20, IPV4_TO, IPV6_FROM, IPV6_TO, PORT_TYPE, PORT_FROM, PORT_TO };

static int file = -1;
static atomic_bool broken; /* a packet is not whole: what came behind it could not be read */

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[REPLY_PARTS];
    int count = reply_200(message, parts);

    (void)user;
    if (count > 0)
        sipwire_send(instance, &target, parts, (size_t)count, 0);
    return count < 0 ? -1 : 0;
}

static uint8_t *put(uint8_t *at, int tag, const void *value, size_t length)
{
    const uint8_t head[4] = {0, (uint8_t)tag, 0, (uint8_t)length}; /* big endian, as its numbers are */

    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, value, length);
    return at + sizeof head + length;
}

static uint8_t *put_number(uint8_t *at, int tag, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

    return put(at, tag, bytes, sizeof bytes);
}

/* In the worker in front of on_message, or in whoever sends: it delays both, so it only writes. */
static void on_capture(void *user, sipwire_instance *instance, const sipwire_capture *capture)
{
    int out = capture->direction == SIPWIRE_CAPTURE_OUT, v4 = capture->remote.family == 4;
    const sipwire_addr *from = out ? &capture->local : &capture->remote, *to = out ? &capture->remote : &capture->local;
    uint8_t tags[128], *end = put(tags, DISSECTOR, "sip", 4);
    uint32_t record[4] = {(uint32_t)(capture->time_us / 1000000), (uint32_t)(capture->time_us % 1000000), 0, 0};
    struct iovec packet[2 + PIECES];
    ssize_t length;

    (void)user, (void)instance;
    end = put(end, v4 ? IPV4_FROM : IPV6_FROM, from->ip, v4 ? 4 : 16);
    end = put(end, v4 ? IPV4_TO : IPV6_TO, to->ip, v4 ? 4 : 16);
    end = put_number(end, PORT_TYPE, PORT_TYPE_TCP);
    end = put_number(end, PORT_FROM, from->port);
    end = put_number(end, PORT_TO, to->port);
    end = put(end, 0, "", 0);
    record[2] = record[3] = (uint32_t)((size_t)(end - tags) + capture->length);
    packet[0] = (struct iovec){record, sizeof record};
    packet[1] = (struct iovec){tags, (size_t)(end - tags)};
    memcpy(&packet[2], capture->iov, capture->iov_count * sizeof *packet); /* the same layout, says the header */
    length = (ssize_t)(sizeof record + record[2]);
    if (!broken && writev(file, packet, 2 + (int)capture->iov_count) != length && !atomic_exchange(&broken, true))
        fprintf(stderr, "capture: the file ends here: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
    static const struct {
        uint32_t magic;
        uint16_t major, minor;
        uint32_t zone, accuracy, longest, linktype;
    } header = {0xa1b2c3d4, 2, 4, 0, 0, 262144, LINKTYPE_EXPORTED_PDU};
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message, .on_capture = on_capture};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int which, status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    if (argc != 3) {
        fprintf(stderr, "usage: capture tcp:ADDR:PORT FILE\n");
        goto out;
    }
    file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600); /* it tells who calls whom */
    if (file < 0 || write(file, &header, sizeof header) != sizeof header) {
        fprintf(stderr, "capture: %s: %s\n", argv[2], strerror(errno));
        goto out;
    }
    if ((rc = sipwire_config_set(config, "capture", "yes")) < 0 || (rc = sipwire_config_listen(config, argv[1])) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "capture: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "capture: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout);

    sigwait(&stop, &which);
    sipwire_stop(instance);
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance);
    sipwire_config_free(config);
    if (file >= 0)
        close(file);
    return status;
}
