/* One worker's or receiver's own things: its Lua state, the request it is at, buffers. Never shared between threads. Made
 * by main.c in the thread or process that uses it; used by receive.c and script*.c. */
#ifndef SIPD_ENGINE_H
#define SIPD_ENGINE_H
#include <lua.h>
#include "registrar.h"
#include "reply.h"

struct engine {
    lua_State *lua;
    int number; /* msg.worker */
    struct request request;
    uint64_t serial; /* of the request that the script sees: a msg kept for later is known as stale */
    bool in_route;
    bool settled; /* answered finally, relayed, or to be answered later: a script error adds no 500 */
    struct text out, headers;
    struct way *ways; /* that the script was told of for this request: ways.h */
    size_t way_count, way_capacity;
};

struct engine *engine_new(int number); /* NULL: the script did not load; logged */
void engine_free(struct engine *e);
#endif
