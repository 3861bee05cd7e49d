//! The public data of the C API: constants and structures. Numbers never change meaning and are
//! never reused; structures begin with their size and only grow.
#![allow(non_camel_case_types)]

use super::boundary::Sized32;
use crate::pure::addr::Addr;
use core::ffi::{c_char, c_void};

pub const SIPWIRE_OK: i32 = 0;
/// Of sipwire_send: the kernel took the whole message.
pub const SIPWIRE_SENT: i32 = 1;
/// Of sipwire_send: accepted; written later, or reported by on_send_failed. Also of an answer to one of several
/// requests that came together: it is written with those to the others.
pub const SIPWIRE_QUEUED: i32 = 2;
pub const SIPWIRE_E_ARGUMENT: i32 = -2001;
/// Unknown key or value; sipwire_config_error() or sipwire_set's `line` has one about it.
pub const SIPWIRE_E_SETTING: i32 = -2002;
/// A struct_size that is not understood.
pub const SIPWIRE_E_VERSION: i32 = -2003;
/// Not allowed inside a callback.
pub const SIPWIRE_E_REENTRANT: i32 = -2004;
/// Wrong role, process or phase.
pub const SIPWIRE_E_ROLE: i32 = -2005;
/// This process forked and did not attach.
pub const SIPWIRE_E_NOT_ATTACHED: i32 = -2006;
/// This setting cannot be changed while running.
pub const SIPWIRE_E_NOT_LIVE: i32 = -2007;
pub const SIPWIRE_E_NO_CONNECTION: i32 = -2100;
pub const SIPWIRE_E_BLACKLISTED: i32 = -2101;
pub const SIPWIRE_E_CONN_QUEUE_FULL: i32 = -2102;
pub const SIPWIRE_E_TOTAL_QUEUE_FULL: i32 = -2103;
pub const SIPWIRE_E_TOO_LARGE: i32 = -2104;
pub const SIPWIRE_E_SHUTTING_DOWN: i32 = -2105;
/// Another open connection answers to this address.
pub const SIPWIRE_E_ALIAS_TAKEN: i32 = -2110;
/// The setting accept_aliases is off.
pub const SIPWIRE_E_ALIASES_OFF: i32 = -2111;
/// No flow token of ours, or an altered one.
pub const SIPWIRE_E_BAD_TOKEN: i32 = -2112;
/// Setting "participants" exhausted.
pub const SIPWIRE_E_NO_PARTICIPANT: i32 = -2200;
pub const SIPWIRE_E_NO_MEMORY: i32 = -2201;
/// Address in use, no permission ...; sipwire_config_error() has the line.
pub const SIPWIRE_E_LISTEN: i32 = -2202;
/// A system call failed; errno says why.
pub const SIPWIRE_E_SYSTEM: i32 = -2300;
/// Of every function that returns a code: a bug of the library. The call did not complete, and what it was to
/// do may be done or not; who met it takes part again by itself.
pub const SIPWIRE_E_PANIC: i32 = -2400;
/// The supervisor's process ended, and no new one runs yet.
pub const SIPWIRE_E_SUPERVISOR_GONE: i32 = -2901;
pub const SIPWIRE_REASON_NONE: i32 = 0;
/// The host asked (sipwire_conn_close, on_message < 0).
pub const SIPWIRE_REASON_HOST: i32 = 1;
/// FIN.
pub const SIPWIRE_REASON_PEER_CLOSED: i32 = 2;
/// RST.
pub const SIPWIRE_REASON_PEER_RESET: i32 = 3;
pub const SIPWIRE_REASON_LIFETIME: i32 = 4;
pub const SIPWIRE_REASON_SEND_TIMEOUT: i32 = 5;
pub const SIPWIRE_REASON_CONNECT_TIMEOUT: i32 = 6;
/// Refused, unreachable ...: see errno.
pub const SIPWIRE_REASON_CONNECT_FAILED: i32 = 7;
pub const SIPWIRE_REASON_CONN_QUEUE_FULL: i32 = 8;
pub const SIPWIRE_REASON_TOTAL_QUEUE_FULL: i32 = 9;
pub const SIPWIRE_REASON_CLOSE_AFTER_SEND: i32 = 10;
pub const SIPWIRE_REASON_NOT_SIP: i32 = 11;
/// Content-Length missing, negative, not a number, above 32 bits, conflicting. A request is answered with 400 first.
pub const SIPWIRE_REASON_BAD_LENGTH: i32 = 12;
/// Header block and announced body are larger than `max_message_size`. A request is answered with 513 first.
pub const SIPWIRE_REASON_TOO_LARGE: i32 = 13;
/// The peer's FIN came inside a message. A request whose header block is there is answered with 400 first.
pub const SIPWIRE_REASON_EOF_IN_MESSAGE: i32 = 14;
pub const SIPWIRE_REASON_MESSAGE_TIMEOUT: i32 = 15;
pub const SIPWIRE_REASON_FIRST_MESSAGE_TIMEOUT: i32 = 16;
pub const SIPWIRE_REASON_HALF_CLOSE_TIMEOUT: i32 = 17;
pub const SIPWIRE_REASON_WORKER_DIED: i32 = 18;
pub const SIPWIRE_REASON_SENDER_DIED: i32 = 19;
pub const SIPWIRE_REASON_SUPERVISOR_GONE: i32 = 20;
/// Drain or stop.
pub const SIPWIRE_REASON_SHUTDOWN: i32 = 21;
/// See errno.
pub const SIPWIRE_REASON_IO_ERROR: i32 = 22;
pub const SIPWIRE_REASON_BLACKLISTED: i32 = 23;
/// No slot, no fd, no block: see errno.
pub const SIPWIRE_REASON_RESOURCE: i32 = 24;
/// The segment was scribbled on.
pub const SIPWIRE_REASON_CORRUPT: i32 = 25;
/// Gone before the queued message could be written.
pub const SIPWIRE_REASON_NO_CONNECTION: i32 = 26;
/// No pong within the setting pong_timeout.
pub const SIPWIRE_REASON_FLOW_FAILED: i32 = 27;
/// Nothing heard within Flow-Timer and the setting flow_timer_grace.
pub const SIPWIRE_REASON_FLOW_TIMER: i32 = 29;
/// A PROXY header that is bad, late or from outside proxy_networks. The host is told of no such connection;
/// they are in closed_by_reason and refused_proxy, not in accepted and closed.
pub const SIPWIRE_REASON_PROXY: i32 = 28;
/// Never dial: use an open connection or fail.
pub const SIPWIRE_SEND_NO_CONNECT: u32 = 1;
/// Close gracefully when this message is written.
pub const SIPWIRE_SEND_CLOSE_AFTER: u32 = 2;
/// Dial a new connection even when one is open; with conn_id, when that one has ended.
pub const SIPWIRE_SEND_FRESH: u32 = 4;
/// A flow (RFC 5626): on the connection conn_id or SIPWIRE_E_NO_CONNECTION. Nothing is dialled, and an
/// address of the target plays no part.
pub const SIPWIRE_SEND_FLOW: u32 = 8;
/// An answer (RFC 3261 18.2.2): on the connection conn_id of the request, whatever its address; only when
/// that has ended, to `remote`, which is the received address with the port of the Via.
pub const SIPWIRE_SEND_ANSWER: u32 = 16;
/// First message of its connection.
pub const SIPWIRE_MESSAGE_FIRST: u32 = 1;
/// Of sipwire_capture.direction: received.
pub const SIPWIRE_CAPTURE_IN: i32 = 1;
/// Accepted by sipwire_send.
pub const SIPWIRE_CAPTURE_OUT: i32 = 2;
/// In: not a message that can be framed; its connection ends for `reason`.
pub const SIPWIRE_CAPTURE_BAD: u32 = 1;
/// Out: the library's own answer to what it refused.
pub const SIPWIRE_CAPTURE_OWN: u32 = 2;
/// The worker that was told first died inside the callback.
pub const SIPWIRE_FAILURE_REPEATED: u32 = 1;
/// We dialled it.
pub const SIPWIRE_CONN_OUTBOUND: u32 = 1;
pub const SIPWIRE_CONN_CONNECTING: u32 = 2;
/// Async mode: output is queued.
pub const SIPWIRE_CONN_ASYNC: u32 = 4;
pub const SIPWIRE_CONN_CLOSING: u32 = 8;
/// The peer has sent FIN.
pub const SIPWIRE_CONN_HALF_CLOSED: u32 = 16;
/// See sipwire_conn_set_suspect.
pub const SIPWIRE_CONN_SUSPECT: u32 = 32;
/// Not read: sipwire_conn_pause.
pub const SIPWIRE_CONN_PAUSED: u32 = 64;
/// Not read (setting pause_reading): its own output is above queue_high, or not yet down to queue_low; or it
/// has some, and all queues together are above 3/4 of wq_max.
pub const SIPWIRE_CONN_SLOWED: u32 = 128;
/// With the supervisor.
pub const SIPWIRE_OWNER_IDLE: i32 = 0;
/// On its way to a worker.
pub const SIPWIRE_OWNER_LENT: i32 = 1;
pub const SIPWIRE_OWNER_HELD: i32 = 2;
/// A worker reads it or runs the script for it.
pub const SIPWIRE_OWNER_READING: i32 = 3;
pub const SIPWIRE_OWNER_RETIRING: i32 = 4;
pub const SIPWIRE_LOG_ERROR: i32 = 1;
pub const SIPWIRE_LOG_WARNING: i32 = 2;
pub const SIPWIRE_LOG_NOTICE: i32 = 3;
pub const SIPWIRE_LOG_INFO: i32 = 4;
pub const SIPWIRE_LOG_DEBUG: i32 = 5;
/// The supervisor has not come to open or close it yet.
pub const SIPWIRE_LISTENER_PENDING: i32 = 1;
pub const SIPWIRE_LISTENER_OPEN: i32 = 2;
/// It could not be opened.
pub const SIPWIRE_LISTENER_FAILED: i32 = 3;
/// It was removed, or the instance takes nothing new any more.
pub const SIPWIRE_LISTENER_CLOSED: i32 = 4;
/// Sections of sipwire_dump: version, time, statistics.
pub const SIPWIRE_DUMP_STATS: u32 = 1;
pub const SIPWIRE_DUMP_WORKERS: u32 = 2;
pub const SIPWIRE_DUMP_PARTICIPANTS: u32 = 4;
pub const SIPWIRE_DUMP_LISTENERS: u32 = 8;
pub const SIPWIRE_DUMP_CONNECTIONS: u32 = 16;
pub const SIPWIRE_DUMP_BLACKLIST: u32 = 32;
pub const SIPWIRE_DUMP_SETTINGS: u32 = 64;
pub const SIPWIRE_DUMP_ALL: u32 = 127;
pub const SIPWIRE_ROLE_SUPERVISOR: i32 = 1;
pub const SIPWIRE_ROLE_WORKER: i32 = 2;
/// Of sipwire_conn_set_keepalive: a random time of 95 to 120 seconds from one ping to the next.
pub const SIPWIRE_KEEPALIVE_DEFAULT: i64 = -1;
/// Bytes of the longest header that sipwire_proxy_header writes.
pub const SIPWIRE_PROXY_HEADER_MAX: usize = 107;
/// Size of a buffer for a flow token, its NUL included.
pub const SIPWIRE_FLOW_TOKEN_SIZE: usize = 29;
/// Size of the array closed_by_reason: room for reasons to come.
pub const SIPWIRE_REASON_COUNT: usize = 32;

