/* The counters; see statistics.h. The core asks for a value when somebody reads it: nothing is counted twice. */
#include "statistics.h"

#include <stddef.h>

#define MEMBER(name) {#name, offsetof(sipwire_stats, name)}
#define REASON(name, number) {"closed_" #name, offsetof(sipwire_stats, closed_by_reason) + sizeof(uint64_t) * (number)}

static const struct member {
    const char *name;
    size_t offset;
} members[] = {
    MEMBER(connections), MEMBER(connections_idle), MEMBER(queued_bytes), MEMBER(partial_bytes), MEMBER(blocks_used),
    MEMBER(blocks_total), MEMBER(slots_used), MEMBER(slots_total), MEMBER(participants), MEMBER(workers),
    MEMBER(blacklist_entries), MEMBER(supervisor_pid), MEMBER(accept_paused), MEMBER(degraded), MEMBER(accepted),
    MEMBER(dialled), MEMBER(connected), MEMBER(connect_failed), MEMBER(closed), MEMBER(refused_max_connections),
    MEMBER(refused_max_connections_per_ip), MEMBER(accept_pauses), MEMBER(handoffs), MEMBER(givebacks), MEMBER(relends),
    MEMBER(refused_proxy), MEMBER(proxy_waiting), MEMBER(nofd_returns), MEMBER(fds_passed),
    MEMBER(messages_in), MEMBER(bytes_in), MEMBER(messages_out), MEMBER(bytes_out), MEMBER(pings), MEMBER(error_answers),
    MEMBER(sends_direct), MEMBER(sends_queued), MEMBER(sends_refused), MEMBER(async_started), MEMBER(async_ended),
    MEMBER(failures_reported), MEMBER(failures_repeated), MEMBER(messages_lost_report), MEMBER(blacklist_added),
    MEMBER(blacklist_refused), MEMBER(participants_died), MEMBER(log_dropped), MEMBER(callbacks_running),
    REASON(host, SIPWIRE_REASON_HOST), REASON(peer_closed, SIPWIRE_REASON_PEER_CLOSED),
    REASON(peer_reset, SIPWIRE_REASON_PEER_RESET), REASON(lifetime, SIPWIRE_REASON_LIFETIME),
    REASON(send_timeout, SIPWIRE_REASON_SEND_TIMEOUT), REASON(connect_timeout, SIPWIRE_REASON_CONNECT_TIMEOUT),
    REASON(connect_failed, SIPWIRE_REASON_CONNECT_FAILED), REASON(conn_queue_full, SIPWIRE_REASON_CONN_QUEUE_FULL),
    REASON(total_queue_full, SIPWIRE_REASON_TOTAL_QUEUE_FULL), REASON(close_after_send, SIPWIRE_REASON_CLOSE_AFTER_SEND),
    REASON(not_sip, SIPWIRE_REASON_NOT_SIP), REASON(bad_length, SIPWIRE_REASON_BAD_LENGTH),
    REASON(too_large, SIPWIRE_REASON_TOO_LARGE), REASON(eof_in_message, SIPWIRE_REASON_EOF_IN_MESSAGE),
    REASON(message_timeout, SIPWIRE_REASON_MESSAGE_TIMEOUT),
    REASON(first_message_timeout, SIPWIRE_REASON_FIRST_MESSAGE_TIMEOUT),
    REASON(half_close_timeout, SIPWIRE_REASON_HALF_CLOSE_TIMEOUT), REASON(worker_died, SIPWIRE_REASON_WORKER_DIED),
    REASON(sender_died, SIPWIRE_REASON_SENDER_DIED), REASON(shutdown, SIPWIRE_REASON_SHUTDOWN),
    REASON(io_error, SIPWIRE_REASON_IO_ERROR), REASON(resource, SIPWIRE_REASON_RESOURCE),
    REASON(corrupt, SIPWIRE_REASON_CORRUPT), REASON(flow_failed, SIPWIRE_REASON_FLOW_FAILED),
    REASON(flow_timer, SIPWIRE_REASON_FLOW_TIMER), MEMBER(pings_sent), MEMBER(pongs_heard), MEMBER(flows_failed),
};
enum { MEMBERS = sizeof members / sizeof *members };

static uint64_t value_of(const sipwire_stats *stats, const struct member *member)
{
    uint64_t value;

    memcpy(&value, (const char *)stats + member->offset, sizeof value);
    return value;
}

const char *statistic(const sipwire_stats *stats, int n, uint64_t *value)
{
    if (n >= MEMBERS)
        return NULL;
    *value = value_of(stats, &members[n]);
    return members[n].name;
}

static counter_val_t read_counter(counter_handle_t handle, void *member)
{
    sipwire_stats stats = {.struct_size = sizeof stats};

    (void)handle;
    if (instance == NULL || sipwire_stats_get(instance, &stats) < 0)
        return 0;
    return (counter_val_t)value_of(&stats, member);
}

bool statistics_register(void)
{
    static counter_def_t counters[MEMBERS + 1];

    for (int i = 0; i < MEMBERS; i++)
        counters[i] = (counter_def_t){NULL, members[i].name, 0, read_counter, (void *)&members[i], "see sipwire.h, sipwire_stats"};
    if (counter_register_array("sipwire", counters) < 0) {
        LM_ERR("the core does not take the counters\n");
        return false;
    }
    return true;
}
