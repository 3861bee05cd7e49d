/* The parser of whole SIP messages; see sip.h. Called for each message that arrives and each one that failed. */
#include "sip.h"

#include <string.h>

static const struct {
    const char *name, *compact;
    enum sip_header_id id;
} known[] = {
    {"Via", "v", SIP_VIA},
    {"From", "f", SIP_FROM},
    {"To", "t", SIP_TO},
    {"Call-ID", "i", SIP_CALL_ID},
    {"CSeq", NULL, SIP_CSEQ},
    {"Contact", "m", SIP_CONTACT},
    {"Content-Length", "l", SIP_CONTENT_LENGTH},
    {"Max-Forwards", NULL, SIP_MAX_FORWARDS},
    {"Route", NULL, SIP_ROUTE},
    {"Record-Route", NULL, SIP_RECORD_ROUTE},
    {"Expires", NULL, SIP_EXPIRES},
    {"Proxy-Require", NULL, SIP_PROXY_REQUIRE},
    {"Require", NULL, SIP_REQUIRE},
    /* only for their compact forms */
    {"Content-Type", "c", SIP_OTHER},
    {"Content-Encoding", "e", SIP_OTHER},
    {"Supported", "k", SIP_OTHER},
    {"Subject", "s", SIP_OTHER},
    {"Event", "o", SIP_OTHER},
    {"Allow-Events", "u", SIP_OTHER},
    {"Refer-To", "r", SIP_OTHER},
    {"Referred-By", "b", SIP_OTHER},
    {"Accept-Contact", "a", SIP_OTHER},
    {"Reject-Contact", "j", SIP_OTHER},
    {"Request-Disposition", "d", SIP_OTHER},
    {"Session-Expires", "x", SIP_OTHER},
    {"Identity", "y", SIP_OTHER},
};
enum { KNOWN = sizeof known / sizeof *known };

/* Index in `known`, or -1. */
static int known_name(struct str name)
{
    for (int i = 0; i < KNOWN; i++)
        if (str_equal_nocase(name, str_of(known[i].name)) ||
            (known[i].compact != NULL && str_equal_nocase(name, str_of(known[i].compact))))
            return i;
    return -1;
}

enum sip_header_id sip_header_id(struct str name)
{
    int i = known_name(name);

    return i < 0 ? SIP_OTHER : known[i].id;
}

bool sip_is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr("-.!%*_+`'~", c) != NULL)))
            return false;
    }
    return s.len > 0;
}

/* One line off *rest, its end (CRLF or a bare LF) not counted. With `folded` the lines that begin with white space
 * belong to it. False: no line end in sight, or a CR alone, which the next hop could take for a line end. */
static bool next_line(struct str *rest, bool folded, struct str *line)
{
    const char *end = rest->s + rest->len, *at = rest->s, *newline;

    do {
        newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (newline == NULL)
            return false;
        for (const char *cr = at; (cr = memchr(cr, '\r', (size_t)(newline - cr))) != NULL; cr++)
            if (cr + 1 != newline)
                return false;
        at = newline + 1;
    } while (folded && at < end && (*at == ' ' || *at == '\t'));
    *line = (struct str){rest->s, (size_t)(newline - rest->s)};
    if (line->len > 0 && line->s[line->len - 1] == '\r')
        line->len--;
    *rest = (struct str){at, (size_t)(end - at)};
    return true;
}

static bool parse_start_line(struct sip_message *m)
{
    struct str line = m->start_line, version;
    const char *space = memchr(line.s, ' ', line.len), *second;
    unsigned long status;

    if (space == NULL)
        return false;
    if (line.len >= 11 && str_equal_nocase((struct str){line.s, 8}, STR("SIP/2.0 "))) {
        if (!str_number((struct str){line.s + 8, 3}, 699, &status) || status < 100 ||
            (line.len > 11 && line.s[11] != ' '))
            return false;
        m->status = (int)status;
        return true;
    }
    m->method = (struct str){line.s, (size_t)(space - line.s)};
    second = memchr(space + 1, ' ', line.len - m->method.len - 1);
    if (second == NULL)
        return false;
    m->ruri = (struct str){space + 1, (size_t)(second - space - 1)};
    version = str_trim((struct str){second + 1, (size_t)(line.s + line.len - second - 1)});
    m->is_request = true;
    for (size_t i = 0; i < m->ruri.len; i++)
        if ((unsigned char)m->ruri.s[i] < ' ' || m->ruri.s[i] == 0x7f)
            return false; /* the next hop could take it for an end */
    return sip_is_token(m->method) && m->ruri.len > 0 && str_equal_nocase(version, STR("SIP/2.0"));
}

