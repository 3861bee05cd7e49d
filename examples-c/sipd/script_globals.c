/* The script's global functions: lookup, sleep, log, stats. Called by Lua. */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "script.h"
#include "server.h"

/* lookup(aor) -> the ways to its contacts, best first; nil: none. aor: "user", "user@host" or a URI. */
static int global_lookup(lua_State *lua)
{
    struct engine *e = script_engine(lua);
    struct binding bindings[REGISTRAR_CONTACTS];
    struct str aor, uri_text, params;
    struct sip_uri uri;
    const char *at;
    size_t count;

    aor.s = luaL_checklstring(lua, 1, &aor.len);
    /* As a URI first: without <> a ';' in the user part would begin the parameters of a header. */
    if (sip_parse_uri(aor, &uri) || (sip_name_addr(aor, &uri_text, &params) && sip_parse_uri(uri_text, &uri)))
        aor = uri.user;
    else if ((at = memchr(aor.s, '@', aor.len)) != NULL)
        aor.len = (size_t)(at - aor.s);
    count = registrar_lookup(aor, bindings);
    for (size_t i = 0; i < count; i++) {
        sip_make_request_uri(bindings[i].contact);
        script_push_way(lua, e, &bindings[i].to, bindings[i].contact);
    }
    if (count == 0)
        lua_pushnil(lua);
    return count == 0 ? 1 : (int)count;
}

/* Blocks this worker, as a slow script does: what waits for it is the library's business. */
static int global_sleep(lua_State *lua)
{
    lua_Number seconds = luaL_checknumber(lua, 1);
    struct timespec left;

    luaL_argcheck(lua, seconds >= 0 && seconds <= 86400, 1, "0 to 86400 seconds");
    left.tv_sec = (time_t)seconds;
    left.tv_nsec = (long)((seconds - (lua_Number)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    return 0;
}

static int global_log(lua_State *lua)
{
    log_notice("script: %s", luaL_tolstring(lua, 1, NULL));
    return 0;
}

#define COUNTERS(X) \
    X(connections) X(connections_idle) X(queued_bytes) X(partial_bytes) X(blocks_used) X(blocks_total) \
    X(slots_used) X(slots_total) X(participants) X(workers) X(blacklist_entries) X(supervisor_pid) \
    X(accept_paused) X(degraded) X(accepted) X(dialled) X(connected) X(connect_failed) X(closed) \
    X(refused_max_connections) X(refused_max_connections_per_ip) X(refused_proxy) X(proxy_waiting) X(accept_pauses) \
    X(handoffs) X(givebacks) X(relends) X(nofd_returns) X(fds_passed) \
    X(messages_in) X(bytes_in) X(messages_out) X(bytes_out) X(pings) X(error_answers) \
    X(sends_direct) X(sends_queued) X(sends_refused) X(async_started) X(async_ended) \
    X(failures_reported) X(failures_repeated) X(messages_lost_report) X(blacklist_added) X(blacklist_refused) \
    X(participants_died) X(log_dropped) X(callbacks_running) X(pings_sent) X(pongs_heard) X(flows_failed)
#define WORKER_COUNTERS(X) X(worker) X(running) X(stalled) X(pid) X(held) X(lends) X(messages) X(busy_ms)

static void set_number(lua_State *lua, const char *name, uint64_t value)
{
    lua_pushinteger(lua, (lua_Integer)value);
    lua_setfield(lua, -2, name);
}

static void push_workers(lua_State *lua)
{
    lua_newtable(lua);
    for (int i = 0; i < server.workers; i++) {
        sipwire_worker_stats w = {.struct_size = sizeof w};
        if (sipwire_worker_stats_get(server.instance, i, &w) < 0)
            continue;
        lua_newtable(lua);
#define SET(name) set_number(lua, #name, (uint64_t)w.name);
        WORKER_COUNTERS(SET)
#undef SET
        lua_rawseti(lua, -2, i + 1);
    }
}

/* stats() -> every member of sipwire_stats by its name; `workers` becomes the array of each worker's own figures, their
 * number is its length. */
static int global_stats(lua_State *lua)
{
    sipwire_stats stats = {.struct_size = sizeof stats};

    lua_newtable(lua);
    if (server.instance == NULL || sipwire_stats_get(server.instance, &stats) < 0)
        return 1;
#define SET(name) set_number(lua, #name, stats.name);
    COUNTERS(SET)
#undef SET
    lua_newtable(lua);
    for (int32_t reason = 0; reason < SIPWIRE_REASON_COUNT; reason++)
        if (reason <= SIPWIRE_REASON_NO_CONNECTION || stats.closed_by_reason[reason] > 0)
            set_number(lua, sipwire_reason_text(reason), stats.closed_by_reason[reason]);
    lua_setfield(lua, -2, "closed_by_reason");
    push_workers(lua);
    lua_setfield(lua, -2, "workers");
    return 1;
}

void script_open_globals(lua_State *lua)
{
    lua_register(lua, "lookup", global_lookup);
    lua_register(lua, "sleep", global_sleep);
    lua_register(lua, "log", global_log);
    lua_register(lua, "stats", global_stats);
}
