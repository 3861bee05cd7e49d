/* A flow: how a message reached us, in a form that fits into a Via or a Record-Route and that nobody else can make.
 * RFC 3261 16.11 lets a stateless proxy find its way back only by what it wrote into the message; RFC 5626 5.2 asks
 * that such a token cannot be forged. Called by relay.c and route.c. */
#ifndef SIPD_FLOW_H
#define SIPD_FLOW_H
#include "send.h"

/* 't' and a connection id; 'u', a UDP listener and the address of ours that the datagram came to; 'n': not known */
struct flow {
    char kind;
    uint32_t id;
    sipwire_addr local; /* 'u'; without its port, which is the listener's */
};

enum { FLOW_TEXT = 128 };

struct flow flow_of_source(const struct source *source);
struct flow flow_of_destination(const struct destination *to);

/* The value of the parameter `sw` in our Via: the source of the request, bound to the branch. */
void flow_write_via(struct flow source, struct str branch, char buffer[FLOW_TEXT]);
bool flow_read_via(struct str value, struct str branch, struct flow *source);

/* The user part of our Record-Route URI: both ends of the dialog's first request, bound to the From tag of who sent
 * it. That tag tells later which way a request of the dialog goes: in its From or in its To. */
void flow_write_route(struct flow source, struct flow target, struct str tag, char buffer[FLOW_TEXT]);
bool flow_read_route(struct str user, struct str tag, struct flow *source, struct flow *target);
bool flow_is_route(struct str user); /* looks like one of ours, perhaps of before a restart */
#endif
