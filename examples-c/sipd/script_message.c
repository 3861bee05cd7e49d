/* `msg`, the request as the script sees it. A userdata that is good for one call of route(): the message lies in the
 * worker's buffer and is gone afterwards. Called by Lua. */
#include <lauxlib.h>
#include <string.h>

#include "delayed.h"
#include "log.h"
#include "relay.h"
#include "route.h"
#include "save.h"
#include "script.h"
#include "shared.h"
#include "ways.h"

#define MESSAGE_TYPE "sipd.message"

enum { MAX_DELAY_S = 86400 };

static struct engine *check_message(lua_State *lua)
{
    const uint64_t *serial = luaL_checkudata(lua, 1, MESSAGE_TYPE);
    struct engine *e = script_engine(lua);

    if (!e->in_route || *serial != e->serial)
        luaL_error(lua, "this msg is over: it cannot be used after its route() returned");
    return e;
}

/* true, or nil and the reason */
static int push_result(lua_State *lua, const char *why)
{
    if (why == NULL) {
        lua_pushboolean(lua, 1);
        return 1;
    }
    lua_pushnil(lua);
    lua_pushstring(lua, why);
    return 2;
}

void script_push_way(lua_State *lua, struct engine *e, const struct destination *to, const char *contact)
{
    const char *name = way_name(e, to, contact);

    if (name == NULL)
        luaL_error(lua, "no memory");
    lua_pushstring(lua, name);
}

static void push_str(lua_State *lua, struct str s)
{
    lua_pushlstring(lua, s.s, s.len);
}

static int message_header(lua_State *lua)
{
    struct engine *e = check_message(lua);
    size_t length;
    const char *name = luaL_checklstring(lua, 2, &length);
    const struct sip_header *h = sip_find_name(&e->request.sip, (struct str){name, length});

    if (h == NULL) {
        lua_pushnil(lua);
        return 1;
    }
    text_clear(&e->out);
    text_add_unfolded(&e->out, h->value);
    push_str(lua, (struct str){e->out.data != NULL ? e->out.data : "", e->out.length});
    return 1;
}

/* Text of the script that becomes part of a line of a message. */
static struct str check_line(lua_State *lua, int index, int argument)
{
    struct str s;

    s.s = luaL_checklstring(lua, index, &s.len);
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.s[i] < ' ' && s.s[i] != '\t')
            luaL_argerror(lua, argument, "a control character cannot be part of a header");
    return s;
}

static struct str check_reason(lua_State *lua, int argument)
{
    return lua_isnoneornil(lua, argument) ? STR("") : check_line(lua, argument, argument);
}

static int check_code(lua_State *lua, int argument)
{
    lua_Integer code = luaL_checkinteger(lua, argument);

    luaL_argcheck(lua, code >= 100 && code <= 699, argument, "a SIP status is 100 to 699");
    return (int)code;
}

/* What an answer has from its request, and its length: a second one would mislead whoever reads the stream. */
static bool is_our_header(struct str name)
{
    switch (sip_header_id(name)) {
    case SIP_CALL_ID:
    case SIP_CONTENT_LENGTH:
    case SIP_CSEQ:
    case SIP_FROM:
    case SIP_TO:
    case SIP_VIA:
        return true;
    default:
        return false;
    }
}

static struct str check_name(lua_State *lua, int argument)
{
    struct str name;

    if (lua_type(lua, -2) != LUA_TSTRING)
        luaL_argerror(lua, argument, "header names are strings");
    name.s = lua_tolstring(lua, -2, &name.len);
    if (!sip_is_token(name))
        luaL_argerror(lua, argument, lua_pushfstring(lua, "'%s' cannot be the name of a header", name.s));
    if (is_our_header(name))
        luaL_argerror(lua, argument, lua_pushfstring(lua, "%s is written by reply itself", name.s));
    return name;
}

/* {["Header"] = "value"} into e->headers, not a local buffer: an error of Lua jumps out of here. */
static void read_headers(lua_State *lua, struct engine *e, int argument)
{
    text_clear(&e->headers);
    if (lua_isnoneornil(lua, argument))
        return;
    luaL_checktype(lua, argument, LUA_TTABLE);
    lua_pushnil(lua);
    while (lua_next(lua, argument) != 0) {
        text_add(&e->headers, check_name(lua, argument));
        text_add(&e->headers, STR(": "));
        text_add(&e->headers, check_line(lua, -1, argument));
        text_add(&e->headers, STR("\r\n"));
        lua_pop(lua, 1);
    }
}

static int message_reply(lua_State *lua)
{
    struct engine *e = check_message(lua);
    int code = check_code(lua, 2);
    struct str reason = check_reason(lua, 3);
    const char *why;

    read_headers(lua, e, 4);
    if (e->headers.failed)
        return push_result(lua, "no memory");
    why = reply(&e->request, &e->out, code, reason, (struct str){e->headers.data, e->headers.length});
    if (why == NULL && code >= 200)
        e->settled = true;
    return push_result(lua, why);
}