/// An instance: one transport. Made by sipwire_new before any fork, freed by sipwire_free.
pub struct sipwire_instance {
    pub(super) instance: super::kept::Kept<crate::runtime::instance::Instance>,
}

/// Settings and listeners of an instance to be made.
pub struct sipwire_config {
    pub(super) inner: crate::runtime::config::Config,
    pub(super) error: std::ffi::CString,
}

/// One supervisor or worker driven by the host's own event loop.
pub struct sipwire_loop {
    /// None inside: a step runs.
    pub(super) role: super::kept::Kept<Option<crate::runtime::run::Role>>,
}

/// An IP address and port. IPv4 in ip[0..3]; an IPv4-mapped IPv6 address is stored as IPv4. It never
/// grows, and so does not say its size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_addr {
    /// 0 none, 4 or 6.
    pub family: u8,
    pub reserved: u8,
    /// Host byte order.
    pub port: u16,
    /// IPv6 link-local: the interface's index.
    pub scope_id: u32,
    pub ip: [u8; 16],
}

impl sipwire_addr {
    pub(super) fn to_addr(self) -> Addr {
        Addr {
            family: self.family,
            reserved: 0,
            port: self.port,
            scope_id: self.scope_id,
            ip: self.ip,
        }
        .normalised()
    }
    pub(super) fn from_addr(addr: &Addr) -> sipwire_addr {
        sipwire_addr {
            family: addr.family,
            reserved: 0,
            port: addr.port,
            scope_id: addr.scope_id,
            ip: addr.ip,
        }
    }
}

