/* Loose routing; see route.h. */
#include "route.h"

#include "flow.h"
#include "listeners.h"
#include "registrar.h"

static bool route_uri(struct str value, struct sip_uri *uri, struct str *text)
{
    struct str params;

    return sip_name_addr(value, text, &params) && sip_parse_uri(*text, uri);
}

/* Counts the topmost entries of ours; *token: the user part of the last one. */
static int own_entries(const struct sip_message *m, struct str *token, struct str *next)
{
    const struct sip_header *h = NULL;
    struct str rest, value, text;
    struct sip_uri uri;
    int count = 0;

    *next = STR("");
    *token = STR("");
    while ((h = sip_find(m, SIP_ROUTE, h)) != NULL) {
        rest = h->value;
        while (sip_next_value(&rest, &value)) {
            if (!route_uri(value, &uri, &text)) {
                *next = value; /* not a SIP URI: not ours, and nowhere we can go */
                return count;
            }
            if (!listeners_own(uri.host, uri.port) && !flow_is_route(uri.user)) {
                *next = text;
                return count;
            }
            *token = uri.user;
            count++;
        }
    }
    return count;
}

int route_own_count(const struct sip_message *m, struct str *next)
{
    struct str token;

    return own_entries(m, &token, next);
}

void route_write(struct text *out, const struct sip_message *m, int skip)
{
    const struct sip_header *h = NULL;
    struct str rest, value;

    while ((h = sip_find(m, SIP_ROUTE, h)) != NULL) {
        rest = h->value;
        while (skip > 0 && sip_next_value(&rest, &value))
            skip--;
        rest = str_trim(rest);
        if (rest.len == 0)
            continue;
        text_add(out, STR("Route: "));
        text_add_unfolded(out, rest);
        text_add(out, STR("\r\n"));
    }
}

static bool starts_dialog(const struct sip_message *m)
{
    return m->to_tag.len == 0 && (str_equal(m->method, STR("INVITE")) || str_equal(m->method, STR("SUBSCRIBE")) ||
                                  str_equal(m->method, STR("REFER")));
}

static void record(struct text *out, const char *token, const sipwire_addr *addr, enum transport transport)
{
    char text[ADDRESS_TEXT];

    text_addf(out, "Record-Route: <sip:%s@%s;transport=%s;lr>\r\n", token, address_text(addr, text),
              transport_name(transport));
}

void route_record(struct text *out, const struct request *r, const struct destination *to, const sipwire_addr *sent_by)
{
    enum transport leaves = to->kind == TO_UDP ? TRANSPORT_UDP : TRANSPORT_TCP;
    char token[FLOW_TEXT];
    sipwire_addr came_to;

    if (!starts_dialog(&r->sip))
        return;
    flow_write_route(flow_of_source(&r->source), flow_of_destination(to), r->sip.from_tag, token);
    record(out, token, sent_by, leaves);
    if (leaves != r->source.transport &&
        listeners_sent_by(r->source.transport, &r->source.remote, &r->source.local, &came_to))
        record(out, token, &came_to, r->source.transport);
}

/* The flow to the other end of the dialog, when our Record-Route comes back in this request. */
static bool dialog_flow(const struct request *r, struct str token, struct destination *to)
{
    struct flow source, target, flow;
    sipwire_conn_info info;

    if (flow_read_route(token, r->sip.from_tag, &source, &target))
        flow = target;
    else if (flow_read_route(token, r->sip.to_tag, &source, &target))
        flow = source;
    else
        return false;
    if (flow.kind != 't' || !conn_is_alive(flow.id, &info))
        return false;
    *to = (struct destination){.kind = TO_CONN, .conn_id = flow.id, .udp_listener = -1};
    return true;
}

static bool uri_destination(const struct sip_uri *uri, struct destination *to)
{
    struct str transport;

    *to = (struct destination){.kind = TO_UDP, .udp_listener = -1};
    if (!str_equal_nocase(uri->scheme, STR("sip")) || !address_of_host(uri->host, uri->port, &to->addr))
        return false;
    if (sip_param(uri->params, "transport", &transport)) {
        if (str_equal_nocase(transport, STR("tcp")))
            to->kind = TO_TCP;
        else if (!str_equal_nocase(transport, STR("udp")))
            return false;
    } else if (listener_first(TRANSPORT_UDP, &to->addr) < 0) {
        to->kind = TO_TCP; /* RFC 3263 4.1 says UDP, and we have none */
    }
    return true;
}

bool route_next_hop(const struct request *r, struct destination *to)
{
    struct str token, next, text;
    struct sip_uri uri;
    int own = own_entries(&r->sip, &token, &next);

    if (next.len > 0)
        return route_uri(next, &uri, &text) && uri_destination(&uri, to);
    if (own > 0 && dialog_flow(r, token, to))
        return true;
    if (registrar_find_contact(r->sip.ruri, to))
        return true;
    /* A Request-URI that is merely not ours does not count without our Route: the ACK to a refused INVITE has a To tag
     * and must go where the script sent the INVITE. */
    return own > 0 && sip_parse_uri(r->sip.ruri, &uri) && !listeners_own(uri.host, uri.port) && uri_destination(&uri, to);
}
