/* Settings; see settings.h. A value of the core's is the default of ours: who loads the module and sets nothing has the
 * limits and times that he had. */
#include "settings.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "events.h"
#include "listeners.h"

/* Every key of the library; a test compares it with the library's table. */
static char *const keys[] = {
    "workers", "participants", "max_connections", "max_connections_per_ip", "per_ip_prefix4", "per_ip_prefix6",
    "accept_rate", "accept_rate_per_ip", "allow_networks", "deny_networks", "trusted_networks", "handoff",
    "worker_hold", "worker_stall", "fd_cache", "worker_fd_cache", "supervisor_nice", "supervisor_rt_priority",
    "connection_lifetime", "send_timeout", "connect_timeout", "message_timeout", "first_message_timeout",
    "half_close_timeout", "linger", "pong_timeout", "flow_timer_grace", "blacklist_ttl", "conn_wq_max", "wq_max",
    "queue_high", "queue_low", "pause_reading", "queue_full", "connections_per_destination", "no_connect", "close_rst",
    "max_message_size", "partial_max", "accept_no_content_length", "crlf_ping", "crlf_keepalive", "error_answers",
    "accept_aliases", "proxy_protocol", "proxy_networks", "proxy_timeout", "proxy_protocol_out", "proxy_out_networks",
    "listen_backlog", "defer_accept", "reuse_port", "tos", "source_ipv4", "source_ipv6", "nodelay", "keepalive",
    "keepidle", "keepintvl", "keepcnt", "user_timeout", "log_level", "log_ring", "capture",
};
enum { KEYS = sizeof keys / sizeof *keys, OTHERS = 2 };
/* The library's bounds. */
static const int64_t HOUR_MS = 3600 * 1000, LONGEST_MS = 12LL * 24 * 3600 * 1000, MOST_WORKERS = 256, MOST_CONNECTIONS = 1 << 20;

static char *texts[KEYS];  /* modparam("sipwire", KEY, "text"); NULL: not given */
static int numbers[KEYS];  /* modparam("sipwire", KEY, number); INT_MIN: not given */
static sipwire_config *config;
static int workers;

param_export_t settings_params[2 * KEYS + OTHERS + 1];

void settings_declare(void)
{
    param_export_t *p = settings_params;

    for (int i = 0; i < KEYS; i++) {
        numbers[i] = INT_MIN;
        *p++ = (param_export_t){keys[i], PARAM_STRING, &texts[i]};
        *p++ = (param_export_t){keys[i], PARAM_INT, &numbers[i]};
    }
    *p++ = (param_export_t){"keep", PARAM_STRING | PARAM_USE_FUNC, (void *)listeners_keep};
    *p++ = (param_export_t){"event_callback", PARAM_STRING, &events_callback};
    *p = (param_export_t){NULL, 0, NULL};
}

/* A value of the core's in the library's unit. One that the library does not have the range for leaves its default. */
static void core_value(const char *name, const char *key, int64_t value)
{
    if (sipwire_config_set_number(config, key, value) < 0)
        LM_WARN("%s is not taken over: %s\n", name, sipwire_config_error(config));
}

static int64_t ticks_ms(unsigned ticks)
{
    return (int64_t)ticks * 1000 / TIMER_TICKS_HZ;
}

static int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}

static int64_t at_least(int64_t value, int64_t limit)
{
    return value > limit ? value : limit;
}