static int message_reply_after(lua_State *lua)
{
    struct engine *e = check_message(lua);
    lua_Number seconds = luaL_checknumber(lua, 2);
    int code = check_code(lua, 3);
    struct str reason = check_reason(lua, 4);
    struct destination to = reply_destination(&e->request);
    const char *why;

    luaL_argcheck(lua, seconds >= 0 && seconds <= MAX_DELAY_S, 2, "0 to 86400 seconds");
    if (str_equal(e->request.sip.method, STR("ACK")))
        return push_result(lua, "an ACK is never answered");
    reply_build(&e->out, &e->request.sip, 0, &e->request.source, code, reason, STR(""));
    if (e->out.failed)
        return push_result(lua, "no memory");
    why = delayed_put(now_ms() + (uint64_t)(seconds * 1000), &to, (struct str){e->out.data, e->out.length});
    if (why == NULL && code >= 200)
        e->settled = true;
    return push_result(lua, why);
}

static int message_relay(lua_State *lua)
{
    struct engine *e = check_message(lua);
    const char *target = luaL_checkstring(lua, 2), *why;
    const struct way *way = way_find(e, target);
    struct destination to;

    if (way == NULL && !destination_parse(target, &to))
        return push_result(lua, "bad target, should be tcp:IP:PORT, udp:IP:PORT or conn:ID");
    why = relay_request(&e->request, way != NULL ? &way->to : &to, str_of(way != NULL ? way->contact : ""), &e->out);
    if (why == NULL)
        e->settled = true;
    else
        log_info("%.*s not relayed to %s: %s", STR_FMT(e->request.sip.method), target, why);
    return push_result(lua, why);
}

static int message_save(lua_State *lua)
{
    struct engine *e = check_message(lua);

    return push_result(lua, save(&e->request, &e->out, &e->settled));
}

/* The fields. False: no such. */
static bool push_field(lua_State *lua, struct engine *e, const char *name)
{
    const struct sip_message *m = &e->request.sip;
    const struct source *source = &e->request.source;
    char text[ADDRESS_TEXT];
    struct destination to;
    struct sip_uri uri;

    if (strcmp(name, "method") == 0) {
        push_str(lua, m->method);
    } else if (strcmp(name, "ruri") == 0) {
        push_str(lua, m->ruri);
    } else if (strncmp(name, "ruri_", 5) == 0) {
        bool parsed = sip_parse_uri(m->ruri, &uri);
        if (parsed && strcmp(name, "ruri_user") == 0 && uri.user.len > 0)
            push_str(lua, uri.user);
        else if (parsed && strcmp(name, "ruri_host") == 0)
            push_str(lua, uri.host);
        else if (parsed && strcmp(name, "ruri_port") == 0 && uri.port > 0)
            lua_pushinteger(lua, uri.port);
        else
            return false;
    } else if (strcmp(name, "source_ip") == 0) {
        lua_pushstring(lua, address_ip(&source->remote, false, text));
    } else if (strcmp(name, "source_port") == 0) {
        lua_pushinteger(lua, source->remote.port);
    } else if (strcmp(name, "transport") == 0) {
        lua_pushstring(lua, transport_name(source->transport));
    } else if (strcmp(name, "conn_id") == 0 && source->transport == TRANSPORT_TCP) {
        lua_pushinteger(lua, source->conn_id);
    } else if (strcmp(name, "worker") == 0) {
        lua_pushinteger(lua, e->number);
    } else if (strcmp(name, "next_hop") == 0) {
        switch (route_next_hop(&e->request, &to)) {
        case NEXT_HOP_UNSAID:
            return false;
        case NEXT_HOP_KNOWN:
            script_push_way(lua, e, &to, "");
            break;
        case NEXT_HOP_UNREACHABLE: /* not nil: it must not be taken for a request that leaves it to the script */
            lua_pushboolean(lua, 0);
            break;
        }
    } else if (strcmp(name, "next_uri") == 0) {
        push_str(lua, route_next_uri(&e->request));
    } else {
        return false;
    }
    return true;
}

static int message_index(lua_State *lua)
{
    struct engine *e = check_message(lua);

    lua_pushvalue(lua, 2);
    if (lua_rawget(lua, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (lua_type(lua, 2) != LUA_TSTRING || !push_field(lua, e, lua_tostring(lua, 2)))
        lua_pushnil(lua);
    return 1;
}

void script_open_message(lua_State *lua)
{
    static const luaL_Reg methods[] = {
        {"header", message_header}, {"reply", message_reply}, {"reply_after", message_reply_after},
        {"relay", message_relay},   {"save", message_save},   {NULL, NULL},
    };

    luaL_newmetatable(lua, MESSAGE_TYPE);
    luaL_newlib(lua, methods);
    lua_pushcclosure(lua, message_index, 1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
}

void script_push_message(lua_State *lua)
{
    uint64_t *serial = lua_newuserdatauv(lua, sizeof *serial, 0);

    *serial = script_engine(lua)->serial;
    luaL_setmetatable(lua, MESSAGE_TYPE);
}
