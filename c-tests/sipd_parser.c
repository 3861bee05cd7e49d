/* The SIP parser of the example host sipd, against well-formed, odd and hostile input. Plain asserts, exit code 0 when all
 * hold. Meant for -fsanitize=address,undefined: every buffer is an exact copy on the heap, one byte too far is seen.
 * Build with examples-c/sipd/{sip,sip_values,text}.c and -Iexamples-c/sipd. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sip.h"

static struct sip_message m;
static const char *why;

static struct str heap_copy(const char *data, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);

    assert(copy != NULL);
    memcpy(copy, data, length);
    return (struct str){copy, length};
}

/* Keeps what the last call parsed alive until the next one. */
static bool parse(const char *text)
{
    static char *last;
    struct str copy = heap_copy(text, strlen(text));

    free(last);
    last = (char *)copy.s;
    return sip_parse(&m, copy, &why);
}

static bool is(struct str s, const char *text)
{
    return str_equal(s, str_of(text));
}

#define REST "From: <sip:a@h>;tag=ft\r\nTo: <sip:b@h>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n"
#define INVITE "INVITE sip:bob@10.0.0.1:5070;transport=tcp SIP/2.0\r\n"
#define VIA "Via: SIP/2.0/TCP 10.1.1.1:5062;branch=z9hG4bKa;rport\r\n"

static void request_line_and_mandatory_headers(void)
{
    assert(parse(INVITE VIA REST "Content-Length: 4\r\n\r\nbody"));
    assert(m.is_request && is(m.method, "INVITE") && is(m.ruri, "sip:bob@10.0.0.1:5070;transport=tcp"));
    assert(is(m.via.host, "10.1.1.1") && m.via.port == 5062 && m.via.rport == 0 && is(m.via.branch, "z9hG4bKa"));
    assert(is(m.from_tag, "ft") && m.to_tag.len == 0 && m.cseq_number == 7 && is(m.cseq_method, "INVITE"));
    assert(is(m.body, "body") && m.header_count == 6);
}

static void status_line(void)
{
    assert(parse("SIP/2.0 180 Ringing there\r\n" VIA REST "\r\n"));
    assert(!m.is_request && m.status == 180 && is(m.start_line, "SIP/2.0 180 Ringing there"));
    assert(parse("SIP/2.0 200\r\n" VIA REST "\r\n") && m.status == 200);
    assert(!parse("SIP/2.0 99 x\r\n" VIA REST "\r\n"));
    assert(!parse("SIP/2.0 2000 x\r\n" VIA REST "\r\n"));
}

static void compact_forms_folding_and_odd_white_space(void)
{
    const struct sip_header *h;

    assert(parse("OPTIONS sip:h SIP/2.0\r\nv  :\tSIP / 2.0 /\r\n TCP  h.example \t: 99 ;branch = z9hG4bKq\r\n"
                 "f: \"a, <b\" <sip:a@h> ;\r\n tag = x\r\nt: sip:b@h;tag=y\r\ni: c\r\nCSEQ: 1\r\n\tOPTIONS\r\n"
                 "s: one\r\n two\r\nl: 0\r\n\r\n"));
    assert(is(m.via.transport, "TCP") && is(m.via.host, "h.example") && m.via.port == 99 && is(m.via.branch, "z9hG4bKq"));
    assert(m.via.rport == -1 && is(m.from_tag, "x") && is(m.to_tag, "y"));
    h = sip_find_name(&m, STR("subject"));
    assert(h != NULL && is(h->name, "s") && is(h->value, "one\r\n two"));
    assert(sip_find_name(&m, STR("S")) == h && sip_find_name(&m, STR("VIA")) == &m.headers[0]);
    assert(sip_find_name(&m, STR("Route")) == NULL && sip_find_name(&m, STR("")) == NULL);
}

static void bare_line_feeds_are_line_ends_and_bare_carriage_returns_are_not(void)
{
    assert(parse("OPTIONS sip:h SIP/2.0\nVia: SIP/2.0/UDP h\nFrom: <sip:a@h>;tag=1\nTo: <sip:b@h>\n"
                 "Call-ID: c\nCSeq: 1 OPTIONS\n\n"));
    assert(!parse("OPTIONS sip:h SIP/2.0\r\nSubject: a\rRoute: <sip:evil>\r\n" VIA REST "\r\n"));
    assert(parse("\r\n\r\n" INVITE VIA REST "\r\n")); /* RFC 3261 7.5 */
}

