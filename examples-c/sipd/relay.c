/* Stateless relaying; see relay.h. */
#include "relay.h"

#include <stdio.h>
#include <string.h>

#include "flow.h"
#include "hash.h"
#include "listeners.h"
#include "log.h"
#include "route.h"

#define MAGIC "z9hG4bK"

enum { BRANCH_TEXT = 48, MAX_HOPS = 70 };

/* What routing can depend on: how the request came, and all of it but what each hop changes. One that comes back with
 * the same goes the same way again, a loop; one that comes back changed is a spiral and legitimate (RFC 3261 16.3 step
 * 4, RFC 5393). */
static uint64_t loop_hash(const struct request *r)
{
    const struct sip_message *m = &r->sip;
    char from[ADDRESS_TEXT];
    uint64_t hash =
        HASH(m->start_line, str_of(transport_name(r->source.transport)), str_of(address_text(&r->source.remote, from)));

    for (size_t i = 0; i < m->header_count; i++) {
        const struct sip_header *h = &m->headers[i];
        if (h->id != SIP_VIA && h->id != SIP_MAX_FORWARDS && h->id != SIP_RECORD_ROUTE)
            hash = HASH((struct str){(const char *)&hash, sizeof hash}, h->line);
    }
    return hash;
}

/* The same for every repeat of a request, and for the CANCEL and the ACK of an INVITE (RFC 3261 16.11): only of what
 * they have in common. The target counts: two copies for two contacts are two transactions. */
static void make_branch(const struct request *r, struct str target, char buffer[BRANCH_TEXT])
{
    const struct sip_via *via = &r->sip.via;
    char port[16], cseq[24];
    uint64_t transaction;

    snprintf(port, sizeof port, "%d", via->port);
    snprintf(cseq, sizeof cseq, "%lu", r->sip.cseq_number);
    if (via->branch.len > sizeof MAGIC - 1 && memcmp(via->branch.s, MAGIC, sizeof MAGIC - 1) == 0)
        transaction = HASH(via->branch, via->host, str_of(port), target);
    else /* a client of RFC 2543 */
        transaction = HASH(via->text, r->sip.call_id->value, str_of(cseq), r->sip.from_tag, target);
    snprintf(buffer, BRANCH_TEXT, MAGIC "%016llx", (unsigned long long)transaction);
}

/* A Via that we wrote: the proof in `sw` fits the branch. */
static bool own_via(const struct sip_via *via, struct destination *back)
{
    struct str value;

    return sip_param(via->params, "sw", &value) && flow_read_via(value, via->branch, back);
}

static bool is_loop(const struct request *r, struct str loop)
{
    struct sip_values values = sip_values(&r->sip, SIP_VIA);
    struct str value, before;
    struct sip_via via;
    struct destination back;

    while (sip_values_next(&values, &value))
        if (sip_parse_via(value, &via) && sip_param(via.params, "loop", &before) && str_equal(before, loop) &&
            own_via(&via, &back))
            return true;
    return false;
}

/* The headers but those written anew, and the body. A datagram may lack Content-Length; a stream may not (RFC 3261
 * 18.3). */
static void copy_rest(struct text *out, const struct sip_message *m, bool request)
{
    bool has_length = false;

    for (size_t i = 0; i < m->header_count; i++) {
        const struct sip_header *h = &m->headers[i];
        if (h->id == SIP_VIA || (request && (h->id == SIP_ROUTE || h->id == SIP_MAX_FORWARDS)))
            continue;
        if (h->id == SIP_CONTENT_LENGTH) {
            if (has_length)
                continue; /* equal ones were let in; the next hop may be stricter */
            has_length = true;
        }
        text_add_unfolded(out, h->line);
        text_add(out, STR("\r\n"));
    }
    if (!has_length)
        text_addf(out, "Content-Length: %zu\r\n", m->body.len);
    text_add(out, STR("\r\n"));
    text_add(out, m->body);
}

