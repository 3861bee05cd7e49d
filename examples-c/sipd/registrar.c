/* The registrar's table; see registrar.h. One robust lock, held for a few memory accesses. A holder that dies inside
 * leaves records that are either in use or not, by `used` alone; the chains are then built anew from them. */
#include "registrar.h"

#include <string.h>

#include "hash.h"
#include "log.h"
#include "shared.h"
#include "sip.h"

enum { BUCKETS = 8192, BY_USER = 0, BY_CONTACT = 1, NONE = -1, SWEEP_STEP = 1024 };

struct record {
    _Atomic bool used; /* set when the record is whole, cleared first: what a death inside leaves */
    int next[2], previous[2];
    uint64_t made, updated; /* order among all updates: of the first and of the last */
    struct binding binding;
};

static struct table {
    pthread_mutex_t lock;
    uint64_t updates;
    int used;
    int next_free, next_swept; /* where to look first */
    int heads[2][BUCKETS];
    struct record records[REGISTRAR_BINDINGS];
} *table;

static int bucket(int chain, const struct binding *b)
{
    return (int)(HASH(str_of(chain == BY_USER ? b->user : b->contact)) % BUCKETS);
}

/* At the front of its chains: in one, the newest comes first. After a death inside they stand as they were found. */
static void link_record(int i)
{
    struct record *r = &table->records[i];

    for (int chain = 0; chain < 2; chain++) {
        int *head = &table->heads[chain][bucket(chain, &r->binding)];
        r->next[chain] = *head;
        r->previous[chain] = NONE;
        if (*head != NONE)
            table->records[*head].previous[chain] = i;
        *head = i;
    }
    table->used++;
}

/* Whatever the length of the chain: any number of users may have registered one contact. */
static void unlink_record(int i)
{
    const struct record *r = &table->records[i];

    for (int chain = 0; chain < 2; chain++) {
        int next = r->next[chain], previous = r->previous[chain];
        if (next != NONE)
            table->records[next].previous[chain] = previous;
        if (previous != NONE)
            table->records[previous].next[chain] = next;
        else
            table->heads[chain][bucket(chain, &r->binding)] = next;
    }
    table->used--;
}

static void remove_record(int i)
{
    unlink_record(i);
    table->records[i].used = false;
}

static void rebuild(void)
{
    memset(table->heads, 0xff, sizeof table->heads); /* NONE everywhere */
    table->used = 0;
    for (int i = 0; i < REGISTRAR_BINDINGS; i++)
        if (table->records[i].used)
            link_record(i);
}

static void lock(void)
{
    if (shared_lock(&table->lock)) {
        log_warning("a process died in the registrar: table checked");
        rebuild();
    }
}

bool registrar_create(void)
{
    table = shared_map(sizeof *table);
    if (table == NULL || !shared_lock_init(&table->lock))
        return false;
    rebuild();
    return true;
}

static int find(const char *user, const char *contact)
{
    struct binding key;
    int i;

    strcpy(key.user, user);
    for (i = table->heads[BY_USER][bucket(BY_USER, &key)]; i != NONE; i = table->records[i].next[BY_USER])
        if (strcmp(table->records[i].binding.user, user) == 0 &&
            strcmp(table->records[i].binding.contact, contact) == 0)
            break;
    return i;
}

static int find_free(void)
{
    for (int n = 0; n < REGISTRAR_BINDINGS; n++) {
        int i = (table->next_free + n) % REGISTRAR_BINDINGS;
        if (!table->records[i].used) {
            table->next_free = (i + 1) % REGISTRAR_BINDINGS;
            return i;
        }
    }
    return NONE;
}

/* Of equal ones the newest contact, not the one refreshed last: a CANCEL has to go where its INVITE went. */
static bool comes_before(const struct record *a, const struct record *b)
{
    return a->binding.q != b->binding.q ? a->binding.q > b->binding.q : a->made > b->made;
}