static void what_is_missing_is_named(void)
{
    static const struct {
        const char *text, *why;
        bool can_answer;
    } cases[] = {
        {"", "Bad Start Line", false},
        {"\r\n", "Bad Start Line", false},
        {"INVITE\r\n\r\n", "Bad Start Line", false},
        {"INVITE sip:h\r\n\r\n", "Bad Start Line", false},
        {"INVITE sip:h SIP/3.0\r\n" VIA REST "\r\n", "Bad Start Line", false},
        {"IN{ITE sip:h SIP/2.0\r\n" VIA REST "\r\n", "Bad Start Line", false},
        {INVITE REST "\r\n", "Bad Via", false},
        {INVITE "Via: SIP/2.0/TCP\r\n" REST "\r\n", "Bad Via", false},
        {INVITE "Via: ,\r\n" REST "\r\n", "Bad Via", false},
        {INVITE "Via: SIP/2.0/TCP h:70000\r\n" REST "\r\n", "Bad Via", false},
        {INVITE VIA REST, "Bad Line End", true},
        {INVITE VIA REST "nonsense\r\n\r\n", "Header Without Colon", true},
        {INVITE VIA REST "bad name: x\r\n\r\n", "Bad Header Name", true},
        {INVITE VIA REST ": x\r\n\r\n", "Bad Header Name", true},
        {INVITE VIA "From: <sip:a@h>\r\nTo: <sip:b@h>\r\nCSeq: 1 INVITE\r\n\r\n", "Missing From, To, Call-ID or CSeq", true},
        {INVITE VIA "From: <sip:a@h>\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n", "Bad CSeq", true},
        {INVITE VIA "From: <sip:a@h>\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 4294967296 INVITE\r\n\r\n", "Bad CSeq", true},
        {INVITE VIA "From: <sip:a@h>\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: INVITE\r\n\r\n", "Bad CSeq", true},
        {INVITE VIA REST "Content-Length: 1\r\n\r\n", "Bad Content-Length", true},
        {INVITE VIA REST "Content-Length: 5x\r\n\r\nhello", "Bad Content-Length", true},
        {INVITE VIA REST "Content-Length: 1\r\nl: 2\r\n\r\nhello", "Bad Content-Length", true},
        {INVITE VIA REST "Content-Length: 99999999999999999999999\r\n\r\nhello", "Bad Content-Length", true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (parse(cases[i].text) || strcmp(why, cases[i].why) != 0 || (m.via.text.len > 0) != cases[i].can_answer) {
            fprintf(stderr, "case %zu: %s\n", i, why);
            abort();
        }
    }
    assert(parse(INVITE VIA REST "Content-Length: 2\r\nl: 2\r\n\r\nhello") && is(m.body, "he"));
}

static void too_many_headers_are_refused(void)
{
    struct text t = {0};

    text_add(&t, STR(INVITE VIA REST));
    for (int i = 0; i < SIP_MAX_HEADERS; i++)
        text_add(&t, STR("X: y\r\n"));
    text_add(&t, STR("\r\n"));
    assert(!sip_parse(&m, (struct str){t.data, t.length}, &why) && strcmp(why, "Too Many Headers") == 0);
    text_free(&t);
}

static void values_of_a_list(void)
{
    struct str rest = STR(" \"a,b\\\",\" <sip:x,y@h;p=1> ;q=1, , <sip:z>,"), value;

    assert(sip_next_value(&rest, &value) && is(value, "\"a,b\\\",\" <sip:x,y@h;p=1> ;q=1"));
    assert(sip_next_value(&rest, &value) && is(value, "<sip:z>"));
    assert(!sip_next_value(&rest, &value));
}

static void values_of_several_headers(void)
{
    struct sip_values values;
    struct str value;

    assert(parse("OPTIONS sip:h SIP/2.0\r\nRoute: <sip:a>,\r\n <sip:b>\r\n" VIA "From: <sip:a@h>\r\nTo: <sip:b@h>\r\n"
                 "Call-ID: c\r\nroute:\r\nCSeq: 1 OPTIONS\r\nROUTE: , <sip:c;lr>;x\r\n\r\n"));
    values = sip_values(&m, SIP_ROUTE);
    assert(sip_values_next(&values, &value) && is(value, "<sip:a>"));
    assert(sip_values_next(&values, &value) && is(value, "<sip:b>"));
    assert(sip_values_next(&values, &value) && is(value, "<sip:c;lr>;x"));
    assert(!sip_values_next(&values, &value));
    values = sip_values(&m, SIP_PROXY_REQUIRE);
    assert(!sip_values_next(&values, &value));
}

static void names_of_headers(void)
{
    assert(sip_header_id(STR("v")) == SIP_VIA && sip_header_id(STR("VIA")) == SIP_VIA);
    assert(sip_header_id(STR("proxy-require")) == SIP_PROXY_REQUIRE && sip_header_id(STR("s")) == SIP_OTHER);
    assert(sip_header_id(STR("X")) == SIP_OTHER && sip_header_id(STR("")) == SIP_OTHER);
    assert(sip_is_token(STR("a-.!%*_+`'~9")) && !sip_is_token(STR("")) && !sip_is_token(STR("a b")));
    assert(!sip_is_token(STR("a:")) && !sip_is_token(STR("a\0b")) && !sip_is_token(STR("\xe9")));
}

static void one_parameter_after_the_other(void)
{
    struct str rest = STR("x ;a;b=\"1;2\" ; c ;"), one;

    assert(sip_next_param(&rest, &one) && is(one, ";a"));
    assert(sip_next_param(&rest, &one) && is(one, ";b=\"1;2\" "));
    assert(sip_next_param(&rest, &one) && is(one, "; c "));
    assert(sip_next_param(&rest, &one) && is(one, ";"));
    assert(!sip_next_param(&rest, &one) && !sip_next_param(&rest, &one));
}

static void parameters(void)
{
    struct str value, params = STR(";lr;Expires = 60 ;x=\"a;b=c\";y");

    assert(sip_param(params, "lr", &value) && value.len == 0);
    assert(sip_param(params, "expires", &value) && is(value, "60"));
    assert(sip_param(params, "x", &value) && is(value, "\"a;b=c\""));
    assert(sip_param(params, "Y", &value) && value.len == 0);
    assert(!sip_param(params, "b", &value) && !sip_param(STR(""), "b", &value) && !sip_param(STR(";"), "b", &value));
}

static void uris(void)
{
    struct sip_uri uri;
    struct str text, params;

    assert(sip_parse_uri(STR("sip:al;ice?x:secret@[::1]:5070;transport=tcp?h=v"), &uri));
    assert(is(uri.user, "al;ice?x") && is(uri.host, "[::1]") && uri.port == 5070 && is(uri.params, ";transport=tcp"));
    assert(sip_parse_uri(STR("SIPS:host"), &uri) && uri.user.len == 0 && is(uri.host, "host") && uri.port == 0);
    assert(sip_parse_uri(STR("sip:h?x=y"), &uri) && is(uri.host, "h") && uri.params.len == 0);
    assert(!sip_parse_uri(STR("tel:+123"), &uri) && !sip_parse_uri(STR("sip:"), &uri) && !sip_parse_uri(STR(""), &uri));
    assert(!sip_parse_uri(STR("sip:a@"), &uri) && !sip_parse_uri(STR("sip:a@[::1"), &uri));
    assert(!sip_parse_uri(STR("sip:h:x"), &uri));
    assert(!sip_parse_uri(STR("sip:a@h\r\n ;x"), &uri) && !sip_parse_uri(STR("sip:a@h;x=\"y\""), &uri));
    assert(!sip_parse_uri(STR("sip:a@h >"), &uri) && !sip_parse_uri(STR("sip:a@h\x7f"), &uri));
    assert(sip_name_addr(STR("\"<\" <sip:a@h;x=1>;tag=t"), &text, &params));
    assert(is(text, "sip:a@h;x=1") && is(params, ";tag=t"));
    assert(sip_name_addr(STR("sip:a@h;tag=t"), &text, &params) && is(text, "sip:a@h") && is(params, ";tag=t"));
    assert(!sip_name_addr(STR("<sip:a"), &text, &params) && !sip_name_addr(STR(""), &text, &params));
}

static void numbers(void)
{
    unsigned long n;

    assert(str_number(STR("65535"), 65535, &n) && n == 65535);
    assert(!str_number(STR("65536"), 65535, &n) && !str_number(STR("5"), 0, &n) && !str_number(STR(""), 9, &n));
    assert(!str_number(STR("-1"), 9, &n) && !str_number(STR("1 "), 9, &n) && str_number(STR("0"), 0, &n));
}

/* Every piece that the parser hands out lies inside the message. */
static void inside(struct str part, struct str whole)
{
    if (part.len > 0)
        assert(part.s >= whole.s && part.s + part.len <= whole.s + whole.len);
}

static void use_all(struct str data)
{
    struct str rest, value, text, params, found;
    struct sip_values values;
    struct sip_uri uri;
    struct sip_via via;

    if (sip_parse(&m, data, &why)) {
        inside(m.body, data);
        inside(m.ruri, data);
        assert(m.from != NULL && m.to != NULL && m.call_id != NULL && m.cseq != NULL && m.via.host.len > 0);
    }
    for (size_t i = 0; i < m.header_count; i++) {
        inside(m.headers[i].line, data);
        inside(m.headers[i].value, data);
        rest = m.headers[i].value;
        while (sip_next_value(&rest, &value)) {
            inside(value, data);
            if (sip_parse_via(value, &via)) {
                inside(via.params, data);
                inside(via.branch, data);
            }
            if (sip_name_addr(value, &text, &params)) {
                inside(text, data);
                sip_param(params, "tag", &found);
                while (sip_next_param(&params, &found))
                    inside(found, data);
                if (sip_parse_uri(text, &uri)) {
                    inside(uri.host, data);
                    inside(uri.user, data);
                }
            }
        }
    }
    values = sip_values(&m, SIP_ROUTE);
    while (sip_values_next(&values, &value))
        inside(value, data);
    sip_parse_uri(data, &uri);
}

/* Deterministic: the same changes in every run. */
static uint32_t next_random(void)
{
    static uint64_t state = 20090701;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void mutations_never_leave_the_message(void)
{
    static const char seed[] =
        "INVITE sip:bob:pw@[2001:db8::1]:5070;transport=tcp?a=b SIP/2.0\r\n"
        "v: SIP/2.0/TCP [::1]:5062;branch=z9hG4bKa;rport=1;received=\"x;,y\\\"\",SIP / 2.0 / UDP h\r\n"
        "Via: SIP/2.0/TCP 10.0.0.1;sw=t40000001.00\r\nf: \"a\\\",<\" <sip:a@h;x>;tag=1\r\nTo: sip:b@h;tag=2\r\n"
        "Call-ID:\r\n folded\r\nCSeq: 1 INVITE\r\nRoute: <sip:sw-t1-n0-0@h;lr>, <sip:z>\r\nMax-Forwards: 70\r\n"
        "m: *\r\nContact: \"q\" <sip:c@1.2.3.4:5>;expires=60, <sip:d>\r\nContent-Length: 3\r\n\r\nabc";
    static const char bytes[] = "\r\n\t ,;:<>\"\\@[]/=*?\0 0z";
    char work[sizeof seed * 2];

    for (size_t cut = 0; cut < sizeof seed; cut++) { /* every prefix */
        struct str copy = heap_copy(seed, cut);
        use_all(copy);
        free((char *)copy.s);
    }
    for (int round = 0; round < 60000; round++) {
        size_t length = sizeof seed - 1;
        memcpy(work, seed, length);
        for (uint32_t n = next_random() % 6 + 1; n > 0; n--) {
            size_t at = next_random() % length;
            size_t span = next_random() % 20 + 1;
            switch (next_random() % 4) {
            case 0:
                work[at] = bytes[next_random() % (sizeof bytes - 1)];
                break;
            case 1:
                work[at] = (char)next_random();
                break;
            case 2: /* remove */
                if (at + span < length) {
                    memmove(work + at, work + at + span, length - at - span);
                    length -= span;
                }
                break;
            default: /* repeat */
                if (at + span < length && length + span < sizeof work) {
                    memmove(work + at + span, work + at, length - at);
                    length += span;
                }
            }
        }
        struct str copy = heap_copy(work, length);
        use_all(copy);
        free((char *)copy.s);
    }
}

int main(void)
{
    request_line_and_mandatory_headers();
    status_line();
    compact_forms_folding_and_odd_white_space();
    bare_line_feeds_are_line_ends_and_bare_carriage_returns_are_not();
    what_is_missing_is_named();
    too_many_headers_are_refused();
    values_of_a_list();
    values_of_several_headers();
    names_of_headers();
    one_parameter_after_the_other();
    parameters();
    uris();
    numbers();
    mutations_never_leave_the_message();
    parse("");
    puts("sipd_parser: all cases passed");
    return 0;
}
