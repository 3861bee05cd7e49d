/* Flow tokens; see flow.h. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

struct flow flow_of_source(const struct source *source)
{
    if (source->transport == TRANSPORT_TCP)
        return (struct flow){'t', source->conn_id};
    return (struct flow){'u', (uint32_t)source->udp_listener};
}

struct flow flow_of_destination(const struct destination *to)
{
    return to->kind == TO_CONN ? (struct flow){'t', to->conn_id} : (struct flow){'n', 0};
}

/* One flow off the front of *rest: a letter and hexadecimal digits. */
static bool read_flow(struct str *rest, struct flow *flow)
{
    uint64_t id = 0;
    size_t i = 1;

    if (rest->len < 2 || memchr("tun", rest->s[0], 3) == NULL)
        return false;
    for (; i < rest->len && i <= 8; i++) {
        const char *digits = "0123456789abcdef";
        const char *digit = memchr(digits, rest->s[i], 16);
        if (digit == NULL)
            break;
        id = id * 16 + (uint64_t)(digit - digits);
    }
    *flow = (struct flow){rest->s[0], (uint32_t)id};
    *rest = (struct str){rest->s + i, rest->len - i};
    return i > 1;
}

static bool read_char(struct str *rest, char c)
{
    if (rest->len == 0 || rest->s[0] != c)
        return false;
    *rest = (struct str){rest->s + 1, rest->len - 1};
    return true;
}

void flow_write_via(struct flow source, struct str branch, char buffer[FLOW_TEXT])
{
    int length = snprintf(buffer, FLOW_TEXT, "%c%x", source.kind, source.id);
    uint64_t proof = HASH(STR("via"), (struct str){buffer, (size_t)length}, branch);

    snprintf(buffer + length, FLOW_TEXT - (size_t)length, ".%016llx", (unsigned long long)proof);
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
    int length = snprintf(buffer, FLOW_TEXT, "sw-%c%x-%c%x", source.kind, source.id, target.kind, target.id);
    uint64_t proof = HASH(STR("route"), (struct str){buffer, (size_t)length}, tag);

    snprintf(buffer + length, FLOW_TEXT - (size_t)length, "-%016llx", (unsigned long long)proof);
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
