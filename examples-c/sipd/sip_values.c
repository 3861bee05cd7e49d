/* The parser of what stands inside a header: lists, parameters, name-addr, URI, Via; see sip.h.
 * Called by sip.c and by whoever needs a value taken apart. */
#include "sip.h"

#include <stdio.h>
#include <string.h>

/* The place of the first of `stops` outside quotes and, with `angle`, outside <...>; s.len: none. */
static size_t scan(struct str s, const char *stops, bool angle)
{
    bool quoted = false, inside = false;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.s[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (!inside && c != '\0' && strchr(stops, c) != NULL) {
            return i;
        } else if (c == '"' && !inside) {
            quoted = true;
        } else if (angle && (c == '<' || c == '>')) {
            inside = c == '<';
        }
    }
    return s.len;
}

static struct str head(struct str s, size_t length)
{
    return (struct str){s.s, length < s.len ? length : s.len};
}

static struct str tail(struct str s, size_t from)
{
    return from < s.len ? (struct str){s.s + from, s.len - from} : (struct str){s.s + s.len, 0};
}

bool sip_next_value(struct str *rest, struct str *value)
{
    do { /* empty elements are skipped: "a, ,b" */
        size_t comma = scan(*rest, ",", true);
        *value = str_trim(head(*rest, comma));
        *rest = tail(*rest, comma + 1);
    } while (value->len == 0 && rest->len > 0);
    return value->len > 0;
}

struct sip_values sip_values(const struct sip_message *m, enum sip_header_id id)
{
    return (struct sip_values){m, id, NULL, {"", 0}};
}

bool sip_values_next(struct sip_values *values, struct str *value)
{
    while (!sip_next_value(&values->rest, value)) {
        values->at = sip_find(values->m, values->id, values->at);
        if (values->at == NULL)
            return false;
        values->rest = values->at->value;
    }
    return true;
}

bool sip_next_param(struct str *rest, struct str *param)
{
    struct str params = tail(*rest, scan(*rest, ";", false));
    size_t end = params.len == 0 ? 0 : 1 + scan(tail(params, 1), ";", false);

    *param = head(params, end);
    *rest = tail(params, end);
    return param->len > 0;
}

bool sip_param(struct str params, const char *name, struct str *value)
{
    struct str want = str_of(name), one;

    while (sip_next_param(&params, &one)) {
        one = tail(one, 1);
        size_t equals = scan(one, "=", false);
        if (str_equal_nocase(str_trim(head(one, equals)), want)) {
            *value = str_trim(tail(one, equals + 1));
            return true;
        }
    }
    return false;
}

bool sip_name_addr(struct str value, struct str *uri, struct str *params)
{
    size_t open = scan(value, "<", false), close;

    if (open < value.len) {
        struct str after = tail(value, open + 1);
        const char *end = memchr(after.s, '>', after.len);
        if (end == NULL)
            return false;
        close = (size_t)(end - after.s);
        *uri = str_trim(head(after, close));
        *params = str_trim(tail(after, close + 1));
    } else { /* without <> the parameters are the header's (RFC 3261 20) */
        close = scan(value, ";", false);
        *uri = str_trim(head(value, close));
        *params = tail(value, close);
    }
    return uri->len > 0;
}

/* host [":" port], IPv6 in brackets */
static bool parse_host_port(struct str text, struct str *host, int *port)
{
    const char *end;
    unsigned long number;

    text = str_trim(text);
    *port = 0;
    if (text.len > 0 && text.s[0] == '[') {
        end = memchr(text.s, ']', text.len);
        if (end == NULL)
            return false;
        *host = head(text, (size_t)(end - text.s) + 1);
    } else {
        end = memchr(text.s, ':', text.len);
        *host = str_trim(head(text, end == NULL ? text.len : (size_t)(end - text.s)));
    }
    if (host->len == 0)
        return false;
    text = str_trim(tail(text, (size_t)(host->s + host->len - text.s)));
    if (text.len == 0)
        return true;
    if (text.s[0] != ':' || !str_number(str_trim(tail(text, 1)), 65535, &number))
        return false;
    *port = (int)number;
    return true;
}