/// A piece of a message to send; the same layout as struct iovec, for good.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_iov {
    pub base: *const c_void,
    /// Bytes.
    pub length: usize,
}

/// Where a message is to go: a connection id and/or a remote address. With both, the connection is
/// used while it still has that address, else the address.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_target {
    /// sizeof(sipwire_target).
    pub struct_size: u32,
    /// SIPWIRE_SEND_... bits.
    pub flags: u32,
    /// 0: by address only.
    pub conn_id: u32,
    /// By address, with the setting connections_per_destination above 1: messages of one hash (of the
    /// Call-ID, say) go over one connection as long as it lives. 0: each over the one with the least queued.
    pub hash: u32,
    /// family 0: by id only.
    pub remote: sipwire_addr,
    /// family 0: any local address; port 0: any port of it.
    pub local: sipwire_addr,
}

/// A complete SIP message, lent to on_message for the time of the callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_message {
    pub struct_size: u32,
    pub conn_id: u32,
    /// Writable; data[length] is 0. The library reads nothing of it after the callback.
    pub data: *mut c_char,
    /// Bytes: header_length + body_length.
    pub length: usize,
    /// Start line to the empty line, included.
    pub header_length: usize,
    pub body_length: usize,
    pub remote: sipwire_addr,
    pub local: sipwire_addr,
    /// Index of the listener, -1: a connection we dialled.
    pub listener: i32,
    /// The worker that runs this callback.
    pub worker: i32,
    /// CLOCK_MONOTONIC, milliseconds.
    pub time_ms: u64,
    /// What sipwire_conn_set_user stored.
    pub conn_user: u64,
    /// SIPWIRE_MESSAGE_... bits.
    pub flags: u32,
    pub reserved: u32,
}

