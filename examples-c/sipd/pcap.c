/* A pcap file of what passes; see pcap.h. Each message becomes the TCP segments that carry it: IP packets without a link
 * header, with the numbers and checksums of a connection whose beginning was missed. All segments of one message
 * are one write(2) at the end of the file, which is whole whoever writes beside us. */
#include "pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

enum { SEGMENT = 1440, RECORD_HEADER = 16, TCP_HEADER = 20, TCP = 6, ACK_PSH = 0x18, LINKTYPE_RAW = 101, WAITING = 256 };

struct flow {
    _Atomic uint32_t next[2];    /* the sequence number of the next byte: to us, from us */
    _Atomic uint32_t written[2]; /* what the file holds of them. No more is acknowledged: a reader takes a segment whose
                                  * acknowledgement came first for a repeated one, and reads no message from it. */
};

/* All processes share it. A connection has the flow of its slot, which its id carries in its low bits. The numbers go on
 * from those of the slot's last connection: any number is a right one to begin with. Behind these are flows of messages
 * that wait for a dial, by where they go. */
static struct {
    int fd;
    uint32_t slots; /* a power of two */
    struct flow *flows;
} pcap = {.fd = -1};

static _Atomic bool *broken; /* a message was not written whole: what would follow could not be read */

bool pcap_create(const char *path, unsigned max_connections)
{
    const struct {
        uint32_t magic;
        uint16_t major, minor;
        uint32_t zone, accuracy, longest, linktype;
    } header = {0xa1b2c3d4, 2, 4, 0, 0, 65535, LINKTYPE_RAW};
    size_t size;

    for (pcap.slots = 2; pcap.slots < max_connections;)
        pcap.slots *= 2;
    size = (pcap.slots + WAITING) * sizeof *pcap.flows + sizeof *broken;
    pcap.flows = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pcap.flows == MAP_FAILED)
        return false;
    broken = (_Atomic bool *)&pcap.flows[pcap.slots + WAITING];
    pcap.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600); /* it tells who calls whom */
    return pcap.fd >= 0 && write(pcap.fd, &header, sizeof header) == sizeof header;
}

static struct flow *flow_of(const sipwire_capture *c)
{
    uint32_t hash = c->remote.port;

    if (c->conn_id != 0)
        return &pcap.flows[c->conn_id & (pcap.slots - 1)];
    for (size_t i = 0; i < sizeof c->remote.ip; i++)
        hash = hash * 31 + c->remote.ip[i];
    return &pcap.flows[pcap.slots + hash % WAITING];
}

static void put16(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value)
{
    put16(to, value >> 16);
    put16(to + 2, value & 0xFFFF);
}

/* The internet checksum's sum (RFC 1071). */
static uint32_t sum(uint32_t so_far, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        so_far += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
        so_far = (so_far & 0xFFFF) + (so_far >> 16);
    }
    return so_far;
}

static void put_ip(uint8_t *to, const sipwire_addr *from_addr, const sipwire_addr *to_addr, size_t payload)
{
    if (to_addr->family == 4) {
        to[0] = 0x45;
        put16(to + 2, 20 + payload);
        to[6] = 0x40; /* not to be fragmented */
        to[8] = 64;
        to[9] = TCP;
        memcpy(to + 12, from_addr->ip, 4);
        memcpy(to + 16, to_addr->ip, 4);
        put16(to + 10, 0xFFFF & ~sum(0, to, 20));
        return;
    }
    to[0] = 0x60;
    put16(to + 4, payload);
    to[6] = TCP;
    to[7] = 64;
    memcpy(to + 8, from_addr->ip, 16);
    memcpy(to + 24, to_addr->ip, 16);
}

/* In front of its data, behind an IP header that ends with the addresses. */
static void put_tcp(uint8_t *to, const sipwire_addr *from_addr, const sipwire_addr *to_addr, uint32_t number, uint32_t expected,
                    size_t length)
{
    size_t addresses = to_addr->family == 4 ? 8 : 32;

    put16(to, from_addr->port);
    put16(to + 2, to_addr->port);
    put32(to + 4, number);
    put32(to + 8, expected);
    to[12] = TCP_HEADER / 4 << 4;
    to[13] = ACK_PSH;
    put16(to + 14, 65535);
    put16(to + 16, 0xFFFF & ~sum(sum(TCP + TCP_HEADER + (uint32_t)length, to - addresses, addresses), to, TCP_HEADER + length));
}

/* The next `length` bytes of the pieces; `piece` and `at` say where we are. */
static void take(const sipwire_capture *c, size_t *piece, size_t *at, uint8_t *to, size_t length)
{
    while (length > 0 && *piece < c->iov_count) {
        const sipwire_iov *from = &c->iov[*piece];
        size_t part = from->length - *at < length ? from->length - *at : length;
        memcpy(to, (const uint8_t *)from->base + *at, part);
        to += part;
        length -= part;
        *at += part;
        if (*at == from->length)
            ++*piece, *at = 0;
    }
}

void pcap_on_capture(void *user, sipwire_instance *instance, const sipwire_capture *c)
{
    bool out = c->direction == SIPWIRE_CAPTURE_OUT;
    const sipwire_addr *from_addr = out ? &c->local : &c->remote, *to_addr = out ? &c->remote : &c->local;
    sipwire_addr local = c->local;
    struct flow *flow = flow_of(c);
    size_t ip_header = c->remote.family == 4 ? 20 : 40, headers = RECORD_HEADER + ip_header + TCP_HEADER;
    size_t segments = (c->length + SEGMENT - 1) / SEGMENT, size = segments * headers + c->length, piece = 0, at = 0;
    uint32_t number = atomic_fetch_add(&flow->next[out], (uint32_t)c->length), expected = atomic_load(&flow->written[!out]);
    uint8_t *packets, *to;

    (void)user, (void)instance;
    if (local.family != c->remote.family) { /* it waits for a dial: no address of ours yet */
        local = (sipwire_addr){.family = c->remote.family};
        from_addr = &local;
    }
    if (*broken || (packets = to = calloc(1, size)) == NULL)
        return;
    for (size_t left = c->length, length; left > 0; left -= length, to += headers + length, number += (uint32_t)length) {
        length = left < SEGMENT ? left : SEGMENT;
        uint32_t on_wire = (uint32_t)(ip_header + TCP_HEADER + length);
        uint8_t *tcp = to + RECORD_HEADER + ip_header;
        uint32_t record[4] = {(uint32_t)(c->time_us / 1000000), (uint32_t)(c->time_us % 1000000), on_wire, on_wire};

        memcpy(to, record, sizeof record);
        put_ip(to + RECORD_HEADER, from_addr, to_addr, TCP_HEADER + length);
        take(c, &piece, &at, tcp + TCP_HEADER, length);
        put_tcp(tcp, from_addr, to_addr, number, expected, length);
    }
    if (write(pcap.fd, packets, size) != (ssize_t)size && !atomic_exchange(broken, true))
        log_error("the pcap file ends here: %s", strerror(errno));
    atomic_fetch_add(&flow->written[out], (uint32_t)c->length);
    free(packets);
}
