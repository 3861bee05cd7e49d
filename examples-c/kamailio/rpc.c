/* The RPC; see rpc.h. No lock of the library's is held by any of it: it has none. */
#include "rpc.h"

#include <limits.h>

#include "address.h"
#include "statistics.h"

enum { PAGE = 50, LONGEST_PAGE = 500 }; /* kamcmd takes 128 KB at once */

static const char *owner_name(int32_t owner)
{
    static const char *const names[] = {"supervisor", "on its way", "worker", "worker", "ending"};

    return owner >= 0 && owner <= SIPWIRE_OWNER_RETIRING ? names[owner] : "?";
}

static const char *state_name(uint32_t flags)
{
    if (flags & SIPWIRE_CONN_CLOSING)
        return "closing";
    if (flags & SIPWIRE_CONN_CONNECTING)
        return "connecting";
    if (flags & SIPWIRE_CONN_HALF_CLOSED)
        return "half-closed";
    return flags & SIPWIRE_CONN_ASYNC ? "queueing" : "open";
}

/* An int where it fits one: not every client of the RPC has a longer number. */
static void add_number(rpc_t *rpc, void *structure, const char *name, uint64_t value)
{
    if (value <= INT_MAX)
        rpc->struct_add(structure, "d", name, (int)value);
    else
        rpc->struct_printf(structure, (char *)name, "%llu", (unsigned long long)value);
}

static void add_address(rpc_t *rpc, void *structure, const char *name, const sipwire_addr *addr)
{
    char text[ADDRESS_TEXT];

    rpc->struct_add(structure, "s", name, address_text(addr, text));
}

static void add_connection(rpc_t *rpc, void *structure, const sipwire_conn_info *info)
{
    add_number(rpc, structure, "id", info->conn_id);
    add_address(rpc, structure, "remote", &info->remote);
    add_address(rpc, structure, "local", &info->local);
    rpc->struct_add(structure, "s", "state", state_name(info->flags));
    rpc->struct_add(structure, "s", "dir", info->flags & SIPWIRE_CONN_OUTBOUND ? "out" : "in");
    rpc->struct_add(structure, "s", "owner", owner_name(info->owner));
    rpc->struct_add(structure, "d", "worker", (int)info->worker);
    add_number(rpc, structure, "age_ms", info->age_ms);
    add_number(rpc, structure, "queued", info->queued_bytes);
}

static void *add_structure(rpc_t *rpc, void *context)
{
    void *structure = NULL;

    if (rpc->add(context, "{", &structure) < 0) {
        rpc->fault(context, 500, "no memory for the answer");
        return NULL;
    }
    return structure;
}

static void info(rpc_t *rpc, void *context)
{
    sipwire_worker_stats worker = {.struct_size = sizeof worker};
    sipwire_stats stats = {.struct_size = sizeof stats};
    void *structure = add_structure(rpc, context), *all, *one;
    sipwire_addr addr;

    if (structure == NULL || sipwire_stats_get(instance, &stats) < 0)
        return;
    rpc->struct_add(structure, "s", "version", sipwire_version_string());
    add_number(rpc, structure, "supervisor_pid", stats.supervisor_pid);
    add_number(rpc, structure, "connections", stats.connections);
    add_number(rpc, structure, "queued_bytes", stats.queued_bytes);
    add_number(rpc, structure, "blacklisted", stats.blacklist_entries);
    /* Each in a list: a JSON object has a name once. */
    if (rpc->struct_add(structure, "[", "listeners", &all) < 0)
        return;
    for (int32_t i = 0; i < sipwire_listener_count(instance); i++)
        if (sipwire_listener_addr(instance, i, &addr) >= 0)
            add_address(rpc, all, "listener", &addr);
    if (rpc->struct_add(structure, "[", "workers", &all) < 0)
        return;
    for (int32_t i = 0; sipwire_worker_stats_get(instance, i, &worker) >= 0; i++) {
        if (rpc->struct_add(all, "{", "worker", &one) < 0)
            return;
        rpc->struct_add(one, "d", "number", (int)i);
        add_number(rpc, one, "pid", worker.pid);
        add_number(rpc, one, "held", worker.held);
        add_number(rpc, one, "messages", worker.messages);
        add_number(rpc, one, "busy_ms", worker.busy_ms);
        rpc->struct_add(one, "s", "stalled", worker.stalled ? "yes" : "no");
    }
}

static void stats(rpc_t *rpc, void *context)
{
    sipwire_stats stats = {.struct_size = sizeof stats};
    void *structure = add_structure(rpc, context);
    const char *name;
    uint64_t value;

    if (structure == NULL || sipwire_stats_get(instance, &stats) < 0)
        return;
    for (int i = 0; (name = statistic(&stats, i, &value)) != NULL; i++)
        add_number(rpc, structure, name, value);
}

/* Where to begin and how many, both optional. */
static bool scan_page(rpc_t *rpc, void *context, uint32_t *cursor, int *count)
{
    int from = 0;

    *count = PAGE;
    if (rpc->scan(context, "*dd", &from, count) < 0 || from < 0 || *count < 1 || *count > LONGEST_PAGE) {
        rpc->fault(context, 400, "should be: [where to go on, a \"next\" of before [how many, 1 to %d]]", LONGEST_PAGE);
        return false;
    }
    *cursor = (uint32_t)from;
    return true;
}

/* The last one of a page says where the next page begins. */
static void add_next(rpc_t *rpc, void *context, uint32_t cursor)
{
    void *structure;

    if (cursor != 0 && (structure = add_structure(rpc, context)) != NULL)
        add_number(rpc, structure, "next", cursor);
}

