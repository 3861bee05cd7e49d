/* Answers made by sipd itself, and the way back that a Via names (RFC 3261 18.2.2, RFC 3581).
 * Called by receive.c, relay.c, route.c, save.c, script.c and delayed.c. */
#ifndef SIPD_REPLY_H
#define SIPD_REPLY_H
#include "request.h"

/* All Via lines of m but the topmost `skip`. With `mark` the first one written is the client's own and is given
 * received and rport; what the client wrote there itself is not believed. */
void via_write(struct text *out, const struct sip_message *m, int skip, const struct source *mark);

/* An answer to the request m, whose topmost `skip` Vias are ours. `headers`: whole lines, may be empty. */
void reply_build(struct text *out, const struct sip_message *m, int skip, const struct source *mark, int code,
                 struct str reason, struct str headers);
/* The way back to who sent us this request. */
struct destination reply_destination(const struct request *r);

/* Sends a response. When its connection is gone: to received + sent-by port of its topmost Via. */
const char *reply_send(const struct destination *to, struct str response);
/* That second way alone; for a response that failed after it was queued. */
const char *reply_send_by_via(struct str response);

/* Build and send in one step; ACK gets nothing. `out` is the caller's scratch buffer. */
const char *reply(const struct request *r, struct text *out, int code, struct str reason, struct str headers);
/* We support no extension, so each that a request demands there (SIP_REQUIRE, SIP_PROXY_REQUIRE) is one too many: it is
 * answered 420. Not of CANCEL and ACK, which have to follow their INVITE (RFC 3261 8.2.2.3). False: it demands none. */
bool reply_unsupported(const struct request *r, enum sip_header_id id, struct text *out, const char **unsent);
/* The ACK to an answer that we made: its To tag is ours. It has arrived, there is nobody to send it on to. */
bool reply_is_ack_of_ours(const struct sip_message *m);
#endif