static void read_core(void)
{
    const struct cfg_group_tcp *tcp = &tcp_default_cfg;

    core_value("tcp_children", "workers", at_most(listeners_workers(), MOST_WORKERS));
    core_value("tcp_max_connections", "max_connections", at_most(tcp->max_connections, MOST_CONNECTIONS));
    core_value("tcp_connection_lifetime", "connection_lifetime", at_most(ticks_ms((unsigned)tcp->con_lifetime), LONGEST_MS));
    core_value("tcp_send_timeout", "send_timeout", at_most(ticks_ms((unsigned)tcp->send_timeout), HOUR_MS));
    core_value("tcp_connect_timeout", "connect_timeout", at_most((int64_t)tcp->connect_timeout_s * 1000, HOUR_MS));
    core_value("tcp_conn_wq_max", "conn_wq_max", tcp->tcpconn_wq_max);
    core_value("tcp_wq_max", "wq_max", tcp->tcp_wq_max);
    core_value("tcp_no_connect", "no_connect", tcp->no_connect);
    core_value("tcp_crlf_ping", "crlf_ping", tcp->crlf_ping);
    core_value("tcp_accept_no_cl", "accept_no_content_length", tcp->accept_no_cl);
    core_value("tcp_defer_accept", "defer_accept", (int64_t)tcp->defer_accept * 1000);
    core_value("tcp_reuse_port", "reuse_port", tcp->reuse_port);
    core_value("tcp_keepalive", "keepalive", tcp->keepalive);
    core_value("tos", "tos", tos);
    /* 0 stands for the kernel's value, as "unset" does here. */
    if (tcp->keepidle > 0)
        core_value("tcp_keepidle", "keepidle", (int64_t)tcp->keepidle * 1000);
    if (tcp->keepintvl > 0)
        core_value("tcp_keepintvl", "keepintvl", (int64_t)tcp->keepintvl * 1000);
    if (tcp->keepcnt > 0)
        core_value("tcp_keepcnt", "keepcnt", tcp->keepcnt);
    if (!tcp->fd_cache)
        core_value("tcp_fd_cache", "fd_cache", 0);
    /* The core's buffer bounds what it receives, and is there for each connection. Ours bounds what is sent as well, and
     * what is relayed grows: never below what the core can build. */
    core_value("tcp_rd_buf_size", "max_message_size", at_least(tcp->rd_buf_size, BUF_SIZE));
    if (core_message_timeout_s() > 0)
        core_value("tcp_msg_read_timeout", "message_timeout", (int64_t)core_message_timeout_s() * 1000);
    if (core_first_message_timeout_s() > 0)
        core_value("tcp_msg_data_timeout", "first_message_timeout", (int64_t)core_first_message_timeout_s() * 1000);
    if (core_close_rst() >= 0)
        core_value("tcp_close_rst", "close_rst", core_close_rst());
}

static bool read_modparams(void)
{
    char number[16];

    for (int i = 0; i < KEYS; i++) {
        const char *text = texts[i];
        if (text == NULL && numbers[i] != INT_MIN) {
            snprintf(number, sizeof number, "%d", numbers[i]);
            text = number;
        }
        if (text != NULL && sipwire_config_set(config, keys[i], text) < 0) {
            LM_ERR("modparam(\"sipwire\", \"%s\", \"%s\"): %s\n", keys[i], text, sipwire_config_error(config));
            return false;
        }
    }
    return true;
}

/* The core forks workers for its own listeners only; it wants one at least. */
static void spare_core_workers(void)
{
    struct socket_info *si;

    for (int32_t i = 0; (si = listener_socket(i)) != NULL; i++)
        si->workers = 0;
    if (!listeners_core_has_any())
        tcp_cfg_children_no = 1;
}

bool settings_read(void)
{
    char text[16];

    config = sipwire_config_new();
    if (config == NULL) {
        LM_ERR("no memory\n");
        return false;
    }
    read_core();
    if (!read_modparams())
        return false;
    sipwire_config_get(config, "workers", text, sizeof text);
    workers = atoi(text);
    spare_core_workers();
    return true;
}

int settings_workers(void)
{
    return workers;
}

static bool is_given(const char *key)
{
    for (int i = 0; i < KEYS; i++)
        if (strcmp(keys[i], key) == 0)
            return texts[i] != NULL || numbers[i] != INT_MIN;
    return false;
}

sipwire_config *settings_finish(void)
{
    /* Every process may send, and some more that modules fork without saying so. */
    if (!is_given("participants") && sipwire_config_set_number(config, "participants", get_max_procs() + 32) < 0) {
        LM_ERR("%d processes: %s\n", get_max_procs(), sipwire_config_error(config));
        return NULL;
    }
    return config;
}

void settings_free(void)
{
    sipwire_config_free(config);
    config = NULL;
}
