/* What the module uses of Kamailio's core, and the only place that knows that its versions differ: 5.6 to 6.x. Which one
 * is compiled for says VERSIONVAL, major * 1000000 + minor * 1000 + patch (see .ci/kamailio). */
#ifndef SIPWIRE_KAMAILIO_CORE_H
#define SIPWIRE_KAMAILIO_CORE_H
#include <stdbool.h>
#include <stdint.h>
#include <core/action.h>
#include <core/cfg/cfg_struct.h>
#include <core/cfg_core.h>
#include <core/counters.h>
#include <core/dprint.h>
#include <core/events.h>
#include <core/fmsg.h>
#include <core/forward.h>
#include <core/globals.h>
#include <core/kemi.h>
#include <core/mod_fix.h>
#include <core/pt.h>
#include <core/pvar.h>
#include <core/receive.h>
#include <core/route.h>
#include <core/rpc_lookup.h>
#include <core/sctp_core.h>
#include <core/socket_info.h>
#include <core/sr_module.h>
#include <core/tcp_options.h>
#include <core/timer_ticks.h>

#if VERSIONVAL < 5006000
#error "sipwire needs Kamailio 5.6 or newer: before, NET_DATA_OUT does not have the destination"
#endif

/* Settings of the core that came later; -1: this version has none. */
static inline int core_message_timeout_s(void)
{
#if VERSIONVAL >= 6000000
    return ksr_tcp_msg_read_timeout;
#else
    return -1;
#endif
}

static inline int core_first_message_timeout_s(void)
{
#if VERSIONVAL >= 6000000
    return ksr_tcp_msg_data_timeout;
#else
    return -1;
#endif
}

static inline int core_close_rst(void)
{
#if VERSIONVAL >= 6000000
    return tcp_default_cfg.close_rst;
#else
    return -1;
#endif
}
#endif
