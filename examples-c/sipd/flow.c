/* Flow tokens; see flow.h. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

static const char digits[] = "0123456789abcdef";

struct flow flow_of_source(const struct source *source)
{
    if (source->transport == TRANSPORT_TCP)
        return (struct flow){.kind = 't', .id = source->conn_id};
    return (struct flow){.kind = 'u', .id = (uint32_t)source->udp_listener, .local = source->local};
}

struct flow flow_of_destination(const struct destination *to)
{
    return to->kind == TO_CONN ? (struct flow){.kind = 't', .id = to->conn_id} : (struct flow){.kind = 'n'};
}

static size_t ip_bytes(const sipwire_addr *a)
{
    return a->family == 0 ? 0 : a->family == 4 ? 4 : 16;
}

/* A letter and hexadecimal digits; of UDP '_' and those of the address. Returns the length. */
static size_t write_flow(char *buffer, size_t size, const struct flow *flow)
{
    size_t length = (size_t)snprintf(buffer, size, flow->kind == 'u' ? "%c%x_" : "%c%x", flow->kind, flow->id);

    for (size_t i = 0; flow->kind == 'u' && i < ip_bytes(&flow->local); i++)
        length += (size_t)snprintf(buffer + length, size - length, "%02x", flow->local.ip[i]);
    return length;
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

static bool read_char(struct str *rest, char c)
{
    if (rest->len == 0 || rest->s[0] != c)
        return false;
    *rest = (struct str){rest->s + 1, rest->len - 1};
    return true;
}

static bool read_flow(struct str *rest, struct flow *flow)
{
    sipwire_addr *local = &flow->local;
    int digit, count;

    if (rest->len < 2 || memchr("tun", rest->s[0], 3) == NULL)
        return false;
    *flow = (struct flow){.kind = rest->s[0]};
    *rest = (struct str){rest->s + 1, rest->len - 1};
    for (count = 0; count < 8 && (digit = read_digit(rest)) >= 0; count++)
        flow->id = flow->id * 16 + (uint32_t)digit;
    if (count == 0 || flow->kind != 'u')
        return count > 0;
    if (!read_char(rest, '_'))
        return false;
    for (count = 0; count < 32 && (digit = read_digit(rest)) >= 0; count++)
        local->ip[count / 2] = (uint8_t)(local->ip[count / 2] * 16 + digit);
    local->family = count == 8 ? 4 : count == 32 ? 6 : 0;
    return true;
}

void flow_write_via(struct flow source, struct str branch, char buffer[FLOW_TEXT])
{
    size_t length = write_flow(buffer, FLOW_TEXT, &source);
    uint64_t proof = HASH(STR("via"), (struct str){buffer, length}, branch);

    snprintf(buffer + length, FLOW_TEXT - length, ".%016llx", (unsigned long long)proof);
}

bool flow_read_via(struct str value, struct str branch, struct flow *source)
{
    char expected[FLOW_TEXT];
    struct str rest = value;

    if (!read_flow(&rest, source))
        return false;
    flow_write_via(*source, branch, expected);
    return str_equal(value, str_of(expected));
}

void flow_write_route(struct flow source, struct flow target, struct str tag, char buffer[FLOW_TEXT])
{
    size_t length = (size_t)snprintf(buffer, FLOW_TEXT, "sw-");
    uint64_t proof;

    length += write_flow(buffer + length, FLOW_TEXT - length, &source);
    buffer[length++] = '-';
    length += write_flow(buffer + length, FLOW_TEXT - length, &target);
    proof = HASH(STR("route"), (struct str){buffer, length}, tag);
    snprintf(buffer + length, FLOW_TEXT - length, "-%016llx", (unsigned long long)proof);
}

bool flow_is_route(struct str user)
{
    return user.len > 3 && memcmp(user.s, "sw-", 3) == 0;
}

bool flow_read_route(struct str user, struct str tag, struct flow *source, struct flow *target)
{
    char expected[FLOW_TEXT];
    struct str rest = user;

    if (!flow_is_route(user))
        return false;
    rest = (struct str){user.s + 3, user.len - 3};
    if (!read_flow(&rest, source) || !read_char(&rest, '-') || !read_flow(&rest, target))
        return false;
    flow_write_route(*source, *target, tag, expected);
    return str_equal(user, str_of(expected));
}
