//! The table of settings: one row for each key, and nothing about a key is written anywhere else.
//!
//! A row gives the field of `Settings`, its type, its default, its range and what it does. Reading,
//! showing, ranges, documentation and the words of the segment all follow from it.
//!
//! Which settings are live: those that the supervisor and the workers look up each time they use
//! them (timeouts, limits, policies, addresses and lists of networks, what is set on a new connection's
//! socket), and those that the supervisor gives anew to what has them (a listening socket, its own thread).
//! Raising `wq_max` or `max_message_size` does not enlarge the block pool, which then refuses first. Not live
//! is what sizes the segment or a participant's memory at the start (`workers`, `max_connections`,
//! `participants`, `partial_max`, `log_ring`), what the kernel takes before bind alone
//! (`reuse_port`), and what has only one value so far.

use super::text::{self, G, HOUR, K, M, MINUTE, SECOND};
use super::value::{Field, Handoff, LogLevel, ProxyOut, ProxyProtocol, QueueFull, Value, Words};
use crate::pure::addr::Addr;
use crate::pure::choice::MOST_LANES;
use crate::pure::networks::Networks;

/// What the number of a setting counts, and how its text is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A plain number.
    Count,
    /// Milliseconds; "10s", "250ms", "2m", "1h", or bare seconds.
    Duration,
    /// Whole seconds, because the kernel takes no finer; the same texts, and milliseconds in `set_number`.
    Seconds,
    /// Bytes; "64k", "10m", "1g", or bare bytes.
    Size,
    /// One of a few words.
    Word,
    /// An IPv4 address without port.
    Ipv4,
    /// An IPv6 address without port.
    Ipv6,
    /// A list of IP networks.
    Networks,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// The key of `set` and `get`.
    pub key: &'static str,
    /// What the number counts.
    pub unit: Unit,
    /// Smallest number, in the unit.
    pub min: i64,
    /// Largest number, in the unit.
    pub max: i64,
    /// True when it can be changed while the instance runs.
    pub live: bool,
    /// True when a listener may have a value of its own.
    pub of_listener: bool,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The word for "no value" of an optional setting.
    pub(super) unset: Option<&'static str>,
    pub(super) words: Words,
    pub(super) value: fn(&Settings) -> Value,
    pub(super) put: fn(&mut Settings, Value),
}

impl Descriptor {
    const fn new(unit: Unit, min: i64, max: i64) -> Descriptor {
        Descriptor {
            key: "",
            unit,
            min,
            max,
            live: false,
            of_listener: false,
            summary: "",
            unset: None,
            words: &[],
            value: |_| Value::Unset,
            put: |_, _| {},
        }
    }

    const fn live(self) -> Descriptor {
        Descriptor { live: true, ..self }
    }

    /// Not for live ones: a listener's value does not follow the words of the segment.
    const fn of_listener(self) -> Descriptor {
        Descriptor {
            of_listener: true,
            ..self
        }
    }

    /// Its value fits no word: it is published as the text that `get` shows.
    pub(super) const fn is_text(&self) -> bool {
        matches!(self.unit, Unit::Ipv4 | Unit::Ipv6 | Unit::Networks)
    }

    const fn or(self, unset: &'static str) -> Descriptor {
        Descriptor {
            unset: Some(unset),
            ..self
        }
    }

    const fn with_words(self, words: Words) -> Descriptor {
        Descriptor { words, ..self }
    }

    /// The default as `get` shows it.
    pub fn default_text(&self) -> String {
        // The machine decides only about `workers`, and that shows: two machines differ.
        let (one, two) = (Settings::new(1), Settings::new(2));
        if (self.value)(&one) != (self.value)(&two) {
            return "number of CPUs".to_string();
        }
        self.format((self.value)(&one))
    }

    /// What it may be: "10ms to 1h", "close, reject", "1 to 99 or unset".
    pub fn range_text(&self) -> String {
        let mut range = match self.unit {
            Unit::Word => self.choices().join(", "),
            Unit::Ipv4 => "IPv4 address".to_string(),
            Unit::Ipv6 => "IPv6 address".to_string(),
            Unit::Networks => "list of networks".to_string(),
            _ if self.min == self.max => self.format_number(self.min),
            _ => format!(
                "{} to {}",
                self.format_number(self.min),
                self.format_number(self.max)
            ),
        };
        if let Some(unset) = self.unset {
            range.push_str(" or ");
            range.push_str(unset);
        }
        range
    }

