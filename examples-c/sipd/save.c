/* REGISTER; see save.h. */
#include "save.h"

#include <string.h>

#include "hash.h"
#include "log.h"
#include "registrar.h"
#include "server.h"
#include "shared.h"

enum { DEFAULT_EXPIRES_S = 3600, MAX_EXPIRES_S = 86400, CONNECTION_GRACE_S = 30 };

static const char *refuse(const struct request *r, struct text *out, int code, const char *reason)
{
    reply(r, out, code, str_of(reason), STR(""));
    return reason;
}

/* A URI that can be written into a request line, and that fits. */
static bool copy_clean(char *to, size_t size, struct str s)
{
    if (s.len == 0 || s.len >= size)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.s[i] <= ' ' || s.s[i] == 0x7f || s.s[i] == '<' || s.s[i] == '>' || s.s[i] == '"')
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

/* The way to a contact: back over the connection it registered by; over UDP to the address it gave, unless a NAT
 * stands between. A contact that asks for the other transport is taken at its word. */
static void way_to(const struct request *r, const struct sip_uri *uri, struct binding *b)
{
    struct destination *to = &b->to;
    struct str transport = STR("");
    bool has_address;

    memset(to, 0, sizeof *to);
    to->udp_listener = -1;
    has_address = address_of_host(uri->host, uri->port, &to->addr);
    if (!has_address)
        memset(&to->addr, 0, sizeof to->addr);
    sip_param(uri->params, "transport", &transport);
    b->contact_udp = !str_equal_nocase(transport, STR("tcp"));
    if (r->source.transport == TRANSPORT_TCP) {
        if (transport.len == 0)
            b->contact_udp = false;
        if (has_address && b->contact_udp) {
            to->kind = TO_UDP;
        } else {
            to->kind = TO_CONN;
            to->conn_id = r->source.conn_id;
        }
        return;
    }
    if (has_address && !b->contact_udp) {
        to->kind = TO_TCP;
        return;
    }
    to->kind = TO_UDP;
    to->udp_listener = r->source.udp_listener;
    to->local = r->source.local;
    if (!has_address || !address_same_ip(&to->addr, &r->source.remote))
        to->addr = r->source.remote;
}

static const char *read_contacts(const struct request *r, struct binding *changes, size_t *count, bool *star)
{
    const struct sip_header *h = NULL, *expires;
    struct str rest, value, uri_text, params;
    struct sip_uri uri;

    while ((h = sip_find(&r->sip, SIP_CONTACT, h)) != NULL) {
        rest = h->value;
        while (sip_next_value(&rest, &value)) {
            if (str_equal(value, STR("*"))) {
                *star = true;
                continue;
            }
            if (*count == REGISTRAR_CONTACTS)
                return "Too Many Contacts";
            struct binding *b = &changes[*count];
            *b = changes[0]; /* the user, the Call-ID and the CSeq are those of the request */
            if (!sip_name_addr(value, &uri_text, &params) || !sip_parse_uri(uri_text, &uri) ||
                !copy_clean(b->contact, sizeof b->contact, uri_text))
                return "Bad Contact";
            unsigned long seconds = expires_of(&r->sip, params);
            b->expires_ms = seconds == 0 ? 0 : now_ms() + seconds * 1000;
            way_to(r, &uri, b);
            ++*count;
        }
    }
    expires = sip_find(&r->sip, SIP_EXPIRES, NULL);
    if (*star && (*count > 0 || expires == NULL || !str_equal(expires->value, STR("0"))))
        return "Contact * Wants Expires 0"; /* RFC 3261 10.2.2 */
    return NULL;
}

static void answer(const struct request *r, struct str user, struct text *out)
{
    struct binding bindings[REGISTRAR_CONTACTS];
    size_t count = registrar_list(user, bindings);
    uint64_t now = now_ms();
    struct text headers = {0};

    for (size_t i = 0; i < count; i++)
        text_addf(&headers, "Contact: <%s>;expires=%llu\r\n", bindings[i].contact,
                  (unsigned long long)(bindings[i].expires_ms > now ? (bindings[i].expires_ms - now + 999) / 1000 : 0));
    reply(r, out, 200, STR("OK"), (struct str){headers.data, headers.length});
    text_free(&headers);
}

/* A phone that registered is called over its connection: it has to stay open as long as the registration. */
static void keep_connection(const struct request *r, const struct binding *changes, size_t count)
{
    uint64_t last = 0, now = now_ms();

    for (size_t i = 0; i < count; i++)
        if (changes[i].to.kind == TO_CONN && changes[i].expires_ms > last)
            last = changes[i].expires_ms;
    if (last > now)
        sipwire_conn_set_lifetime(server.instance, r->source.conn_id, (int64_t)(last - now) + CONNECTION_GRACE_S * 1000);
}

const char *save(const struct request *r, struct text *out)
{
    struct binding changes[REGISTRAR_CONTACTS];
    struct str uri_text, params;
    struct sip_uri aor;
    size_t count = 0;
    bool star = false;
    const char *why;

    memset(&changes[0], 0, sizeof changes[0]);
    if (!sip_name_addr(r->sip.to->value, &uri_text, &params) || !sip_parse_uri(uri_text, &aor) ||
        !copy_clean(changes[0].user, sizeof changes[0].user, aor.user))
        return refuse(r, out, 400, "Bad Address of Record");
    changes[0].call_id = HASH(r->sip.call_id->value);
    changes[0].cseq = r->sip.cseq_number;
    why = read_contacts(r, changes, &count, &star);
    if (why != NULL)
        return refuse(r, out, 400, why);
    switch (registrar_update(changes, star ? 1 : count, star)) {
    case REGISTRAR_OK:
        break;
    case REGISTRAR_OUT_OF_ORDER:
        return refuse(r, out, 500, "CSeq Out of Order");
    case REGISTRAR_TOO_MANY:
        return refuse(r, out, 503, "Too Many Contacts");
    case REGISTRAR_FULL:
        return refuse(r, out, 503, "Registrar Full");
    }
    keep_connection(r, changes, count);
    answer(r, aor.user, out);
    return NULL;
}
