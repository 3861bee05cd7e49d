/* SIP messages as the script and the relay see them: start line, headers, Via, URI, parameters.
 * Nothing is copied: every `str` points into the message. Every function takes any bytes whatever and
 * never reads outside them. Called by reply.c, relay.c, save.c, script.c; depends only on text.h. */
#ifndef SIPD_SIP_H
#define SIPD_SIP_H
#include "text.h"

enum { SIP_MAX_HEADERS = 512, SIP_DEFAULT_PORT = 5060 };

enum sip_header_id {
    SIP_OTHER,
    SIP_CALL_ID,
    SIP_CONTACT,
    SIP_CONTENT_LENGTH,
    SIP_CSEQ,
    SIP_EXPIRES,
    SIP_FROM,
    SIP_MAX_FORWARDS,
    SIP_PROXY_REQUIRE,
    SIP_RECORD_ROUTE,
    SIP_REQUIRE,
    SIP_ROUTE,
    SIP_TO,
    SIP_VIA,
};

struct sip_header {
    enum sip_header_id id;
    struct str name;
    struct str value; /* trimmed; may hold the line ends of a folded header */
    struct str line;  /* name to value, without the last line end */
};

struct sip_uri {
    struct str scheme, user, host, params; /* host of IPv6: with brackets; params begin with ';' or are empty */
    int port;                              /* 0: none given */
};

struct sip_via {
    struct str text; /* the whole element, without the comma */
    struct str transport, host, params;
    struct str branch, received;
    int port;  /* of sent-by; 0: none given */
    int rport; /* 0: parameter without a value, -1: no parameter */
};

struct sip_message {
    struct str all, body;
    bool is_request;
    struct str method, ruri; /* of a request */
    int status;              /* of a response */
    struct str start_line;
    struct str from_tag, to_tag; /* empty: none */
    struct str cseq_method;
    unsigned long cseq_number;
    const struct sip_header *from, *to, *call_id, *cseq; /* set when sip_parse said yes */
    struct sip_via via;                                  /* the topmost */
    size_t header_count;
    struct sip_header headers[SIP_MAX_HEADERS];
};

/* False: *why says what is wrong. What was read before is in place, so that a 400 can be tried
 * when `via.text` is not empty. */
bool sip_parse(struct sip_message *m, struct str data, const char **why);

/* The first header with that id, or the next one after `after`; NULL: no more. */
const struct sip_header *sip_find(const struct sip_message *m, enum sip_header_id id, const struct sip_header *after);
/* The first header with that name, compact forms counted. */
const struct sip_header *sip_find_name(const struct sip_message *m, struct str name);

bool sip_is_token(struct str s);
enum sip_header_id sip_header_id(struct str name); /* compact forms counted */

/* The first of the values that commas separate; *rest is what follows. False: nothing left. */
bool sip_next_value(struct str *rest, struct str *value);
/* The values of all headers with one id, as if they stood in one (RFC 3261 7.3.1). */
struct sip_values {
    const struct sip_message *m;
    enum sip_header_id id;
    const struct sip_header *at;
    struct str rest;
};
struct sip_values sip_values(const struct sip_message *m, enum sip_header_id id);
bool sip_values_next(struct sip_values *values, struct str *value);

/* The first parameter, from its ';' to the next; *rest is what follows. False: nothing left. */
bool sip_next_param(struct str *rest, struct str *param);
/* ";name" or ";name=value" in params. */
bool sip_param(struct str params, const char *name, struct str *value);
/* The URI of `"Name" <uri>;params` or `uri;params`; *params: those of the header, not of the URI. */
bool sip_name_addr(struct str value, struct str *uri, struct str *params);
/* sip: or sips:, without any byte that could end the line or the <...> that it is written into. */
bool sip_parse_uri(struct str text, struct sip_uri *uri);
/* The user part in the form that is compared (RFC 3261 19.1.4): "%HH" of what is not reserved as that character. False:
 * no room. */
bool sip_user_key(struct str user, char *to, size_t size);
/* Takes out of a URI what a Request-URI may not have (RFC 3261 16.6 step 2): its headers and ;method. */
void sip_make_request_uri(char *uri);
bool sip_parse_via(struct str text, struct sip_via *via);
#endif
