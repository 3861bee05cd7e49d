/* Answers made by sipd itself; see reply.h. */
#include "reply.h"

#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "log.h"
#include "server.h"

enum { TAG_TEXT = 17 };

static void via_write_marked(struct text *out, const struct sip_via *via, const struct source *source)
{
    struct str rest = via->params, param, value;
    char ip[ADDRESS_TEXT];
    sipwire_addr sent_by;

    text_add(out, STR("Via: "));
    text_add_unfolded(out, (struct str){via->text.s, (size_t)(via->params.s - via->text.s)});
    while (sip_next_param(&rest, &param))
        if (!sip_param(param, "received", &value) && !sip_param(param, "rport", &value))
            text_add_unfolded(out, param);
    /* RFC 3261 18.2.1, RFC 3581 4: where rport is asked for, received is there too */
    if (via->rport >= 0 || !address_of_host(via->host, via->port, &sent_by) ||
        !address_same_ip(&sent_by, &source->remote))
        text_addf(out, ";received=%s", address_ip(&source->remote, false, ip));
    if (via->rport >= 0)
        text_addf(out, ";rport=%u", source->remote.port);
    text_add(out, STR("\r\n"));
}

void via_write(struct text *out, const struct sip_message *m, int skip, const struct source *mark)
{
    const struct sip_header *h = NULL;
    struct str rest, value;
    struct sip_via via;

    while ((h = sip_find(m, SIP_VIA, h)) != NULL) {
        rest = h->value;
        while (skip > 0 && sip_next_value(&rest, &value))
            skip--;
        if (mark != NULL && skip == 0 && sip_next_value(&rest, &value)) {
            if (sip_parse_via(value, &via))
                via_write_marked(out, &via, mark);
            mark = NULL;
        }
        rest = str_trim(rest);
        if (rest.len == 0)
            continue;
        text_add(out, STR("Via: "));
        text_add_unfolded(out, rest);
        text_add(out, STR("\r\n"));
    }
}

static void copy_header(struct text *out, const struct sip_header *h)
{
    if (h == NULL)
        return;
    text_add_unfolded(out, h->line);
    text_add(out, STR("\r\n"));
}

/* The same for each repeat of the request (RFC 3261 8.2.7). */
static void write_tag(const struct sip_message *m, char buffer[TAG_TEXT])
{
    uint64_t tag = HASH(m->call_id ? m->call_id->value : STR(""), m->from_tag);

    snprintf(buffer, TAG_TEXT, "%016llx", (unsigned long long)tag);
}

bool reply_is_ack_of_ours(const struct sip_message *m)
{
    char tag[TAG_TEXT];

    write_tag(m, tag);
    return str_equal(m->method, STR("ACK")) && str_equal(m->to_tag, str_of(tag));
}

void reply_build(struct text *out, const struct sip_message *m, int skip, const struct source *mark, int code,
                 struct str reason, struct str headers)
{
    const struct sip_header *h = NULL;

    text_clear(out);
    text_addf(out, "SIP/2.0 %d %.*s\r\n", code, STR_FMT(reason));
    via_write(out, m, skip, mark);
    while (code > 100 && code < 300 && (h = sip_find(m, SIP_RECORD_ROUTE, h)) != NULL) /* RFC 3261 12.1.1 */
        copy_header(out, h);
    copy_header(out, m->from);
    if (m->to != NULL && m->to_tag.len == 0 && code > 100) {
        char tag[TAG_TEXT];
        write_tag(m, tag);
        text_add_unfolded(out, m->to->line);
        text_addf(out, ";tag=%s\r\n", tag);
    } else {
        copy_header(out, m->to);
    }
    copy_header(out, m->call_id);
    copy_header(out, m->cseq);
    text_add(out, headers);
    text_add(out, STR("Content-Length: 0\r\n\r\n"));
}

struct destination reply_destination(const struct request *r)
{
    struct destination to = {.kind = TO_CONN, .conn_id = r->source.conn_id, .udp_listener = r->source.udp_listener};

    if (r->source.transport == TRANSPORT_UDP) {
        const struct sip_via *via = &r->sip.via;
        to.kind = TO_UDP;
        to.addr = r->source.remote;
        to.local = r->source.local;
        if (via->rport < 0)
            to.addr.port = (uint16_t)(via->port == 0 ? SIP_DEFAULT_PORT : via->port);
    }
    return to;
}

/* The way back that a Via says: transport, received or sent-by, its port; of UDP also rport. */
static bool via_destination(const struct sip_via *via, struct destination *to)
{
    bool udp = str_equal_nocase(via->transport, STR("UDP"));

    *to = (struct destination){.kind = udp ? TO_UDP : TO_TCP, .udp_listener = -1};
    if (!udp && !str_equal_nocase(via->transport, STR("TCP")))
        return false;
    /* Over TCP the source port of a closed connection leads nowhere: rport counts for UDP only. */
    return address_of_host(via->received.len > 0 ? via->received : via->host,
                           udp && via->rport > 0 ? via->rport : via->port, &to->addr);
}

const char *reply_send_by_via(struct str response)
{
    const char *end = response.s + response.len, *via_line = response.s;
    struct destination to;
    struct sip_via via;
    struct str value, rest;
    int32_t code;

    /* Our own writing: the topmost Via is the second line, unfolded. */
    via_line = memchr(response.s, '\n', response.len);
    if (via_line == NULL || end - via_line < 6 || strncmp(via_line + 1, "Via: ", 5) != 0)
        return "no Via";
    rest = (struct str){via_line + 6, (size_t)(end - via_line) - 6};
    via_line = memchr(rest.s, '\r', rest.len);
    if (via_line != NULL)
        rest.len = (size_t)(via_line - rest.s);
    if (!sip_next_value(&rest, &value) || !sip_parse_via(value, &via) || !via_destination(&via, &to))
        return "Via names no address";
    return send_message(&to, response, COOKIE_NONE, &code);
}

const char *reply_send(const struct destination *to, struct str response)
{
    int32_t code;
    const char *why = send_message(to, response, COOKIE_RESPONSE, &code);

    if (why != NULL && to->kind == TO_CONN && code == SIPWIRE_E_NO_CONNECTION)
        why = reply_send_by_via(response);
    return why;
}

const char *reply(const struct request *r, struct text *out, int code, struct str reason, struct str headers)
{
    struct destination to = reply_destination(r);
    const char *why;

    if (str_equal(r->sip.method, STR("ACK")))
        return "an ACK is never answered";
    reply_build(out, &r->sip, 0, &r->source, code, reason, headers);
    if (out->failed)
        return "no memory";
    why = reply_send(&to, (struct str){out->data, out->length});
    if (why != NULL)
        log_info("%d to %.*s not sent: %s", code, STR_FMT(r->sip.method), why);
    return why;
}

bool reply_unsupported(const struct request *r, enum sip_header_id id, struct text *out, const char **unsent)
{
    struct sip_values values = sip_values(&r->sip, id);
    struct text headers = {0};
    struct str tag;

    if (str_equal(r->sip.method, STR("ACK")) || str_equal(r->sip.method, STR("CANCEL")))
        return false;
    while (sip_values_next(&values, &tag)) {
        text_add(&headers, headers.length == 0 ? STR("Unsupported: ") : STR(", "));
        text_add_unfolded(&headers, tag);
    }
    if (headers.length == 0 && !headers.failed)
        return false;
    text_add(&headers, STR("\r\n"));
    *unsent = headers.failed ? "no memory"
                             : reply(r, out, 420, STR("Bad Extension"), (struct str){headers.data, headers.length});
    text_free(&headers);
    return true;
}