/* The records of one user, the best first; expired ones are removed on the way. */
static size_t of_user(const char *user, int found[REGISTRAR_CONTACTS])
{
    uint64_t now = now_ms();
    struct binding key;
    size_t count = 0;
    int i, next;

    strcpy(key.user, user);
    for (i = table->heads[BY_USER][bucket(BY_USER, &key)]; i != NONE; i = next) {
        const struct record *r = &table->records[i];
        next = r->next[BY_USER];
        if (strcmp(r->binding.user, user) != 0)
            continue;
        if (r->binding.expires_ms <= now) {
            remove_record(i);
            continue;
        }
        if (count == REGISTRAR_CONTACTS)
            break;
        size_t at = count++;
        for (; at > 0 && comes_before(r, &table->records[found[at - 1]]); at--)
            found[at] = found[at - 1];
        found[at] = i;
    }
    return count;
}

/* RFC 3261 10.3: an older request of the same registration must not undo a newer one. An equal CSeq is a repeat. */
static bool out_of_order(const struct binding *old, const struct binding *change)
{
    return old->call_id == change->call_id && change->cseq < old->cseq;
}

/* What an update will do to the table, found out whole before any of it is done. */
struct plan {
    int at[REGISTRAR_CONTACTS];      /* the record of each change; NONE: it gets one, or there is nothing to remove */
    int leaving[REGISTRAR_CONTACTS]; /* the user's records that go */
    int staying[REGISTRAR_CONTACTS]; /* and those that no change names */
    size_t leaves, stays, arrives, renewed;
};

static bool is_dead(const struct binding *b)
{
    sipwire_conn_info info;

    return b->to.kind == TO_CONN && !conn_is_alive(b->to.conn_id, &info);
}

/* What may give way to `change`: what cannot be reached over its connection any more; what the same registration left,
 * a phone keeps its Call-ID as long as it runs (RFC 3261 10.2); what is at the same address, a phone that restarted. */
enum { GONE, SAME_CALL_ID, SAME_ADDRESS, WAYS_TO_GO };

static bool may_go(const struct binding *old, const struct binding *change, int why)
{
    switch (why) {
    case GONE:
        return is_dead(old);
    case SAME_CALL_ID:
        return old->call_id == change->call_id;
    default:
        return old->to.addr.family != 0 && address_same_ip(&old->to.addr, &change->to.addr);
    }
}

/* Moves the oldest that may go from staying to leaving. */
static bool make_room(struct plan *plan, const struct binding *change)
{
    for (int why = GONE; why < WAYS_TO_GO; why++) {
        size_t oldest = plan->stays;
        for (size_t i = 0; i < plan->stays; i++) {
            const struct record *r = &table->records[plan->staying[i]];
            if (may_go(&r->binding, change, why) &&
                (oldest == plan->stays || r->updated < table->records[plan->staying[oldest]].updated))
                oldest = i;
        }
        if (oldest < plan->stays) {
            plan->leaving[plan->leaves++] = plan->staying[oldest];
            plan->staying[oldest] = plan->staying[--plan->stays];
            return true;
        }
    }
    return false;
}

static bool is_named(const struct plan *plan, size_t changes, int record)
{
    for (size_t c = 0; c < changes; c++)
        if (plan->at[c] == record)
            return true;
    return false;
}

static enum registrar_result make_plan(struct plan *plan, const struct binding *changes, size_t count)
{
    int found[REGISTRAR_CONTACTS];
    size_t have = of_user(changes[0].user, found);

    *plan = (struct plan){.leaves = 0};
    for (size_t c = 0; c < count; c++) {
        int i = plan->at[c] = find(changes[c].user, changes[c].contact);
        if (i != NONE && out_of_order(&table->records[i].binding, &changes[c]))
            return REGISTRAR_OUT_OF_ORDER;
        if (changes[c].expires_ms == 0 && i != NONE)
            plan->leaving[plan->leaves++] = i;
        else if (changes[c].expires_ms != 0)
            *(i == NONE ? &plan->arrives : &plan->renewed) += 1;
    }
    for (size_t i = 0; i < have; i++)
        if (!is_named(plan, count, found[i]))
            plan->staying[plan->stays++] = found[i];
    while (plan->stays + plan->renewed + plan->arrives > REGISTRAR_CONTACTS)
        if (!make_room(plan, &changes[0]))
            return REGISTRAR_TOO_MANY;
    return (size_t)(REGISTRAR_BINDINGS - table->used) + plan->leaves < plan->arrives ? REGISTRAR_FULL : REGISTRAR_OK;
}

