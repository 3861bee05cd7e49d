/* The routing script: Lua 5.4, one state for each worker and receiver. Called by main.c and receive.c. */
#ifndef SIPD_SCRIPT_H
#define SIPD_SCRIPT_H
#include "engine.h"

/* A state with the script loaded and route() defined. False: `error` has one line. */
bool script_load(struct engine *e, char *error, size_t size);
/* route(msg) for the request in e->request. An error in it is logged, and answered 500. */
void script_route(struct engine *e);

struct engine *script_engine(lua_State *lua);
void script_open_message(lua_State *lua); /* script_message.c: the metatable of msg */
void script_push_message(lua_State *lua);
/* A way's name, by which msg:relay() finds it again. */
void script_push_way(lua_State *lua, struct engine *e, const struct destination *to, const char *contact);
void script_open_globals(lua_State *lua); /* script_globals.c: lookup, sleep, log, stats */
#endif
