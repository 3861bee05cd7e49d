/* A request as it arrived: the message, where it came from, and the way that it carries. Filled by receive.c and
 * route.c before the script sees it. */
#ifndef SIPD_REQUEST_H
#define SIPD_REQUEST_H
#include "send.h"
#include "sip.h"

/* What the Route headers say (RFC 3261 16.4): the topmost values are ours and done with; `next` is where to go. */
struct route {
    int own, count;   /* values that are ours, and how many there are in all; those between stay in the message */
    struct str token; /* the user part of our Record-Route that has come back (flow.h); empty: none has */
    struct str next;  /* the URI of the first value that is not ours; empty: none */
    bool strict;      /* that one is a router of RFC 2543: without `lr` */
};

struct request {
    struct sip_message sip;
    struct source source;
    struct route route;
};
#endif
