/* Aliases; see alias.h. One table for all processes. Its entries are hints: whether the connection lives and is the peer's
 * is asked when one is used, so nothing is taken out. */
#include "alias.h"

#include <stdlib.h>
#include <strings.h>

#include "address.h"

enum { WAYS = 4 }; /* entries of a bucket; the newest alias takes the place of the oldest */

struct bucket {
    gen_lock_t lock;
    unsigned next;
    struct alias {
        sipwire_addr addr;
        uint32_t conn_id;
    } aliases[WAYS];
};

static struct bucket *buckets;
static uint32_t bucket_count;
static bool accepted; /* of the core's setting, as this process has last seen it */

bool alias_init(void)
{
    char text[32] = "";

    sipwire_get(instance, "max_connections", text, sizeof text);
    bucket_count = (uint32_t)atoi(text) / 2 + 16;
    buckets = shm_malloc(bucket_count * sizeof *buckets);
    if (buckets == NULL) {
        LM_ERR("no shared memory for aliases: more is given by -m\n");
        return false;
    }
    memset(buckets, 0, bucket_count * sizeof *buckets);
    for (uint32_t i = 0; i < bucket_count; i++)
        lock_init(&buckets[i].lock);
    return true;
}

/* The core would look for the connection among its own, and complain that there is none. Where the script runs for ours, the
 * core's setting is off. */
void alias_follow_core(void)
{
    static struct cfg_group_tcp here;

    if (tcp_cfg == &here)
        return;
    here = *(struct cfg_group_tcp *)tcp_cfg;
    accepted = here.accept_aliases;
    here.accept_aliases = 0;
    tcp_cfg = &here;
}

static struct bucket *bucket_of(const sipwire_addr *addr)
{
    uint32_t hash = 2166136261u ^ addr->port;

    for (size_t i = 0; i < sizeof addr->ip; i++)
        hash = (hash ^ addr->ip[i]) * 16777619u;
    return &buckets[(hash ^ hash >> 16) % bucket_count];
}

static void learn(const sipwire_addr *addr, uint32_t conn_id)
{
    struct bucket *bucket = bucket_of(addr);
    struct alias *place = NULL;

    lock_get(&bucket->lock);
    for (int i = 0; i < WAYS && place == NULL; i++)
        if (address_same(&bucket->aliases[i].addr, addr))
            place = &bucket->aliases[i];
    if (place == NULL)
        place = &bucket->aliases[bucket->next++ % WAYS];
    *place = (struct alias){*addr, conn_id};
    lock_release(&bucket->lock);
}

/* The first value of the first Via, up to its end or the next value; NULL: none. */
static const char *top_via(const char *data, size_t *length)
{
    for (const char *line = strchr(data, '\n'); line != NULL && line[1] != '\r' && line[1] != '\n'; line = strchr(line, '\n')) {
        line++;
        size_t name = strncasecmp(line, "Via", 3) == 0 ? 3 : (line[0] | 0x20) == 'v' ? 1 : 0;
        if (name == 0 || line[name + strspn(line + name, " \t")] != ':')
            continue;
        *length = strcspn(line, ",\r\n");
        return line;
    }
    return NULL;
}

/* The port of a Via with the alias parameter; 0: it has none. */
static uint16_t alias_port(const char *via, size_t length)
{
    const char *end = via + length, *params, *colon;
    long port = 0;

    for (params = memchr(via, ';', length); params != NULL; params = memchr(params + 1, ';', (size_t)(end - params - 1))) {
        const char *name = params + 1 + strspn(params + 1, " \t");
        if (strncasecmp(name, "alias", 5) == 0 && strchr(";= \t\r\n,", name[5]) != NULL)
            break;
    }
    if (params == NULL)
        return 0;
    /* sent-by is the last word before the parameters: HOST, HOST:PORT, [IPV6]:PORT */
    params = memchr(via, ';', length);
    colon = memrchr(via, ':', (size_t)(params - via));
    if (colon != NULL && memchr(colon, ']', (size_t)(params - colon)) == NULL)
        port = strtol(colon + 1, NULL, 10);
    return port > 0 && port <= UINT16_MAX ? (uint16_t)port : SIP_PORT;
}

void alias_learn(const sipwire_message *message)
{
    sipwire_addr addr = message->remote;
    const char *via;
    size_t length;

    if (!accepted || strncmp(message->data, "SIP/", 4) == 0 || (via = top_via(message->data, &length)) == NULL)
        return;
    addr.port = alias_port(via, length);
    if (addr.port != 0 && addr.port != message->remote.port)
        learn(&addr, message->conn_id);
}

uint32_t alias_find(const sipwire_addr *remote, const sipwire_addr *local)
{
    sipwire_conn_info info = {.struct_size = sizeof info};
    struct bucket *bucket;
    uint32_t conn_id = 0;
    int32_t result;

    if (!cfg_get(tcp, tcp_cfg, accept_aliases) && !accepted)
        return 0;
    bucket = bucket_of(remote);
    lock_get(&bucket->lock);
    for (int i = 0; i < WAYS; i++)
        if (address_same(&bucket->aliases[i].addr, remote))
            conn_id = bucket->aliases[i].conn_id;
    lock_release(&bucket->lock);
    if (conn_id == 0)
        return 0;
    TAKING_PART(result, sipwire_conn_info_get(instance, conn_id, &info));
    /* Its number may be another connection's by now. */
    if (result < 0 || (info.flags & SIPWIRE_CONN_CLOSING) || !address_same_ip(&info.remote, remote))
        return 0;
    return local->family == 0 || address_same_ip(&info.local, local) ? conn_id : 0;
}