    /// The words as `get` shows them, one for each number.
    pub(super) fn choices(&self) -> Vec<&'static str> {
        let mut choices: Vec<(&str, i64)> = Vec::new();
        for &(word, number) in self.words {
            if choices.iter().all(|&(_, known)| known != number) {
                choices.push((word, number));
            }
        }
        choices.into_iter().map(|(word, _)| word).collect()
    }

    pub(super) fn format(&self, value: Value) -> String {
        match value {
            Value::Unset => self.unset.unwrap_or_default().to_string(),
            Value::Number(number) => self.format_number(number),
            Value::Address(addr) => crate::pure::addr::IpText(&addr).to_string(),
            Value::Networks(networks) => networks.to_string(),
        }
    }

    pub(super) fn format_number(&self, number: i64) -> String {
        match self.unit {
            Unit::Duration => text::format_duration_ms(number),
            Unit::Seconds => text::format_duration_ms(number.saturating_mul(SECOND)),
            Unit::Size => text::format_size(number),
            Unit::Word => self
                .words
                .iter()
                .find(|&&(_, known)| known == number)
                .map_or_else(|| number.to_string(), |&(word, _)| word.to_string()),
            Unit::Count | Unit::Ipv4 | Unit::Ipv6 | Unit::Networks => number.to_string(),
        }
    }
}

const fn count(min: i64, max: i64) -> Descriptor {
    Descriptor::new(Unit::Count, min, max)
}
const fn duration(min_ms: i64, max_ms: i64) -> Descriptor {
    Descriptor::new(Unit::Duration, min_ms, max_ms)
}
const fn seconds(min: i64, max: i64) -> Descriptor {
    Descriptor::new(Unit::Seconds, min, max)
}
const fn size(min: i64, max: i64) -> Descriptor {
    Descriptor::new(Unit::Size, min, max)
}
/// `words` must have every number from the smallest to the largest; a test looks.
const fn word(words: Words) -> Descriptor {
    let (mut min, mut max, mut rest) = (i64::MAX, i64::MIN, words);
    while let [(_, number), tail @ ..] = rest {
        min = if *number < min { *number } else { min };
        max = if *number > max { *number } else { max };
        rest = tail;
    }
    Descriptor::new(Unit::Word, min, max).with_words(words)
}
const fn switch() -> Descriptor {
    word(YES_NO)
}
const fn address(unit: Unit) -> Descriptor {
    Descriptor::new(unit, 0, 0).or("unset")
}
const fn networks() -> Descriptor {
    Descriptor::new(Unit::Networks, 0, 0).or("none")
}

const YES_NO: Words = &[
    ("yes", 1),
    ("no", 0),
    ("on", 1),
    ("off", 0),
    ("true", 1),
    ("false", 0),
    ("1", 1),
    ("0", 0),
];
/// The ancestor's fd cache is a switch.
const FD_CACHE: Words = &[
    ("yes", 64),
    ("on", 64),
    ("true", 64),
    ("no", 0),
    ("off", 0),
    ("false", 0),
];

/// The longest duration: twice of it still fits a signed 32-bit count of milliseconds, which is what
/// poll and TCP_USER_TIMEOUT take.
const LONGEST: i64 = 12 * 24 * HOUR;
/// The shortest timeout: the supervisor's tick while connections are lent.
const TICK: i64 = 10;

/// The largest `max_message_size`.
pub const LARGEST_MESSAGE_BYTES: i64 = 16 * M;

const fn ms(ms: i64) -> u64 {
    ms as u64
}
const fn bytes(bytes: i64) -> u64 {
    bytes as u64
}