static const char *build(const struct request *r, const struct destination *to, struct str target, struct str loop,
                         unsigned long hops, struct text *out)
{
    const struct sip_message *m = &r->sip;
    struct destination back = reply_destination(r);
    sipwire_conn_info info = {0};
    sipwire_addr sent_by, remote = to->addr;
    char branch[BRANCH_TEXT], token[FLOW_TEXT], address[ADDRESS_TEXT];

    if (to->kind == TO_CONN) {
        if (!conn_is_alive(to->conn_id, &info))
            return sipwire_strerror(SIPWIRE_E_NO_CONNECTION);
        remote = info.remote;
    }
    if (!listeners_sent_by(to->kind == TO_UDP ? TRANSPORT_UDP : TRANSPORT_TCP, &remote,
                           to->kind == TO_CONN ? &info.local : &to->local, &sent_by))
        return "no listener";
    make_branch(r, target, branch);
    flow_write_via(&back, str_of(branch), token);

    text_clear(out);
    text_addf(out, "%.*s %.*s SIP/2.0\r\n", STR_FMT(m->method), STR_FMT(route_request_uri(r, target)));
    text_addf(out, "Via: SIP/2.0/%s %s;branch=%s;sw=%s;loop=%.*s\r\n", to->kind == TO_UDP ? "UDP" : "TCP",
              address_text(&sent_by, address), branch, token, STR_FMT(loop));
    via_write(out, m, 0, &r->source);
    route_record(out, r, to, &sent_by);
    route_write(out, r, target);
    text_addf(out, "Max-Forwards: %lu\r\n", hops);
    copy_rest(out, m, true);
    return out->failed ? "no memory" : NULL;
}

/* What must not be relayed is answered; an ACK is dropped. */
static const char *refuse(const struct request *r, struct text *out, int code, const char *reason, struct str headers)
{
    return str_equal(r->sip.method, STR("ACK")) ? NULL : reply(r, out, code, str_of(reason), headers);
}

const char *relay_request(const struct request *r, const struct destination *to, struct str contact, struct text *out)
{
    const struct sip_header *h = sip_find(&r->sip, SIP_MAX_FORWARDS, NULL);
    unsigned long hops = MAX_HOPS + 1;
    char loop[24];
    const char *why;
    int32_t code;

    if (h != NULL && !str_number(h->value, 255, &hops))
        return refuse(r, out, 400, "Bad Max-Forwards", STR(""));
    if (hops == 0)
        return refuse(r, out, 483, "Too Many Hops", STR(""));
    snprintf(loop, sizeof loop, "%016llx", (unsigned long long)loop_hash(r));
    if (is_loop(r, str_of(loop)))
        return refuse(r, out, 482, "Loop Detected", STR(""));
    if (reply_unsupported(r, SIP_PROXY_REQUIRE, out, &why)) /* RFC 3261 16.3 step 5 */
        return why;
    why = build(r, to, contact.len > 0 ? contact : r->sip.ruri, str_of(loop), hops - 1, out);
    if (why == NULL)
        why = send_message(to, (struct str){out->data, out->length}, COOKIE_REQUEST, &code);
    return why;
}

/* The element below our topmost Via. */
static bool second_via(const struct sip_message *m, struct sip_via *via)
{
    struct sip_values values = sip_values(m, SIP_VIA);
    struct str value;

    return sip_values_next(&values, &value) && sip_values_next(&values, &value) && sip_parse_via(value, via);
}

/* The way back to who sent the request that our topmost Via stands for. RFC 3261 18.1.2: a response whose topmost Via
 * is not ours is not for us; without the proof anybody could have us say anything to anybody. */
static bool way_back(const struct sip_message *m, struct destination *to)
{
    struct sip_via below;

    return own_via(&m->via, to) && second_via(m, &below);
}

void relay_response(const struct sip_message *m, struct text *out)
{
    struct destination to;
    const char *why;

    if (!way_back(m, &to)) {
        log_debug("response %d dropped: its topmost Via is not ours, or the only one", m->status);
        return;
    }
    text_clear(out);
    text_add_unfolded(out, m->start_line);
    text_add(out, STR("\r\n"));
    via_write(out, m, 1, NULL);
    copy_rest(out, m, false);
    why = out->failed ? "no memory" : reply_send(&to, (struct str){out->data, out->length});
    if (why != NULL)
        log_info("response %d not relayed: %s", m->status, why);
}

void relay_failed(struct str message, const char *reason, struct sip_message *scratch, struct text *out)
{
    struct destination to;
    struct text warning = {0};
    const char *why;

    if (!sip_parse(scratch, message, &why) || !scratch->is_request || str_equal(scratch->method, STR("ACK")) ||
        !way_back(scratch, &to))
        return;
    text_addf(&warning, "Warning: 399 sipd \"%s\"\r\n", reason);
    reply_build(out, scratch, 1, NULL, 503, STR("Service Unavailable"), (struct str){warning.data, warning.length});
    why = out->failed ? "no memory" : reply_send(&to, (struct str){out->data, out->length});
    if (why != NULL)
        log_info("503 not sent: %s", why);
    text_free(&warning);
}