/// A message that was accepted (SIPWIRE_QUEUED) and will not be written whole.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_failure {
    pub struct_size: u32,
    /// 0: it never had a connection.
    pub conn_id: u32,
    /// As given to sipwire_send.
    pub cookie: u64,
    /// SIPWIRE_REASON_...
    pub reason: i32,
    /// errno, 0 when there is none.
    pub error: i32,
    pub remote: sipwire_addr,
    /// The whole message as given to sipwire_send, writable, data[length] is 0. Lent for the
    /// callback.
    pub data: *mut c_char,
    pub length: usize,
    /// Bytes the kernel had taken.
    pub written: usize,
    pub worker: i32,
    /// SIPWIRE_FAILURE_... bits.
    pub flags: u32,
}

/// A message that passes, shown to on_capture. All of it is lent for the callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_capture {
    pub struct_size: u32,
    /// SIPWIRE_CAPTURE_IN or _OUT.
    pub direction: i32,
    /// 0: it waits for a connection that is to be dialled.
    pub conn_id: u32,
    /// SIPWIRE_CAPTURE_... bits.
    pub flags: u32,
    pub remote: sipwire_addr,
    /// With conn_id 0 as given to sipwire_send: family 0 or port 0 when that was left open.
    pub local: sipwire_addr,
    /// Index of the listener, -1: a connection we dialled, or none yet.
    pub listener: i32,
    /// The worker that runs this callback, -1: a thread that only sends.
    pub worker: i32,
    /// Out: SIPWIRE_SENT or SIPWIRE_QUEUED. In: 0.
    pub result: i32,
    /// With SIPWIRE_CAPTURE_BAD: SIPWIRE_REASON_..., else 0.
    pub reason: i32,
    /// CLOCK_REALTIME, microseconds. In: when it is complete and about to be delivered. Out: when
    /// sipwire_send was called, so that an answer to it is never older.
    pub time_us: u64,
    /// Out: as given to sipwire_send.
    pub cookie: u64,
    /// The message in 1 to 64 pieces, not NUL-terminated. With SIPWIRE_CAPTURE_BAD: what was read from
    /// its beginning on, which may be more than it or less.
    pub iov: *const sipwire_iov,
    pub iov_count: usize,
    /// Bytes in all pieces.
    pub length: usize,
}

