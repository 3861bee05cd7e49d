/* Routing by what a request carries; see route.h. */
#include "route.h"

#include "flow.h"
#include "listeners.h"
#include "registrar.h"
#include "reply.h"

/* Ours is where we listen, and where this request came to: a wildcard listener may have got that address since. */
static bool own_uri(const struct request *r, const struct sip_uri *uri)
{
    sipwire_addr addr;

    return listeners_own(uri->host, uri->port) ||
           (address_of_host(uri->host, uri->port, &addr) && address_equal(&addr, &r->source.local));
}

/* Our Record-Route by its form; whether the token is good is seen when it is read. Ours of before a restart is one. */
static bool own_record_route(const struct request *r, const struct sip_uri *uri)
{
    return own_uri(r, uri) && flow_is_route(uri->user);
}

/* The URI of a Route value; what is no name-addr is returned as it is. False: not a SIP URI. */
static bool route_uri(struct str value, struct str *text, struct sip_uri *uri)
{
    struct str params;

    *text = value;
    return sip_name_addr(value, text, &params) && sip_parse_uri(*text, uri);
}

/* RFC 3261 16.4: a strict router has put our Record-Route into the Request-URI. What stood there is the last Route. */
static void undo_strict_routing(struct request *r, struct str last)
{
    struct sip_uri record_route, target;
    struct str text;

    if (!sip_parse_uri(r->sip.ruri, &record_route) || !own_record_route(r, &record_route) ||
        !route_uri(last, &text, &target))
        return;
    r->sip.ruri = text;
    r->route.token = record_route.user;
    r->route.count--;
}

void route_read(struct request *r)
{
    struct route *route = &r->route;
    struct sip_values values = sip_values(&r->sip, SIP_ROUTE);
    struct str value, last = STR(""), lr;
    struct sip_uri uri;

    *route = (struct route){.token = STR(""), .next = STR("")};
    for (; sip_values_next(&values, &value); last = value)
        route->count++;
    if (route->count > 0)
        undo_strict_routing(r, last);
    values = sip_values(&r->sip, SIP_ROUTE);
    for (; route->own < route->count && sip_values_next(&values, &value); route->own++) {
        bool readable = route_uri(value, &route->next, &uri);
        if (!readable || !own_uri(r, &uri)) {
            route->strict = readable && !sip_param(uri.params, "lr", &lr);
            return;
        }
        route->next = STR("");
        if (own_record_route(r, &uri))
            route->token = uri.user;
    }
}

struct str route_request_uri(const struct request *r, struct str target)
{
    return r->route.strict ? r->route.next : target;
}

static void write_one(struct text *out, const char *before, struct str value, const char *after)
{
    text_addf(out, "Route: %s", before);
    text_add_unfolded(out, value);
    text_addf(out, "%s\r\n", after);
}

void route_write(struct text *out, const struct request *r, struct str target)
{
    struct sip_values values = sip_values(&r->sip, SIP_ROUTE);
    int first = r->route.own + (r->route.strict ? 1 : 0); /* RFC 3261 16.6 step 6: it is in the Request-URI */
    struct str value;

    for (int i = 0; i < r->route.count && sip_values_next(&values, &value); i++)
        if (i >= first)
            write_one(out, "", value, "");
    if (r->route.strict)
        write_one(out, "<", target, ">");
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
    enum transport leaves = to->kind == TO_UDP ? TRANSPORT_UDP : TRANSPORT_TCP, came = r->source.transport;
    struct destination back = reply_destination(r);
    char token[FLOW_TEXT];
    sipwire_addr came_to;

    if (!starts_dialog(&r->sip))
        return;
    flow_write_route(&back, to, r->sip.from_tag, token);
    record(out, token, sent_by, leaves);
    if (listeners_sent_by(came, &r->source.remote, &r->source.local, &came_to) &&
        (leaves != came || !address_equal(sent_by, &came_to)))
        record(out, token, &came_to, came);
}

/* The flow to the other end of the dialog, when our Record-Route comes back in this request. */
static bool dialog_flow(const struct request *r, struct destination *to)
{
    struct destination other;
    sipwire_conn_info info;

    return (flow_read_route(r->route.token, r->sip.from_tag, &other, to) ||
            flow_read_route(r->route.token, r->sip.to_tag, to, &other)) &&
           (to->kind == TO_UDP || (to->kind == TO_CONN && conn_is_alive(to->conn_id, &info)));
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

struct str route_next_uri(const struct request *r)
{
    return r->route.next.len > 0 ? r->route.next : r->sip.ruri;
}

enum next_hop route_next_hop(const struct request *r, struct destination *to)
{
    const struct route *route = &r->route;
    struct sip_uri uri;
    bool readable = sip_parse_uri(route_next_uri(r), &uri);

    if (route->next.len > 0)
        return readable && uri_destination(&uri, to) ? NEXT_HOP_KNOWN : NEXT_HOP_UNREACHABLE;
    if (dialog_flow(r, to))
        return NEXT_HOP_KNOWN;
    /* A phone has come back over another connection in the middle of its dialog. Outside of one, and for a URI of
     * ours, a contact counts for nothing: who registers bob's address as his contact must not get bob's calls. */
    if (route->token.len > 0 && r->sip.to_tag.len > 0 && !(readable && own_uri(r, &uri)) &&
        registrar_find_contact(r->sip.ruri, to))
        return NEXT_HOP_KNOWN;
    /* A Request-URI that is merely not ours does not count without our Route: the ACK to a refused INVITE has a To tag
     * and must go where the script sent the INVITE. */
    if ((route->own == 0 && route->token.len == 0) || (readable && own_uri(r, &uri)))
        return NEXT_HOP_UNSAID;
    if (readable && uri_destination(&uri, to))
        return NEXT_HOP_KNOWN;
    /* With our Record-Route it is the contact of a dialog. A phone that has us as its outbound proxy names users of its
     * domain with our Route alone. */
    return route->token.len > 0 ? NEXT_HOP_UNREACHABLE : NEXT_HOP_UNSAID;
}
