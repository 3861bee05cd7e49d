/* floor: what a SIP server over TCP cannot do without, and nothing else. One thread, one epoll, one read per readiness;
 * finds each request's end and answers 200 with Via, From, To, Call-ID and CSeq copied; the answers of one read leave
 * in one write. No supervisor, no limits, no hand-off, no time limits; a client that does not read is closed. With
 * --udp the same over datagrams; with --pour each answer has 64 KB, and what the kernel does not take is written when it
 * can be; with --pour-kept each has a copy of what is left of its answer, as where answers differ. The bench divides by
 * its CPU time. With --hand-off a second thread serves, and is told by the first of each
 * readable connection: what any server costs in which one thread waits for all and another serves. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "pour.h"

enum { READ_BYTES = 65536, EVENTS = 256, PARTIAL_BYTES = 8192, MAX_FDS = 65536 };

typedef struct conn {
    char *partial; /* of an unfinished request; only while there is one */
    size_t length;
    size_t unsent; /* of the large answer */
    char *kept;    /* what was left of it at first, if the connection has a copy */
    size_t kept_bytes;
} conn;

static conn conns[MAX_FDS];
static char input[PARTIAL_BYTES + READ_BYTES], output[4 * READ_BYTES], body[POUR_BYTES];
static bool pour, keep;
static int poller;

/* Readable connections, from the thread that waits to the one that serves: each is armed once, so all of them have room. */
static int handed[MAX_FDS];
static atomic_uint handed_count;
static int wake = -1;

/* The request's length, 0: not complete, -1: not a request we know. */
static ssize_t request_end(const char *data, size_t length)
{
    const char *headers_end = memmem(data, length, "\r\n\r\n", 4), *line = data;
    size_t body = 0;
    bool found = false;
    if (!headers_end)
        return length > PARTIAL_BYTES ? -1 : 0;
    while ((line = memchr(line, '\n', (size_t)(headers_end + 2 - line))) && ++line < headers_end)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10), found = true;
    size_t all = (size_t)(headers_end - data) + 4 + body;
    return !found ? -1 : all > length ? 0 : (ssize_t)all;
}

static size_t answer(const char *data, size_t length, char *out)
{
    static const char *const copied[] = {"Via:", "From:", "To:", "Call-ID:", "CSeq:"};
    const char *end = memmem(data, length, "\r\n\r\n", 4) + 2, *line = data, *next;
    char *at = stpcpy(out, "SIP/2.0 200 OK\r\n");
    for (; line < end; line = next) {
        next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
            if (strncasecmp(line, copied[i], strlen(copied[i])) == 0) {
                at = mempcpy(at, line, (size_t)(next - line));
                if (i == 2)
                    at = stpcpy(at - 2, ";tag=floor\r\n");
                break;
            }
    }
    return (size_t)(stpcpy(at, "Content-Length: 0\r\n\r\n") - out);
}

static void end(int fd)
{
    free(conns[fd].partial);
    free(conns[fd].kept);
    conns[fd] = (conn){0};
    close(fd);
}