/// A snapshot of one connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_conn_info {
    /// In: sizeof(sipwire_conn_info).
    pub struct_size: u32,
    pub conn_id: u32,
    pub remote: sipwire_addr,
    pub local: sipwire_addr,
    /// SIPWIRE_CONN_... bits.
    pub flags: u32,
    /// SIPWIRE_OWNER_...
    pub owner: i32,
    /// When lent, held or reading; else -1.
    pub worker: i32,
    /// -1: dialled.
    pub listener: i32,
    pub age_ms: u64,
    pub idle_ms: u64,
    pub lifetime_ms: u64,
    /// Our queue only, not the kernel's buffer.
    pub queued_bytes: u64,
    /// Received bytes that are not delivered: of a message that is not complete, or read before reading
    /// stopped.
    pub partial_bytes: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub messages_in: u64,
    pub messages_out: u64,
    pub conn_user: u64,
    /// Requests delivered (not ACK) minus final answers sent.
    pub pending_answers: i32,
    /// SIPWIRE_REASON_..., when closing.
    pub close_reason: i32,
    pub close_error: i32,
    /// The connection is also found under its remote address with this port; 0: it has no alias.
    pub alias_port: u32,
    /// What sipwire_conn_set_keepalive set; SIPWIRE_KEEPALIVE_DEFAULT also by the setting crlf_keepalive.
    pub keepalive_ms: i64,
    /// What sipwire_conn_set_flow_timer set.
    pub flow_timer_ms: i64,
    /// How long the pong to our ping has been awaited, 0: none is awaited.
    pub pong_wait_ms: u64,
    /// The addresses of the socket itself: remote and local, unless a PROXY header (setting proxy_protocol)
    /// said for whom the connection was made. Then remote and local are those of the header, by which it is
    /// found and counted, too.
    pub wire_remote: sipwire_addr,
    pub wire_local: sipwire_addr,
}

/// One log line.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_log_record {
    pub struct_size: u32,
    /// SIPWIRE_LOG_...
    pub level: i32,
    /// 0: of no connection.
    pub conn_id: u32,
    /// Records of this kind left out since the last one.
    pub suppressed: u32,
    /// CLOCK_REALTIME, milliseconds.
    pub time_ms: u64,
    /// No newline, NUL-terminated; lent for the callback.
    pub text: *const c_char,
    pub length: usize,
}