static bool parse_cseq(struct sip_message *m)
{
    struct str value = m->cseq->value;
    size_t digits = 0;

    while (digits < value.len && value.s[digits] >= '0' && value.s[digits] <= '9')
        digits++;
    m->cseq_method = str_trim((struct str){value.s + digits, value.len - digits});
    /* RFC 3261 8.1.1.5: less than 2**31 */
    return str_number((struct str){value.s, digits}, 0x7fffffff, &m->cseq_number) && m->cseq_method.len > 0 &&
           (!m->is_request || str_equal(m->cseq_method, m->method));
}

/* The headers up to the empty line. */
static bool parse_headers(struct sip_message *m, struct str *rest, const char **why)
{
    struct str line;

    for (;;) {
        struct sip_header *h = &m->headers[m->header_count];
        const char *colon;

        if (!next_line(rest, true, &line))
            return *why = "Bad Line End", false;
        if (line.len == 0)
            return true;
        if (m->header_count == SIP_MAX_HEADERS)
            return *why = "Too Many Headers", false;
        colon = memchr(line.s, ':', line.len);
        if (colon == NULL)
            return *why = "Header Without Colon", false;
        h->line = line;
        h->name = (struct str){line.s, (size_t)(colon - line.s)};
        while (h->name.len > 0 && (h->name.s[h->name.len - 1] == ' ' || h->name.s[h->name.len - 1] == '\t'))
            h->name.len--;
        if (!sip_is_token(h->name))
            return *why = "Bad Header Name", false;
        h->value = str_trim((struct str){colon + 1, (size_t)(line.s + line.len - colon - 1)});
        h->id = sip_header_id(h->name);
        m->header_count++;
    }
}

static struct str tag_of(const struct sip_header *h)
{
    struct str uri, params, tag;

    if (h != NULL && sip_name_addr(h->value, &uri, &params) && sip_param(params, "tag", &tag))
        return tag;
    return (struct str){"", 0};
}

static bool parse_body(struct sip_message *m, struct str rest)
{
    const struct sip_header *h = NULL;
    unsigned long length, first = 0;
    bool seen = false;

    m->body = rest;
    while ((h = sip_find(m, SIP_CONTENT_LENGTH, h)) != NULL) {
        if (!str_number(h->value, rest.len, &length) || (seen && length != first))
            return false; /* not a number, more than there is, or two that differ (RFC 4475 3.3.9) */
        first = length;
        seen = true;
    }
    if (seen)
        m->body.len = first; /* what a datagram holds after it is not ours (RFC 3261 18.3) */
    return true;
}

bool sip_parse(struct sip_message *m, struct str data, const char **why)
{
    struct str rest = data, value;
    const struct sip_header *via;
    bool headers_read;

    memset(m, 0, offsetof(struct sip_message, headers));
    m->all = data;
    m->method = m->ruri = m->from_tag = m->to_tag = m->cseq_method = m->via.text = STR("");
    while (rest.len > 0 && (*rest.s == '\r' || *rest.s == '\n')) /* RFC 3261 7.5 */
        rest.s++, rest.len--;
    if (!next_line(&rest, false, &m->start_line))
        return *why = "Bad Start Line", false;
    if (!parse_start_line(m))
        return *why = "Bad Start Line", false;
    headers_read = parse_headers(m, &rest, why);
    via = sip_find(m, SIP_VIA, NULL);
    m->from = sip_find(m, SIP_FROM, NULL);
    m->to = sip_find(m, SIP_TO, NULL);
    m->call_id = sip_find(m, SIP_CALL_ID, NULL);
    m->cseq = sip_find(m, SIP_CSEQ, NULL);
    m->from_tag = tag_of(m->from);
    m->to_tag = tag_of(m->to);
    if (via == NULL || (value = via->value, !sip_next_value(&value, &m->via.text)) ||
        !sip_parse_via(m->via.text, &m->via)) {
        m->via.text = STR("");
        if (headers_read)
            *why = "Bad Via";
        return false;
    }
    if (!headers_read)
        return false;
    if (m->from == NULL || m->to == NULL || m->call_id == NULL || m->call_id->value.len == 0 || m->cseq == NULL)
        return *why = "Missing From, To, Call-ID or CSeq", false;
    if (!parse_cseq(m))
        return *why = "Bad CSeq", false;
    if (!parse_body(m, rest))
        return *why = "Bad Content-Length", false;
    return true;
}

const struct sip_header *sip_find(const struct sip_message *m, enum sip_header_id id, const struct sip_header *after)
{
    for (size_t i = after == NULL ? 0 : (size_t)(after - m->headers) + 1; i < m->header_count; i++)
        if (m->headers[i].id == id)
            return &m->headers[i];
    return NULL;
}

const struct sip_header *sip_find_name(const struct sip_message *m, struct str name)
{
    int i = known_name(name);

    for (size_t k = 0; k < m->header_count; k++)
        if (str_equal_nocase(m->headers[k].name, name) || (i >= 0 && known_name(m->headers[k].name) == i))
            return &m->headers[k];
    return NULL;
}
