/* The large answer of pour and of floor --pour. */
#pragma once
#include <sys/socket.h>
/* The kernel takes an eighth of an answer at once, and not all of it: the rest is to wait in the server. */
enum { POUR_BYTES = 65536, POUR_SNDBUF = 4096 };
static inline int pour_small_buffer(int listener) /* which its connections inherit */
{
    int bytes = POUR_SNDBUF;
    return setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}
#define POUR_HEADERS                                                                                                     \
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:5099;branch=z9hG4bK1\r\nFrom: <sip:load@127.0.0.1>;tag=3f7a\r\n"          \
    "To: <sip:bench@127.0.0.1>;tag=pour\r\nCall-ID: 1@127.0.0.1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 65536\r\n\r\n"