/// The host's callbacks. They run in workers only (on_log also in sipwire_log_drain, on_capture also in
/// sipwire_send); members that are 0 are not called. Copied by sipwire_new. No lock is held during a
/// callback, and every function may be called inside one unless its comment says otherwise. A callback
/// must return: no longjmp, no C++ exception, no pthread_exit; and a thread that is inside a call of this library, or
/// in a callback, must not be cancelled (pthread_cancel): that ends the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_callbacks {
    /// sizeof(sipwire_callbacks).
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// A complete message. Return 0 to go on; < 0: close this connection (reason HOST) once its
    /// queued output is written; messages behind this one are not delivered.
    pub on_message: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            instance: *mut sipwire_instance,
            message: *mut sipwire_message,
        ) -> i32,
    >,
    /// An accepted message was not written whole: exactly once for each (twice only when a
    /// worker dies inside this callback, then with SIPWIRE_FAILURE_REPEATED). May run beside
    /// on_message, in any worker.
    pub on_send_failed: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            instance: *mut sipwire_instance,
            failure: *mut sipwire_failure,
        ),
    >,
    /// A connection was accepted, or one we dialled is connected. Before its first on_message; for one
    /// that ended before that (a dial that failed, too) right before its on_close.
    pub on_open: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            instance: *mut sipwire_instance,
            info: *const sipwire_conn_info,
        ),
    >,
    /// A connection ended; exactly one, and the last call for its id: behind on_send_failed of all its
    /// messages. info.close_reason, close_error.
    pub on_close: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            instance: *mut sipwire_instance,
            info: *const sipwire_conn_info,
        ),
    >,
    /// A connection whose queue was above queue_high, or on which a send was refused for want of room, is
    /// down to queue_low; if it was refused although the queue was at queue_low, it is empty. When all
    /// queues together were full, also that has changed. Rarely it comes for a connection that never was
    /// full; never after its on_close, but perhaps before its on_open (one that was dialled, and filled while it
    /// connected).
    pub on_writable: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            instance: *mut sipwire_instance,
            info: *const sipwire_conn_info,
        ),
    >,
    /// A log line of the library. The library itself prints nothing.
    pub on_log: Option<unsafe extern "C" fn(user: *mut c_void, record: *const sipwire_log_record)>,
    /// In the worker, before its first other callback.
    pub on_worker_start: Option<
        unsafe extern "C" fn(user: *mut c_void, instance: *mut sipwire_instance, worker: i32),
    >,
    /// In the worker, after its last other callback.
    pub on_worker_stop: Option<
        unsafe extern "C" fn(user: *mut c_void, instance: *mut sipwire_instance, worker: i32),
    >,
    /// A message passes, for HEP or pcap; while setting "capture" is yes (default no; sipwire_set switches it
    /// while running). In: in the worker, right before its on_message; also what is refused as bad, with
    /// SIPWIRE_CAPTURE_BAD and without an on_message. Out: in the thread that calls sipwire_send, when the
    /// message was accepted and before the call returns; one that only was queued may still come in
    /// on_send_failed. The supervisor runs no host code: what it writes later was shown when it was accepted,
    /// with what was known then. Keep-alives and what sipwire_send refuses are not shown.
    /// Messages of one thread come in the order of its calls; of several, not always as on the wire.
    /// sipwire_send is allowed inside, and what it sends is not shown. The time this callback takes delays
    /// on_message and sipwire_send: it must not block.
    pub on_capture: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            instance: *mut sipwire_instance,
            capture: *const sipwire_capture,
        ),
    >,
}

