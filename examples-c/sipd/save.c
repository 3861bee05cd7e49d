/* REGISTER; see save.h. */
#include "save.h"

#include <string.h>

#include "hash.h"
#include "log.h"
#include "registrar.h"
#include "server.h"
#include "shared.h"

enum { DEFAULT_EXPIRES_S = 3600, MAX_EXPIRES_S = 86400, CONNECTION_GRACE_S = 30 };

/* A piece of the request that goes into a line of ours later: nothing in it ends the line. */
static bool copy(char *to, size_t size, struct str s)
{
    if (s.len >= size)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.s[i] < ' ' || s.s[i] == 0x7f)
            return false;
    memcpy(to, s.s, s.len);
    to[s.len] = '\0';
    return true;
}

/* Seconds; a value that is no number counts as the default (RFC 3261 10.2.1.1). */
static unsigned long expires_of(const struct sip_message *m, struct str params)
{
    const struct sip_header *h = sip_find(m, SIP_EXPIRES, NULL);
    unsigned long seconds = DEFAULT_EXPIRES_S;
    struct str value;

    if (sip_param(params, "expires", &value))
        str_number(value, 0xffffffff, &seconds);
    else if (h != NULL)
        str_number(h->value, 0xffffffff, &seconds);
    return seconds < MAX_EXPIRES_S ? seconds : MAX_EXPIRES_S;
}

/* Thousandths. What is not a number of RFC 3261 25.1, or is not there, counts as 1. */
static unsigned q_of(struct str params)
{
    unsigned q = 0, unit = 1000;
    struct str value;

    if (!sip_param(params, "q", &value) || value.len == 0 || value.len > 5)
        return 1000;
    for (size_t i = 0; i < value.len; i++) {
        if (i == 1 && value.s[i] == '.')
            continue;
        if (value.s[i] < '0' || value.s[i] > '9')
            return 1000;
        q += (unsigned)(value.s[i] - '0') * unit;
        unit /= 10;
    }
    return q < 1000 ? q : 1000;
}

/* What the phone said of its contact is given to whoever asks for it; how long it is good is for us to say. One that
 * has no room or could not be written is left out, the contact is good without it. */
static void copy_params(struct binding *b, struct str params)
{
    size_t length = 0;
    struct str one, value;

    while (sip_next_param(&params, &one)) {
        one = str_trim(one);
        if (one.len > 1 && !sip_param(one, "expires", &value) &&
            copy(b->params + length, sizeof b->params - length, one))
            length += one.len;
    }
    b->params[length] = '\0';
    b->q = q_of((struct str){b->params, length});
}

/* The way to a contact: back over the connection it registered by; over UDP to the address it gave, unless a NAT stands
 * between. A contact that asks for TCP or UDP is taken at its word when that is not how it registered. TLS and
 * WebSocket are between the phone and whoever opened the connection to us: there is no way but that one. */
static void way_to(const struct request *r, const struct sip_uri *uri, struct binding *b)
{
    struct destination *to = &b->to;
    struct str transport = STR("");
    bool over_tcp = r->source.transport == TRANSPORT_TCP, asks = sip_param(uri->params, "transport", &transport);
    bool udp = asks ? str_equal_nocase(transport, STR("udp")) : !over_tcp;
    bool tcp = asks ? str_equal_nocase(transport, STR("tcp")) : over_tcp;

    *to = (struct destination){.udp_listener = -1};
    if ((!udp && !tcp) || !address_of_host(uri->host, uri->port, &to->addr))
        to->addr = (sipwire_addr){.family = 0};
    b->contact_udp = udp;
    if (over_tcp) {
        to->kind = udp && to->addr.family != 0 ? TO_UDP : TO_CONN;
        to->conn_id = r->source.conn_id;
    } else if (tcp && to->addr.family != 0) {
        to->kind = TO_TCP;
    } else {
        to->kind = TO_UDP;
        to->udp_listener = r->source.udp_listener;
        to->local = r->source.local;
        if (!address_same_ip(&to->addr, &r->source.remote))
            to->addr = r->source.remote;
    }
}

/* The place of a change: that of the same contact before it, whose word it takes the place of (RFC 3261 10.3 step 7
 * takes them in order), else the next one. NULL: no more room. */
static struct binding *place_of(struct binding *changes, size_t *count, const struct binding *change)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(changes[i].contact, change->contact) == 0)
            return &changes[i];
    return *count < REGISTRAR_CONTACTS ? &changes[(*count)++] : NULL;
}