static void list(rpc_t *rpc, void *context)
{
    static sipwire_conn_info page[LONGEST_PAGE];
    uint32_t cursor;
    int32_t found;
    void *structure;
    int count;

    if (!scan_page(rpc, context, &cursor, &count))
        return;
    page[0].struct_size = sizeof *page;
    TAKING_PART(found, sipwire_conn_list(instance, &cursor, page, (size_t)count));
    if (found < 0) {
        rpc->fault(context, 500, "%s", sipwire_strerror(found));
        return;
    }
    for (int32_t i = 0; i < found && (structure = add_structure(rpc, context)) != NULL; i++)
        add_connection(rpc, structure, &page[i]);
    add_next(rpc, context, cursor);
}

static bool scan_id(rpc_t *rpc, void *context, uint32_t *id)
{
    int number;

    if (rpc->scan(context, "d", &number) < 1) {
        rpc->fault(context, 400, "should be: ID, as sipwire.list shows it");
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

static void conn(rpc_t *rpc, void *context)
{
    sipwire_conn_info info = {.struct_size = sizeof info};
    void *structure;
    uint32_t id;
    int32_t result;

    if (!scan_id(rpc, context, &id))
        return;
    TAKING_PART(result, sipwire_conn_info_get(instance, id, &info));
    if (result < 0) {
        rpc->fault(context, 404, "%s", sipwire_strerror(result));
        return;
    }
    if ((structure = add_structure(rpc, context)) == NULL)
        return;
    add_connection(rpc, structure, &info);
    add_number(rpc, structure, "idle_ms", info.idle_ms);
    add_number(rpc, structure, "lifetime_ms", info.lifetime_ms);
    add_number(rpc, structure, "partial_bytes", info.partial_bytes);
    add_number(rpc, structure, "bytes_in", info.bytes_in);
    add_number(rpc, structure, "bytes_out", info.bytes_out);
    add_number(rpc, structure, "messages_in", info.messages_in);
    add_number(rpc, structure, "messages_out", info.messages_out);
    rpc->struct_add(structure, "d", "pending_answers", (int)info.pending_answers);
}

static void close_connection(rpc_t *rpc, void *context)
{
    uint32_t id;
    int32_t result;

    if (!scan_id(rpc, context, &id))
        return;
    TAKING_PART(result, sipwire_conn_close(instance, id));
    if (result < 0)
        rpc->fault(context, 404, "%s", sipwire_strerror(result));
    else
        rpc->rpl_printf(context, "closing");
}

static void set(rpc_t *rpc, void *context)
{
    char *key, *value, line[256], now[64];

    if (rpc->scan(context, "s.s", &key, &value) < 2) {
        rpc->fault(context, 400, "should be: KEY VALUE");
        return;
    }
    if (sipwire_set(instance, key, value, line, sizeof line) < 0) {
        rpc->fault(context, 400, "%s", line);
        return;
    }
    sipwire_get(instance, key, now, sizeof now);
    rpc->rpl_printf(context, "%s is %s", key, now);
}

static void get(rpc_t *rpc, void *context)
{
    char *key, now[64];

    if (rpc->scan(context, "s", &key) < 1)
        rpc->fault(context, 400, "should be: KEY");
    else if (sipwire_get(instance, key, now, sizeof now) < 0)
        rpc->fault(context, 404, "there is no setting %s", key);
    else
        rpc->rpl_printf(context, "%s", now);
}

static void blacklist(rpc_t *rpc, void *context)
{
    static sipwire_blacklist_entry page[LONGEST_PAGE];
    uint32_t cursor;
    int32_t found;
    void *structure;
    int count;

    if (!scan_page(rpc, context, &cursor, &count))
        return;
    page[0].struct_size = sizeof *page;
    found = sipwire_blacklist_list(instance, &cursor, page, (size_t)count);
    for (int32_t i = 0; i < found && (structure = add_structure(rpc, context)) != NULL; i++) {
        add_address(rpc, structure, "address", &page[i].addr);
        rpc->struct_add(structure, "s", "reason", sipwire_reason_text(page[i].reason));
        add_number(rpc, structure, "remaining_ms", page[i].remaining_ms);
    }
    add_next(rpc, context, cursor);
}

#define DOC(name, text) static const char *name##_doc[] = {text, NULL}
DOC(info, "Version, processes, listeners.");
DOC(stats, "All statistics.");
DOC(list, "Connections, a page of them: [NEXT [COUNT]]. The last entry has the next page's NEXT, if there is one.");
DOC(conn, "All about one connection: ID.");
DOC(close_connection, "Closes a connection when what was queued on it is written: ID.");
DOC(set, "Changes a setting while running: KEY VALUE.");
DOC(get, "What a setting is: KEY.");
DOC(blacklist, "Destinations that failed and are not dialled now: [NEXT [COUNT]].");

bool rpc_register_all(void)
{
    static rpc_export_t methods[] = {
        {"sipwire.info", info, info_doc, 0},
        {"sipwire.stats", stats, stats_doc, 0},
        {"sipwire.list", list, list_doc, RET_ARRAY},
        {"sipwire.conn", conn, conn_doc, 0},
        {"sipwire.close", close_connection, close_connection_doc, 0},
        {"sipwire.set", set, set_doc, 0},
        {"sipwire.get", get, get_doc, 0},
        {"sipwire.blacklist", blacklist, blacklist_doc, RET_ARRAY},
        {NULL, NULL, NULL, 0},
    };

    if (rpc_register_array(methods) != 0) {
        LM_ERR("the core does not take the RPC methods\n");
        return false;
    }
    return true;
}