/// Statistics: what is now, then totals since sipwire_new.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_stats {
    /// In: sizeof(sipwire_stats).
    pub struct_size: u32,
    pub reserved: u32,
    pub connections: u64,
    pub connections_idle: u64,
    pub queued_bytes: u64,
    pub partial_bytes: u64,
    pub blocks_used: u64,
    pub blocks_total: u64,
    pub slots_used: u64,
    pub slots_total: u64,
    pub participants: u64,
    pub workers: u64,
    pub blacklist_entries: u64,
    pub supervisor_pid: u64,
    /// 1 while accept is paused for want of fds.
    pub accept_paused: u64,
    /// 1 after something impossible was met in the segment.
    pub degraded: u64,
    pub accepted: u64,
    pub dialled: u64,
    pub connected: u64,
    pub connect_failed: u64,
    pub closed: u64,
    pub refused_max_connections: u64,
    pub refused_max_connections_per_ip: u64,
    pub accept_pauses: u64,
    pub handoffs: u64,
    pub givebacks: u64,
    pub relends: u64,
    pub nofd_returns: u64,
    pub fds_passed: u64,
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    pub pings: u64,
    pub error_answers: u64,
    pub sends_direct: u64,
    pub sends_queued: u64,
    pub sends_refused: u64,
    pub async_started: u64,
    pub async_ended: u64,
    pub failures_reported: u64,
    pub failures_repeated: u64,
    /// Accepted messages neither written nor reported: stays 0.
    pub messages_lost_report: u64,
    pub blacklist_added: u64,
    pub blacklist_refused: u64,
    pub participants_died: u64,
    pub log_dropped: u64,
    pub callbacks_running: u64,
    pub closed_by_reason: [u64; SIPWIRE_REASON_COUNT],
    /// Ours, and the peers' answers to them; `pings` are those of peers.
    pub pings_sent: u64,
    pub pongs_heard: u64,
    /// Pongs that did not come in time.
    pub flows_failed: u64,
    /// Connections closed because of their PROXY header: bad, late, from outside proxy_networks, or the oldest
    /// that was waited for when there was no room for a new connection.
    pub refused_proxy: u64,
    /// Connections whose PROXY header is awaited; not yet in connections or accepted.
    pub proxy_waiting: u64,
    /// Connections refused because they come from deny_networks.
    pub refused_denied: u64,
    /// Because they come from elsewhere than allow_networks.
    pub refused_not_allowed: u64,
    /// Because of accept_rate.
    pub refused_rate: u64,
    /// Because of accept_rate_per_ip.
    pub refused_rate_per_ip: u64,
    /// 1 from sipwire_drain on.
    pub draining: u64,
    /// Connections that a drain cut at its deadline, with an answer or output still to come.
    pub drain_cut: u64,
    pub aliases_added: u64,
    pub aliases_refused: u64,
}

/// One worker.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_worker_stats {
    /// In: sizeof(sipwire_worker_stats).
    pub struct_size: u32,
    pub worker: i32,
    /// 1: attached.
    pub running: u32,
    /// 1: in one callback for longer than worker_stall.
    pub stalled: u32,
    pub pid: u64,
    /// Connections it holds now.
    pub held: u64,
    /// Connections handed to it, ever.
    pub lends: u64,
    pub messages: u64,
    /// Milliseconds it has been in the current callback, 0: in none.
    pub busy_ms: u64,
}

/// A destination that is not dialled for a while.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sipwire_blacklist_entry {
    /// In: sizeof(sipwire_blacklist_entry).
    pub struct_size: u32,
    /// SIPWIRE_REASON_... for which it was added; SIPWIRE_REASON_HOST by sipwire_blacklist_add.
    pub reason: i32,
    pub addr: sipwire_addr,
    pub remaining_ms: u64,
}

macro_rules! sized {
    ($($type:ty),*) => { $(
        // SAFETY: repr(C), integers, raw pointers and optional function pointers only (all
        // valid as zero); begins with struct_size.
        unsafe impl Sized32 for $type {
            // The caller gets what it has room for, and need not have more than this.
            const MIN: usize = 8;
        }
    )* };
}
sized!(
    sipwire_stats,
    sipwire_worker_stats,
    sipwire_conn_info,
    sipwire_blacklist_entry
);

// SAFETY: as above; version 0.1 has all members up to `local`.
unsafe impl Sized32 for sipwire_target {
    const MIN: usize = 64;
}
const _: () = assert!(size_of::<sipwire_target>() == 64); // goes when a member is added; MIN stays
// SAFETY: as above; `on_message` is what makes a host.
unsafe impl Sized32 for sipwire_callbacks {
    const MIN: usize = 16;
}