/* One value of Contact into *b, which has what is of the whole request. */
static bool read_contact(const struct request *r, struct str value, struct binding *b)
{
    unsigned long seconds;
    struct str text, params;
    struct sip_uri uri;

    if (!sip_name_addr(value, &text, &params) || !sip_parse_uri(text, &uri) ||
        !copy(b->contact, sizeof b->contact, text))
        return false;
    seconds = expires_of(&r->sip, params);
    b->expires_ms = seconds == 0 ? 0 : now_ms() + seconds * 1000;
    copy_params(b, params);
    way_to(r, &uri, b);
    return true;
}

static const char *read_contacts(const struct request *r, const struct binding *request, struct binding *changes,
                                 size_t *count, bool *star)
{
    struct sip_values values = sip_values(&r->sip, SIP_CONTACT);
    const struct sip_header *expires = sip_find(&r->sip, SIP_EXPIRES, NULL);
    struct binding *place;
    struct str value;

    while (sip_values_next(&values, &value)) {
        struct binding change = *request;
        if (str_equal(value, STR("*"))) {
            *star = true;
            continue;
        }
        if (!read_contact(r, value, &change))
            return "Bad Contact";
        place = place_of(changes, count, &change);
        if (place == NULL)
            return "Too Many Contacts";
        *place = change;
    }
    if (*star && (*count > 0 || expires == NULL || !str_equal(expires->value, STR("0"))))
        return "Contact * Wants Expires 0"; /* RFC 3261 10.2.2 */
    return NULL;
}

static const char *answer(const struct request *r, struct str user, struct text *out)
{
    struct binding bindings[REGISTRAR_CONTACTS];
    size_t count = registrar_list(user, bindings);
    uint64_t now = now_ms();
    struct text headers = {0};
    const char *why;

    for (size_t i = 0; i < count; i++)
        text_addf(&headers, "Contact: <%s>%s;expires=%llu\r\n", bindings[i].contact, bindings[i].params,
                  (unsigned long long)(bindings[i].expires_ms > now ? (bindings[i].expires_ms - now + 999) / 1000 : 0));
    why = headers.failed ? "no memory" : reply(r, out, 200, STR("OK"), (struct str){headers.data, headers.length});
    text_free(&headers);
    return why;
}

/* A phone that registered is called over its connection: it has to stay open as long as the registration. Never shorter
 * than it has: another registration may have asked for that. */
static void keep_connection(const struct request *r, const struct binding *changes, size_t count)
{
    uint64_t last = 0, now = now_ms(), wanted;
    sipwire_conn_info info;

    for (size_t i = 0; i < count; i++)
        if (changes[i].to.kind == TO_CONN && changes[i].expires_ms > last)
            last = changes[i].expires_ms;
    wanted = last > now ? last - now + CONNECTION_GRACE_S * 1000 : 0;
    if (wanted > 0 && conn_is_alive(r->source.conn_id, &info) && wanted > info.lifetime_ms)
        sipwire_conn_set_lifetime(server.instance, r->source.conn_id, (int64_t)wanted);
}

/* What is wrong with the request; NULL: nothing, its changes are made. *code: the answer to it. */
static const char *change(const struct request *r, struct str user, int *code)
{
    struct binding request = {.call_id = HASH(r->sip.call_id->value), .cseq = r->sip.cseq_number};
    struct binding changes[REGISTRAR_CONTACTS];
    size_t count = 0;
    bool star = false;
    const char *why;

    *code = 400;
    if (user.len == 0 || !sip_user_key(user, request.user, sizeof request.user))
        return "Bad Address of Record";
    why = read_contacts(r, &request, changes, &count, &star);
    if (why != NULL)
        return why;
    if (star)
        changes[0] = request;
    switch (registrar_update(changes, star ? 1 : count, star)) {
    case REGISTRAR_OK:
        keep_connection(r, changes, count);
        *code = 200;
        return NULL;
    case REGISTRAR_OUT_OF_ORDER:
        *code = 500;
        return "CSeq Out of Order";
    case REGISTRAR_TOO_MANY:
        *code = 503;
        return "Too Many Contacts";
    default:
        *code = 503;
        return "Registrar Full";
    }
}

const char *save(const struct request *r, struct text *out, bool *answered)
{
    struct str uri_text, params, user = STR("");
    struct sip_uri aor;
    const char *wrong, *unsent;
    int code;

    if (reply_unsupported(r, SIP_REQUIRE, out, &unsent)) { /* RFC 3261 10.3 step 2 */
        *answered = unsent == NULL;
        return "Bad Extension";
    }
    if (sip_name_addr(r->sip.to->value, &uri_text, &params) && sip_parse_uri(uri_text, &aor))
        user = aor.user;
    wrong = change(r, user, &code);
    unsent = wrong == NULL ? answer(r, user, out) : reply(r, out, code, str_of(wrong), STR(""));
    if (unsent == NULL)
        *answered = true;
    return wrong != NULL ? wrong : unsent;
}