bool sip_parse_uri(struct str text, struct sip_uri *uri)
{
    const char *colon, *at;
    size_t end;

    *uri = (struct sip_uri){{"", 0}, {"", 0}, {"", 0}, {"", 0}, 0};
    for (end = 0; end < text.len; end++)
        if ((unsigned char)text.s[end] <= ' ' || text.s[end] == 0x7f || memchr("<>\"", text.s[end], 3) != NULL)
            return false;
    colon = memchr(text.s, ':', text.len);
    if (colon == NULL)
        return false;
    uri->scheme = head(text, (size_t)(colon - text.s));
    if (!str_equal_nocase(uri->scheme, STR("sip")) && !str_equal_nocase(uri->scheme, STR("sips")))
        return false;
    text = tail(text, uri->scheme.len + 1);
    /* A user part may hold ';' and '?' (RFC 3261 25.1), a host cannot hold '@': the first '@' ends the user. */
    at = memchr(text.s, '@', text.len);
    if (at != NULL) {
        uri->user = head(text, (size_t)(at - text.s));
        text = tail(text, uri->user.len + 1);
        colon = memchr(uri->user.s, ':', uri->user.len);
        if (colon != NULL) /* a password is no part of who is meant */
            uri->user.len = (size_t)(colon - uri->user.s);
    }
    for (end = 0; end < text.len && text.s[end] != ';' && text.s[end] != '?'; end++)
        ;
    if (!parse_host_port(head(text, end), &uri->host, &uri->port))
        return false;
    uri->params = tail(text, end);
    if (uri->params.len > 0) {
        const char *headers = memchr(uri->params.s, '?', uri->params.len);
        if (headers != NULL)
            uri->params.len = (size_t)(headers - uri->params.s);
    }
    return true;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    const char *digit = memchr(digits, c, sizeof digits - 1);

    return digit == NULL ? -1 : (int)((digit - digits) % 16);
}

/* What "%HH" at the front of s stands for; -1: there is none. */
static int escaped(struct str s)
{
    int high = s.len < 3 || s.s[0] != '%' ? -1 : hex_digit(s.s[1]), low = high < 0 ? -1 : hex_digit(s.s[2]);

    return low < 0 ? -1 : high * 16 + low;
}

bool sip_user_key(struct str user, char *to, size_t size)
{
    size_t length = 0;
    int c;

    for (; user.len > 0; user = tail(user, c < 0 ? 1 : 3)) {
        char one[4] = {user.s[0]};
        c = escaped(user);
        if (c >= 0) /* what means something without its escape keeps it */
            snprintf(one, sizeof one, c <= ' ' || c == 0x7f || strchr(";/?:@&=+$,%", c) ? "%%%02X" : "%c", c);
        if (length + strlen(one) >= size)
            return false;
        strcpy(to + length, one);
        length += strlen(one);
    }
    to[length] = '\0';
    return true;
}

void sip_make_request_uri(char *text)
{
    struct str param, value;
    struct sip_uri uri;
    char *end;

    if (!sip_parse_uri(str_of(text), &uri))
        return;
    end = text + (uri.params.s - text); /* the headers are behind the parameters */
    while (sip_next_param(&uri.params, &param))
        if (!sip_param(param, "method", &value)) {
            memmove(end, param.s, param.len);
            end += param.len;
        }
    *end = '\0';
}

/* Does each quote end? What is written behind one that does not would be inside it. */
static bool quotes_end(struct str s)
{
    bool quoted = false;

    for (size_t i = 0; i < s.len; i++) {
        if (quoted && s.s[i] == '\\')
            i++;
        else if (s.s[i] == '"')
            quoted = !quoted;
    }
    return !quoted;
}

bool sip_parse_via(struct str text, struct sip_via *via)
{
    struct str rest = str_trim(text), part;
    unsigned long number;
    size_t end;

    *via = (struct sip_via){.text = rest, .branch = {"", 0}, .received = {"", 0}, .rport = -1};
    for (int i = 0; i < 2; i++) { /* "SIP" "/" "2.0" "/", white space allowed around each (RFC 3261 25.1) */
        end = scan(rest, "/", false);
        part = str_trim(head(rest, end));
        if (!str_equal_nocase(part, i == 0 ? STR("SIP") : STR("2.0")))
            return false;
        rest = str_trim(tail(rest, end + 1));
    }
    for (end = 0; end < rest.len && memchr(" \t\r\n", rest.s[end], 4) == NULL; end++)
        ;
    via->transport = head(rest, end);
    rest = tail(rest, end);
    end = scan(rest, ";", false);
    via->params = tail(rest, end);
    if (!quotes_end(via->text) || via->transport.len == 0 ||
        !parse_host_port(head(rest, end), &via->host, &via->port))
        return false;
    sip_param(via->params, "branch", &via->branch);
    sip_param(via->params, "received", &via->received);
    if (sip_param(via->params, "rport", &part)) {
        via->rport = 0;
        if (part.len > 0 && str_number(part, 65535, &number))
            via->rport = (int)number;
    }
    return true;
}