/* What is left of the large answer; the poll tells when there is room for more. */
static void flush(int fd)
{
    conn *c = &conns[fd];
    size_t headers = sizeof POUR_HEADERS - 1, all = headers + POUR_BYTES, at = all - c->unsent;
    struct iovec parts[2] = {{POUR_HEADERS + (at < headers ? at : headers), at < headers ? headers - at : 0},
                             {body + (at < headers ? 0 : at - headers), at < headers ? POUR_BYTES : all - at}};
    ssize_t n = c->kept ? send(fd, c->kept + (c->kept_bytes - c->unsent), c->unsent, MSG_DONTWAIT) : writev(fd, parts, 2);
    bool waited = c->unsent != all;
    if (n < 0 && errno != EAGAIN) {
        end(fd);
        return;
    }
    c->unsent -= n > 0 ? (size_t)n : 0;
    if (!c->unsent)
        free(c->kept), c->kept = NULL;
    else if (keep && !c->kept && c->unsent <= POUR_BYTES) /* the kernel has taken the headers */
        c->kept = memcpy(malloc(c->unsent), body + (POUR_BYTES - c->unsent), c->kept_bytes = c->unsent);
    if ((c->unsent != 0) != waited) {
        struct epoll_event event = {.events = c->unsent ? EPOLLOUT : EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
    }
}

/* Whether the connection goes on. */
static bool serve(int fd)
{
    conn *c = &conns[fd];
    size_t kept = c->length, written = 0;
    char *at = input;
    if (kept)
        memcpy(input, c->partial, kept);
    ssize_t n = recv(fd, input + kept, READ_BYTES, MSG_DONTWAIT), used;
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0) {
        end(fd);
        return false;
    }
    size_t left = kept + (size_t)n;
    if (pour && request_end(at, left) > 0) { /* one request at a time */
        conns[fd].unsent = sizeof POUR_HEADERS - 1 + POUR_BYTES;
        flush(fd);
        return true;
    }
    while ((used = left ? request_end(at, left) : 0) > 0) {
        written += answer(at, (size_t)used, output + written);
        at += used, left -= (size_t)used;
        if (written > sizeof output - READ_BYTES)
            break;
    }
    if (used < 0 || left > PARTIAL_BYTES || (written && send(fd, output, written, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)written)) {
        end(fd);
        return false;
    }
    if (left && !c->partial)
        c->partial = malloc(PARTIAL_BYTES);
    if (left)
        memcpy(c->partial, at, left);
    else if (c->partial)
        free(c->partial), c->partial = NULL;
    c->length = left;
    return true;
}

static void arm(int operation, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | (wake < 0 ? 0 : EPOLLONESHOT), .data.fd = fd};
    epoll_ctl(poller, operation, fd, &event);
}

static void hand_over(int fd)
{
    unsigned at = atomic_load_explicit(&handed_count, memory_order_relaxed);
    handed[at % MAX_FDS] = fd;
    atomic_store_explicit(&handed_count, at + 1, memory_order_release);
}

static void *serve_handed(void *unused)
{
    eventfd_t count;
    unsigned at = 0;
    while (eventfd_read(wake, &count) == 0) {
        for (; at != atomic_load_explicit(&handed_count, memory_order_acquire); at++) {
            int fd = handed[at % MAX_FDS];
            if (serve(fd))
                arm(EPOLL_CTL_MOD, fd);
        }
    }
    return unused;
}

static void serve_datagrams(int fd)
{
    struct sockaddr_storage from;
    for (;;) {
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(fd, input, READ_BYTES, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
        if (n < 0)
            return;
        if (request_end(input, (size_t)n) > 0)
            sendto(fd, output, answer(input, (size_t)n, output), MSG_DONTWAIT, (struct sockaddr *)&from, size);
    }
}

int main(int argc, char **argv)
{
    bool udp = argc > 1 && strcmp(argv[1], "--udp") == 0;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof addr;
    int listener = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0), one = 1;
    poller = epoll_create1(0), keep = argc > 1 && strcmp(argv[1], "--pour-kept") == 0;
    pour = keep || (argc > 1 && strcmp(argv[1], "--pour") == 0);
    memset(body, 'x', sizeof body), signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "--hand-off") == 0) {
        pthread_t server;
        wake = eventfd(0, EFD_CLOEXEC);
        if (wake < 0 || pthread_create(&server, NULL, serve_handed, NULL)) {
            perror("floor: cannot start the second thread");
            return 1;
        }
    }
    struct epoll_event events[EVENTS] = {{.events = EPOLLIN, .data.fd = listener}};
    if (pour && pour_small_buffer(listener) != 0)
        return 1;
    if (bind(listener, (struct sockaddr *)&addr, size) || (!udp && listen(listener, 4096)) || getsockname(listener, (struct sockaddr *)&addr, &size) ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, events)) {
        perror("floor: cannot listen on 127.0.0.1");
        return 1;
    }
    printf("listening 127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        unsigned before = handed_count;
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener && udp) {
                serve_datagrams(fd);
            } else if (fd != listener) {
                if (conns[fd].unsent)
                    flush(fd);
                else if (wake >= 0)
                    hand_over(fd);
                else
                    serve(fd);
            } else {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0 && fd < MAX_FDS) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    arm(EPOLL_CTL_ADD, fd);
                }
            }
        }
        if (handed_count != before)
            eventfd_write(wake, 1);
    }
}
