/* Flow tokens; see flow.h. */
#include "flow.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"

static const char digits[] = "0123456789abcdef";

enum { PROOF_DIGITS = 16 };

static size_t ip_bytes(const sipwire_addr *a)
{
    return a->family == 0 ? 0 : a->family == 4 ? 4 : 16;
}

/* Behind what is in the buffer, which has room for every token. */
static void add(char buffer[FLOW_TEXT], const char *format, ...)
{
    size_t length = strlen(buffer);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(buffer + length, FLOW_TEXT - length, format, arguments);
    va_end(arguments);
}

/* '_' and hexadecimal digits; of family 0 none. */
static void add_ip(char buffer[FLOW_TEXT], const sipwire_addr *a)
{
    add(buffer, "_");
    for (size_t i = 0; i < ip_bytes(a); i++)
        add(buffer, "%02x", a->ip[i]);
}

/* A letter and hexadecimal digits: 't' and a connection id; 'u', 0 for any UDP socket or 1 + the listener, our address,
 * the peer's, its port; 'n': not known. */
static void add_flow(char buffer[FLOW_TEXT], const struct destination *to)
{
    if (to->kind == TO_CONN) {
        add(buffer, "t%x", to->conn_id);
    } else if (to->kind == TO_UDP) {
        add(buffer, "u%x", to->udp_listener + 1);
        add_ip(buffer, &to->local);
        add_ip(buffer, &to->addr);
        add(buffer, "_%x", to->addr.port);
    } else {
        add(buffer, "n0");
    }
}

static bool read_char(struct str *rest, char c)
{
    if (rest->len == 0 || rest->s[0] != c)
        return false;
    *rest = (struct str){rest->s + 1, rest->len - 1};
    return true;
}

/* A hexadecimal digit off the front of *rest; -1: it does not begin with one. */
static int read_digit(struct str *rest)
{
    const char *digit = rest->len == 0 ? NULL : memchr(digits, rest->s[0], 16);

    if (digit == NULL)
        return -1;
    *rest = (struct str){rest->s + 1, rest->len - 1};
    return (int)(digit - digits);
}

/* 1 to `most` digits. */
static bool read_number(struct str *rest, int most, uint64_t *number)
{
    int count, digit;

    *number = 0;
    for (count = 0; count < most && (digit = read_digit(rest)) >= 0; count++)
        *number = *number * 16 + (uint64_t)digit;
    return count > 0;
}

static bool read_ip(struct str *rest, sipwire_addr *a)
{
    int count, digit;

    if (!read_char(rest, '_'))
        return false;
    for (count = 0; count < 32 && (digit = read_digit(rest)) >= 0; count++)
        a->ip[count / 2] = (uint8_t)(a->ip[count / 2] * 16 + digit);
    a->family = count == 8 ? 4 : count == 32 ? 6 : 0;
    return a->family != 0 || count == 0;
}

static bool read_flow(struct str *rest, struct destination *to)
{
    uint64_t id, port = 0;

    *to = (struct destination){.udp_listener = -1};
    to->kind = read_char(rest, 't') ? TO_CONN : read_char(rest, 'u') ? TO_UDP : TO_NOWHERE;
    if ((to->kind == TO_NOWHERE && !read_char(rest, 'n')) || !read_number(rest, 8, &id))
        return false;
    if (to->kind == TO_CONN)
        to->conn_id = (uint32_t)id;
    if (to->kind != TO_UDP)
        return true;
    to->udp_listener = (int)id - 1;
    if (!read_ip(rest, &to->local) || !read_ip(rest, &to->addr) || !read_char(rest, '_') ||
        !read_number(rest, 4, &port))
        return false;
    to->addr.port = (uint16_t)port;
    return true;
}

void flow_write_via(const struct destination *back, struct str branch, char buffer[FLOW_TEXT])
{
    buffer[0] = '\0';
    add_flow(buffer, back);
    add(buffer, ".%016llx", (unsigned long long)HASH(STR("via"), str_of(buffer), branch));
}

bool flow_read_via(struct str value, struct str branch, struct destination *back)
{
    char expected[FLOW_TEXT];
    struct str rest = value;

    if (!read_flow(&rest, back))
        return false;
    flow_write_via(back, branch, expected);
    return str_equal(value, str_of(expected));
}

void flow_write_route(const struct destination *source, const struct destination *target, struct str tag,
                      char buffer[FLOW_TEXT])
{
    strcpy(buffer, "sw-");
    add_flow(buffer, source);
    add(buffer, "-");
    add_flow(buffer, target);
    add(buffer, "-%016llx", (unsigned long long)HASH(STR("route"), str_of(buffer), tag));
}

/* The whole form; whether the proof fits is not looked at. */
static bool read_route(struct str rest, struct destination *source, struct destination *target)
{
    uint64_t proof;

    return read_char(&rest, 's') && read_char(&rest, 'w') && read_char(&rest, '-') && read_flow(&rest, source) &&
           read_char(&rest, '-') && read_flow(&rest, target) && read_char(&rest, '-') && rest.len == PROOF_DIGITS &&
           read_number(&rest, PROOF_DIGITS, &proof) && rest.len == 0;
}

bool flow_is_route(struct str user)
{
    struct destination source, target;

    return read_route(user, &source, &target);
}

bool flow_read_route(struct str user, struct str tag, struct destination *source, struct destination *target)
{
    char expected[FLOW_TEXT];

    if (!read_route(user, source, target))
        return false;
    flow_write_route(source, target, tag, expected);
    return str_equal(user, str_of(expected));
}