static void carry_out(const struct plan *plan, const struct binding *changes, size_t count)
{
    for (size_t i = 0; i < plan->leaves; i++)
        remove_record(plan->leaving[i]);
    for (size_t c = 0; c < count; c++) {
        int i = plan->at[c];
        if (changes[c].expires_ms == 0)
            continue;
        if (i != NONE) {
            unlink_record(i);
        } else {
            i = find_free();
            table->records[i].made = table->updates + 1;
        }
        table->records[i].binding = changes[c];
        table->records[i].updated = ++table->updates;
        table->records[i].used = true;
        link_record(i);
    }
}

static enum registrar_result remove_all_of(const struct binding *asked)
{
    int found[REGISTRAR_CONTACTS];
    size_t have = of_user(asked->user, found);

    for (size_t i = 0; i < have; i++)
        if (out_of_order(&table->records[found[i]].binding, asked))
            return REGISTRAR_OUT_OF_ORDER;
    while (have > 0)
        remove_record(found[--have]);
    return REGISTRAR_OK;
}

enum registrar_result registrar_update(const struct binding *changes, size_t count, bool remove_all)
{
    enum registrar_result result;
    struct plan plan;

    if (count == 0)
        return REGISTRAR_OK;
    lock();
    if (remove_all) {
        result = remove_all_of(&changes[0]);
    } else {
        result = make_plan(&plan, changes, count);
        if (result == REGISTRAR_OK)
            carry_out(&plan, changes, count);
    }
    shared_unlock(&table->lock);
    return result;
}

size_t registrar_list(struct str user, struct binding out[REGISTRAR_CONTACTS])
{
    int found[REGISTRAR_CONTACTS];
    char name[USER_BYTES];
    size_t count;

    if (user.len == 0 || !sip_user_key(user, name, sizeof name))
        return 0;
    lock();
    count = of_user(name, found);
    for (size_t i = 0; i < count; i++)
        out[i] = table->records[found[i]].binding;
    shared_unlock(&table->lock);
    return count;
}

/* Where to go now: the connection, else the address, else nowhere. */
static bool usable(struct binding *b, bool *alive)
{
    sipwire_conn_info info;

    *alive = b->to.kind != TO_CONN || conn_is_alive(b->to.conn_id, &info);
    if (*alive)
        return true;
    b->to.kind = b->contact_udp ? TO_UDP : TO_TCP;
    return b->to.addr.family != 0;
}

size_t registrar_lookup(struct str user, struct binding out[REGISTRAR_CONTACTS])
{
    struct binding all[REGISTRAR_CONTACTS];
    bool alive[REGISTRAR_CONTACTS], use[REGISTRAR_CONTACTS];
    size_t have = registrar_list(user, all), count = 0;

    for (size_t i = 0; i < have; i++)
        use[i] = usable(&all[i], &alive[i]);
    for (int living = 1; living >= 0; living--)
        for (size_t i = 0; i < have; i++)
            if (use[i] && alive[i] == (living == 1))
                out[count++] = all[i];
    return count;
}

bool registrar_find_contact(struct str uri, struct destination *to)
{
    uint64_t now = now_ms();
    struct binding found;
    bool alive;
    int i, next;

    if (uri.len == 0 || uri.len >= sizeof found.contact)
        return false;
    memcpy(found.contact, uri.s, uri.len);
    found.contact[uri.len] = '\0';
    lock();
    for (i = table->heads[BY_CONTACT][bucket(BY_CONTACT, &found)]; i != NONE; i = next) {
        const struct record *r = &table->records[i];
        next = r->next[BY_CONTACT];
        if (strcmp(r->binding.contact, found.contact) != 0)
            continue;
        if (r->binding.expires_ms > now)
            break;
        remove_record(i);
    }
    if (i != NONE)
        found = table->records[i].binding;
    shared_unlock(&table->lock);
    if (i == NONE || !usable(&found, &alive))
        return false;
    *to = found.to;
    return true;
}

void registrar_sweep(void)
{
    uint64_t now = now_ms();

    lock();
    for (int n = 0; n < SWEEP_STEP; n++) {
        int i = table->next_swept;
        table->next_swept = (i + 1) % REGISTRAR_BINDINGS;
        if (table->records[i].used && table->records[i].binding.expires_ms <= now)
            remove_record(i);
    }
    shared_unlock(&table->lock);
}
