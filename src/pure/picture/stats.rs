//! The statistics of an instance, by name: one list for the C structure, for JSON and for Prometheus.

use crate::pure::reason::REASON_COUNT;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// What is now.
    Gauge,
    /// What was since the instance was made: only grows.
    Counter,
}

/// One of the statistics, with what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub value: u64,
}

macro_rules! stats {
    (@kind gauge) => { Kind::Gauge };
    (@kind counter) => { Kind::Counter };
    ($($kind:ident $name:ident, $help:literal;)*) => {
        /// The statistics of an instance: what is now, and totals since it was made.
        #[deny(missing_docs)]
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $(#[doc = $help] pub $name: u64,)*
            /// Connections closed, by the number of their `Reason`.
            pub closed_by_reason: [u64; REASON_COUNT],
        }
        #[deny(missing_docs)]
        impl Stats {
            /// All but the counts by reason, in the order of the C structure.
            pub fn figures(&self) -> impl Iterator<Item = Figure> {
                [$(Figure {
                    name: stringify!($name),
                    help: $help,
                    kind: stats!(@kind $kind),
                    value: self.$name,
                }),*].into_iter()
            }
        }
    };
}

stats! {
    gauge connections, "Connections that are open.";
    gauge connections_idle, "Open connections that no worker holds.";
    gauge queued_bytes, "Bytes queued for all connections.";
    gauge partial_bytes, "Bytes read and not yet delivered.";
    gauge blocks_used, "Blocks of shared memory in use.";
    gauge blocks_total, "Blocks of shared memory that there are.";
    gauge slots_used, "Slots for connections in use.";
    gauge slots_total, "Slots for connections that there are.";
    gauge participants, "Threads and processes that take part.";
    gauge workers, "Workers that there can be.";
    gauge blacklist_entries, "Destinations that are not dialled now.";
    gauge supervisor_pid, "Process of the supervisor, 0: none serves.";
    gauge accept_paused, "1 while accept is paused for want of descriptors.";
    gauge degraded, "1 after something impossible was met in the shared memory.";
    counter accepted, "Connections accepted.";
    counter dialled, "Connections dialled.";
    counter connected, "Dialled connections that were established.";
    counter connect_failed, "Dialled connections that failed.";
    counter closed, "Connections closed.";
    counter refused_max_connections, "Connections refused because of max_connections.";
    counter refused_max_connections_per_ip, "Connections refused because of max_connections_per_ip.";
    counter accept_pauses, "Times that accept was paused for want of descriptors.";
    counter handoffs, "Connections handed to workers.";
    counter givebacks, "Connections given back by workers.";
    counter relends, "Connections taken from a stalled worker and lent to another.";
    counter nofd_returns, "Connections that came back because the worker had no descriptor.";
    counter fds_passed, "Descriptors passed to other processes.";
    counter messages_in, "Messages received.";
    counter bytes_in, "Bytes received.";
    counter messages_out, "Messages sent.";
    counter bytes_out, "Bytes sent.";
    counter pings, "Pings of peers that were answered.";
    counter error_answers, "Requests that the library refused with an answer of its own.";
    counter sends_direct, "Messages that the kernel took at once.";
    counter sends_queued, "Messages that were queued.";
    counter sends_refused, "Messages that were refused.";
    counter async_started, "Times that a connection began to queue.";
    counter async_ended, "Times that a connection's queue was emptied.";
    counter failures_reported, "Messages reported as not sent.";
    counter failures_repeated, "Reports repeated after the death of who had them.";
    counter messages_lost_report, "Accepted messages neither written nor reported: stays 0.";
    counter blacklist_added, "Destinations put on the blacklist.";
    counter blacklist_refused, "Messages not sent because of the blacklist.";
    counter participants_died, "Participants that died.";
    counter log_dropped, "Log records dropped for want of room.";
    gauge callbacks_running, "Callbacks of the host that run now.";
    counter pings_sent, "Pings sent.";
    counter pongs_heard, "Answers to our pings.";
    counter flows_failed, "Pongs that did not come in time.";
    counter refused_proxy, "Connections closed because of their PROXY header.";
    gauge proxy_waiting, "Connections whose PROXY header is awaited.";
    counter refused_denied, "Connections refused because of deny_networks.";
    counter refused_not_allowed, "Connections refused because of allow_networks.";
    counter refused_rate, "Connections refused because of accept_rate.";
    counter refused_rate_per_ip, "Connections refused because of accept_rate_per_ip.";
    gauge draining, "1 while the instance drains.";
    counter drain_cut, "Connections that a drain cut at its deadline.";
    counter aliases_added, "Aliases given to connections.";
    counter aliases_refused, "Aliases refused.";
}

#[deny(missing_docs)]
impl Stats {
    /// Connections that were not served, whatever for.
    pub fn refused(&self) -> u64 {
        [
            self.refused_max_connections,
            self.refused_max_connections_per_ip,
            self.refused_proxy,
            self.refused_denied,
            self.refused_not_allowed,
            self.refused_rate,
            self.refused_rate_per_ip,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}
