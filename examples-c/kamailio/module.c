/* sipwire.so, a module of Kamailio that gives it its TCP transport: what it exports, and the order in which it starts.
 *
 *   mod_register   while the configuration is read: the module becomes the provider of the core's SCTP transport, by which
 *                  it gets what is sent (send.c). Later is too late.
 *   mod_init       after the configuration was read: settings are taken over, processes are asked for.
 *   PROC_INIT      the core has bound its sockets and has forked nobody: the instance is made, with duplicates of them.
 *   PROC_MAIN      supervisor and workers are forked, before the core's own TCP processes. */
#include "module.h"

#include <unistd.h>

#include "alias.h"
#include "events.h"
#include "layout.h"
#include "listeners.h"
#include "processes.h"
#include "pv.h"
#include "receive.h"
#include "rpc.h"
#include "send.h"
#include "settings.h"
#include "statistics.h"

sipwire_instance *instance;

static int mod_init(void)
{
    if (tcp_disable) {
        LM_ERR("disable_tcp is set: remove it, or do not load sipwire\n");
        return -1;
    }
    if (dont_fork) {
        LM_ERR("fork=no or -D: sipwire needs processes; remove that, or do not load it\n");
        return -1;
    }
    if (!layout_is_known() || !send_is_ours() || !listeners_choose())
        return -1;
    if (!settings_read())
        return -1;
    if (!processes_ask_for(settings_workers()) || !rpc_register_all() || !statistics_register())
        return -1;
    return 0;
}

static bool make_instance(void)
{
    sipwire_config *config = settings_finish();
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks};

    receive_callbacks(&callbacks);
    events_callbacks(&callbacks);
    if (config == NULL || !listeners_add(config))
        return false;
    if (sipwire_new(config, &callbacks, NULL, &instance) < 0) {
        LM_ERR("%s\n", sipwire_config_error(config));
        return false;
    }
    settings_free();
    return alias_init() && listeners_take_over();
}

static int child_init(int rank)
{
    switch (rank) {
    case PROC_INIT:
        return layout_is_bound() && make_instance() ? 0 : -1;
    case PROC_MAIN:
        return processes_start() ? 0 : -1;
    default:
        /* A child that the signal met before it knew that it was one has taken it for the main process's, and forgets it; the
         * core would wait for it for a minute. */
        if (processes_are_ending())
            _exit(0);
        return 0;
    }
}

/* In the main process, when all others have ended, or the start has failed. */
static void destroy(void)
{
    sipwire_free(instance);
    instance = NULL;
}

int mod_register(char *path, int *dlflags, void *p1, void *p2);
int mod_register(char *path, int *dlflags, void *p1, void *p2)
{
    (void)path, (void)dlflags, (void)p1, (void)p2;
    settings_declare();
    return send_capture() ? 0 : -1;
}

MODULE_VERSION

struct module_exports exports = {
    .name = "sipwire",
    .params = settings_params,
    .pv_items = pv_items,
    .init_mod_f = mod_init,
    .init_child_f = child_init,
    .destroy_mod_f = destroy,
};
