/* The event routes; see events.h. */
#include "events.h"

#include "processes.h"
#include "receive.h"

enum kind { CLOSED, FAILED };

static const char *const names[] = {"sipwire:closed", "sipwire:failed"};
static const struct event *current;

char *events_callback;

const struct event *events_current(void)
{
    return current;
}

/* > 0: the configuration has one. */
static int route_of(enum kind kind)
{
    int route = route_lookup(&event_rt, (char *)names[kind]);

    return route > 0 && event_rt.rlist[route] != NULL ? route : 0;
}

static bool is_wanted(enum kind kind)
{
    return route_of(kind) > 0 || (events_callback != NULL && sr_kemi_eng_get() != NULL);
}

static void run(enum kind kind, const struct event *event, const receive_info_t *info)
{
    sip_msg_t request; /* the core's one of all events would keep what a route sets of it, and leak what it adds */
    int route = route_of(kind), before = get_route_type();
    sr_kemi_eng_t *engine = sr_kemi_eng_get();
    struct run_act_ctx context;

    if (faked_msg_get_new(&request) < 0)
        return;
    receive_settings();
    request.rcv = *info;
    current = event;
    set_route_type(EVENT_ROUTE);
    init_run_actions_ctx(&context);
    if (route > 0) {
        run_top_route(event_rt.rlist[route], &request, &context);
    } else if (engine != NULL && events_callback != NULL) {
        str function = {events_callback, (int)strlen(events_callback)}, name = {(char *)names[kind], (int)strlen(names[kind])};
        if (sr_kemi_route(engine, &request, EVENT_ROUTE, &function, &name) < 0)
            LM_ERR("%s: function %s of the script failed\n", names[kind], events_callback);
    }
    set_route_type(before);
    ksr_msg_env_reset(); /* what the route has set is not the next message's */
    free_sip_msg(&request);
    current = NULL;
}

static void on_close(void *user, sipwire_instance *from, const sipwire_conn_info *info)
{
    struct event event = {info->conn_id, info->close_reason, info->close_error, NULL, 0};
    receive_info_t receive_info;

    (void)user, (void)from;
    if (processes_are_ending())
        return;
    receive_info_of(&receive_info, info->conn_id, &info->remote, &info->local, info->listener);
    run(CLOSED, &event, &receive_info);
}

void events_failed(const sipwire_failure *failure, const receive_info_t *info)
{
    struct event event = {failure->conn_id, failure->reason, failure->error, failure->data, failure->length};

    if (is_wanted(FAILED))
        run(FAILED, &event, info);
}

void events_callbacks(sipwire_callbacks *callbacks)
{
    if (is_wanted(CLOSED))
        callbacks->on_close = on_close;
}
