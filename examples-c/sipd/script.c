/* Loading and running the routing script; see script.h. */
#include "script.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "server.h"

struct engine *script_engine(lua_State *lua)
{
    struct engine *e;

    memcpy(&e, lua_getextraspace(lua), sizeof e);
    return e;
}

static int traceback(lua_State *lua)
{
    luaL_traceback(lua, lua, luaL_tolstring(lua, 1, NULL), 1);
    return 1;
}

/* Lua's own allocations fail by an error, so all of the setting up is one protected call. */
static int load(lua_State *lua)
{
    char name[256];

    luaL_openlibs(lua);
    script_open_message(lua);
    script_open_globals(lua);
    snprintf(name, sizeof name, "@%s", server.script_name);
    if (luaL_loadbufferx(lua, server.script, server.script_length, name, "t") != LUA_OK)
        return lua_error(lua);
    lua_call(lua, 0, 0);
    if (lua_getglobal(lua, "route") != LUA_TFUNCTION)
        return luaL_error(lua, "%s: defines no function route(msg)", server.script_name);
    return 0;
}

bool script_load(struct engine *e, char *error, size_t size)
{
    const char *message;

    e->lua = luaL_newstate();
    if (e->lua == NULL) {
        snprintf(error, size, "no memory for a Lua state");
        return false;
    }
    memcpy(lua_getextraspace(e->lua), &e, sizeof e);
    lua_pushcfunction(e->lua, load);
    if (lua_pcall(e->lua, 0, 0, 0) == LUA_OK)
        return true;
    message = lua_tostring(e->lua, -1);
    snprintf(error, size, "%s", message != NULL ? message : "script failed");
    return false;
}

static int call_route(lua_State *lua)
{
    lua_getglobal(lua, "route");
    script_push_message(lua);
    lua_call(lua, 1, 0);
    return 0;
}

void script_route(struct engine *e)
{
    const char *message;

    e->serial++;
    e->in_route = true;
    e->settled = false;
    e->way_count = 0;
    lua_settop(e->lua, 0);
    lua_pushcfunction(e->lua, traceback);
    lua_pushcfunction(e->lua, call_route);
    if (lua_pcall(e->lua, 0, 0, 1) != LUA_OK) {
        message = lua_tostring(e->lua, -1);
        log_error("script: %s", message != NULL ? message : "unknown error");
        if (!e->settled)
            reply(&e->request, &e->out, 500, STR("Script Error"), STR(""));
    }
    e->in_route = false;
}

struct engine *engine_new(int number)
{
    struct engine *e = calloc(1, sizeof *e);
    char error[512];

    if (e == NULL)
        return NULL;
    e->number = number;
    if (!script_load(e, error, sizeof error)) {
        log_error("%s", error);
        engine_free(e);
        return NULL;
    }
    return e;
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    if (e->lua != NULL)
        lua_close(e->lua);
    text_free(&e->out);
    text_free(&e->headers);
    free(e->ways);
    free(e);
}