macro_rules! settings {
    (new($cpus:ident) { $($prepare:tt)* } $($key:literal $field:ident: $type:ty = $default:expr, $rule:expr, $summary:literal;)*) => {
        /// The value of every setting. A value that `set` stored is in its range.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings { $(#[doc = $summary] pub $field: $type,)* }

        impl Settings {
            /// The defaults on a machine with so many CPUs.
            pub fn new($cpus: u32) -> Settings {
                $($prepare)*
                Settings { $($field: $default,)* }
            }
        }

        /// Every setting, in the order of the documentation and of the live words.
        pub(super) const TABLE: &[Descriptor] = &[$(Descriptor {
            key: $key,
            summary: $summary,
            value: |settings| settings.$field.value(),
            put: |settings, value| settings.$field.put(value),
            ..$rule
        },)*];
    };
}

settings! {
    new(cpus) { let workers = cpus.clamp(1, 256); }

    // Processes, threads and what they hold.
    "workers" workers: u32 = workers, count(1, 256),
        "workers that read connections and run the host's callbacks";
    // With the default the check below holds on any machine: room for the supervisor and senders.
    "participants" participants: u32 = (workers + 32).max(64), count(2, 1_000),
        "threads and processes that can take part at one time: supervisor, workers and senders";
    "max_connections" max_connections: u32 = 16_384, count(1, 1 << 20),
        "open connections, both ways; further ones are refused";
    "max_connections_per_ip" max_connections_per_ip: u32 = 0, count(0, 1 << 20).live(),
        "accepted connections that one address may have open; further ones are refused; 0: no limit";
    // A host has a /64 of its own (RFC 6177, RFC 7421): counted by address it would have no limit.
    "per_ip_prefix4" per_ip_prefix4: u32 = 32, count(1, 32).live(),
        "bits of an IPv4 address that limits per address go by";
    "per_ip_prefix6" per_ip_prefix6: u32 = 64, count(1, 128).live(),
        "bits of an IPv6 address that limits per address go by";
    "accept_rate" accept_rate: u32 = 0, count(0, 1_000_000).live(),
        "connections accepted in a second; further ones are closed at once; 0: no limit";
    "accept_rate_per_ip" accept_rate_per_ip: u32 = 0, count(0, 1_000_000).live(),
        "connections accepted in a second from one address; further ones are closed at once; 0: no limit";
    "allow_networks" allow_networks: Networks = Networks::default(), networks().live(),
        "from where connections are accepted; none: from everywhere";
    "deny_networks" deny_networks: Networks = Networks::default(), networks().live(),
        "from where no connection is accepted, whatever else says";
    "trusted_networks" trusted_networks: Networks = Networks::default(), networks().live(),
        "from where connections are accepted without limits per address and of rate";
    "handoff" handoff: Handoff = Handoff::RoundRobin, word(Handoff::WORDS).live(),
        "which worker gets a connection with new data: each in turn, or the one that had it last";
    "worker_hold" worker_hold_ms: u64 = ms(5 * SECOND), duration(0, HOUR).live(),
        "how long a worker keeps a silent connection before it gives it back";
    "worker_stall" worker_stall_ms: u64 = ms(50), duration(TICK, HOUR).live(),
        "time in one callback after which a worker's other connections are lent to others";
    "fd_cache" fd_cache: u32 = 64, count(0, 4_096).with_words(FD_CACHE).live(),
        "descriptors that one sending process keeps or has on the way to it; 0: it always queues";
    "worker_fd_cache" worker_fd_cache: Option<u32> = None, count(0, 1 << 20).or("auto").live(),
        "descriptors that one worker process keeps after give-back; auto: from its descriptor limit";
    "supervisor_nice" supervisor_nice: Option<i32> = None, count(-20, 19).or("unset").live(),
        "nice value of the supervisor; negative ones need the privilege";
    "supervisor_rt_priority" supervisor_rt_priority: Option<u32> = None, count(1, 99).or("unset").live(),
        "real-time (SCHED_RR) priority of the supervisor; needs the privilege";

    // How long things may take.
    "connection_lifetime" connection_lifetime_ms: u64 = ms(120 * SECOND), duration(TICK, LONGEST).live(),
        "how long a connection may be idle with the supervisor before it is closed";
    "send_timeout" send_timeout_ms: u64 = ms(10 * SECOND), duration(TICK, HOUR).live(),
        "time without one byte of queued output sent after which a connection is closed";
    "connect_timeout" connect_timeout_ms: u64 = ms(10 * SECOND), duration(TICK, HOUR).live(),
        "how long opening a connection may take";
    "message_timeout" message_timeout_ms: u64 = ms(20 * SECOND), duration(TICK, HOUR).live(),
        "time from the first byte of a message to its last";
    "first_message_timeout" first_message_timeout_ms: u64 = 0, duration(0, HOUR).live(),
        "how long an accepted connection may take to its first message; 0: no limit";
    "half_close_timeout" half_close_timeout_ms: u64 = ms(32 * SECOND), duration(0, HOUR).live(),
        "how long answers are awaited after the peer has ended its side";
    "linger" linger_ms: u64 = ms(2 * SECOND), duration(0, HOUR).live(),
        "how long input is read and dropped after our side has ended, so that the last output arrives";
    "pong_timeout" pong_timeout_ms: u64 = ms(10 * SECOND), duration(TICK, HOUR).live(),
        "how long the answer to a ping of ours may take before the flow counts as failed (RFC 5626)";
    "flow_timer_grace" flow_timer_grace_ms: u64 = ms(10 * SECOND), duration(TICK, HOUR).live(),
        "how much later than its Flow-Timer a peer's ping may come before the connection is closed";
    "blacklist_ttl" blacklist_ttl_ms: u64 = ms(60 * SECOND), duration(0, LONGEST).live(),
        "how long a destination that failed is not dialled; 0: no blacklist";

    // Output.
    "conn_wq_max" conn_wq_max_bytes: u64 = bytes(32 * K), size(K, G).live(),
        "queued bytes of one connection; the kernel's socket buffer does not count";
    "wq_max" wq_max_bytes: u64 = bytes(10 * M), size(64 * K, 4 * G).live(),
        "queued bytes of all connections together";
    "queue_high" queue_high_bytes: Option<u64> = None, size(1, G).or("auto").live(),
        "queued bytes of one connection above which it is not read (pause_reading); auto: 3/4 of conn_wq_max";
    "queue_low" queue_low_bytes: Option<u64> = None, size(0, G).or("auto").live(),
        "queued bytes at which on_writable is called and the connection is read again; auto: 1/3 of queue_high";
    "pause_reading" pause_reading: bool = true, switch().live(),
        "read a connection no further while its own output is above queue_high";
    "queue_full" queue_full: QueueFull = QueueFull::Close, word(QueueFull::WORDS).live(),
        "at a queue limit: close the connection, or reject the new message only";
    "connections_per_destination" connections_per_destination: u32 = 1, count(1, MOST_LANES as i64).live(),
        "connections dialled to one destination: one for each hash modulo this; without a hash, one more when all have output queued";
    "no_connect" no_connect: bool = false, switch().live(),
        "never dial: send on open connections only";
    "close_rst" close_rst: bool = false, switch().live(),
        "end by a reset instead of a FIN, except where output is still to arrive";

    // Input.
    "max_message_size" max_message_size_bytes: u64 = bytes(64 * K), size(K, LARGEST_MESSAGE_BYTES).live(),
        "largest message received or sent";
    "partial_max" partial_max_bytes: u64 = bytes(64 * M), size(64 * K, 4 * G),
        "bytes read but not delivered (incomplete messages, paused connections) of all together; at the bound reading pauses";
    "accept_no_content_length" accept_no_content_length: bool = false, switch().live(),
        "take a message without Content-Length as one without body, instead of an error";
    "crlf_ping" crlf_ping: bool = true, switch().live(),
        "answer a double CRLF between messages with one (RFC 5626)";
    "crlf_keepalive" crlf_keepalive: bool = false, switch().live(),
        "ping on new connections that we dial, every 95 to 120 seconds (RFC 5626)";
    "error_answers" error_answers: bool = true, switch().live(),
        "answer a request that cannot be framed or that is cut off with 400 or 513 before closing";
    "accept_aliases" accept_aliases: bool = false, switch().live(),
        "let the host give connections aliases (the alias parameter of Via, RFC 5923)";
    "proxy_protocol" proxy_protocol: ProxyProtocol = ProxyProtocol::Off, word(ProxyProtocol::WORDS).of_listener(),
        "whether accepted connections may (optional) or must (required) begin with a PROXY header";
    "proxy_networks" proxy_networks: Networks = Networks::default(), networks().of_listener(),
        "from whom a PROXY header is believed; none: from everybody";
    "proxy_timeout" proxy_timeout_ms: u64 = ms(5 * SECOND), duration(TICK, MINUTE).live(),
        "how long a connection may take to its PROXY header";
    "proxy_protocol_out" proxy_protocol_out: ProxyOut = ProxyOut::Off, word(ProxyOut::WORDS).live(),
        "begin dialled connections with a PROXY header that names our own socket";
    "proxy_out_networks" proxy_out_networks: Networks = Networks::default(), networks(),
        "whom it is sent to; none: to everybody";

    // Sockets.
    "listen_backlog" listen_backlog: u32 = 1_024, count(1, 65_535).live(),
        "connections that the kernel keeps ready for accept";
    "defer_accept" defer_accept_s: u32 = 0, seconds(0, 3_600).live(),
        "how long the kernel holds an accepted connection back until its first data; 0: not at all";
    "reuse_port" reuse_port: bool = false, switch(),
        "SO_REUSEPORT on listeners, and on connections dialled from a given port";
    "tos" tos: Option<u8> = None, count(0, 255).or("unset").live(),
        "IP type of service (traffic class) of all sockets";
    "source_ipv4" source_ipv4: Option<Addr> = None, address(Unit::Ipv4).live(),
        "address to dial IPv4 destinations from";
    "source_ipv6" source_ipv6: Option<Addr> = None, address(Unit::Ipv6).live(),
        "address to dial IPv6 destinations from";
    "nodelay" nodelay: bool = true, switch().live(),
        "TCP_NODELAY on new connections";
    "keepalive" keepalive: bool = true, switch().live(),
        "SO_KEEPALIVE on new connections";
    // The kernel's own bounds: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and MAX_TCP_KEEPCNT.
    "keepidle" keepidle_s: Option<u32> = None, seconds(1, 32_767).or("unset").live(),
        "idle time before the first keep-alive probe on new connections";
    "keepintvl" keepintvl_s: Option<u32> = None, seconds(1, 32_767).or("unset").live(),
        "time between keep-alive probes on new connections";
    "keepcnt" keepcnt: Option<u32> = None, count(1, 127).or("unset").live(),
        "lost keep-alive probes after which the kernel ends the connection";
    "user_timeout" user_timeout_ms: Option<u32> = None, duration(1, LONGEST).or("unset").live(),
        "how long sent data may stay unacknowledged (TCP_USER_TIMEOUT) on new connections";

    // Log.
    "log_level" log_level: LogLevel = LogLevel::Notice, word(LogLevel::WORDS).live(),
        "least urgent records that are logged";
    "log_ring" log_ring: u32 = 1_024, count(16, 65_536),
        "log records that can wait for a worker to take them";
    "capture" capture: bool = false, switch().live(),
        "show every message in and out to the host's on_capture, if it has one";
}

/// How many live settings there are that fit a word, and that are texts: their places in the segment.
pub const LIVE_WORDS: usize = count_live(false);
pub const LIVE_TEXTS: usize = count_live(true);

const fn count_live(texts: bool) -> usize {
    let (mut live, mut rest) = (0, TABLE);
    while let [row, tail @ ..] = rest {
        live += (row.live && row.is_text() == texts) as usize;
        rest = tail;
    }
    live
}

/// Other names: the ancestor's, without its `tcp_` prefix, so that a host's parameters map one to one.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("children", "workers"),
    ("rd_buf_size", "max_message_size"),
    ("msg_read_timeout", "message_timeout"),
    ("msg_data_timeout", "first_message_timeout"),
    ("accept_no_cl", "accept_no_content_length"),
    ("accept_iplimit", "max_connections_per_ip"),
    ("accept_haproxy", "proxy_protocol"),
    ("wait_data", "proxy_timeout"),
    ("dst_blocklist_expire", "blacklist_ttl"),
];
