//! What a worker tells the host: the callbacks of the C API as a trait, so that roles and their
//! tests know nothing of C.

use crate::pure::addr::Addr;
pub use crate::pure::picture::conn::ConnInfo;
use crate::pure::reason::Reason;
use crate::roles::capture::Ends;
use crate::roles::sender::Sent;
use crate::shm::log_ring::Entry as LogEntry;

pub struct Message<'a> {
    pub conn_id: u32,
    /// The message, followed by one NUL byte that is not part of it: `length` is data.len() - 1.
    pub data: &'a mut [u8],
    pub header_length: usize,
    pub body_length: usize,
    pub remote: Addr,
    pub local: Addr,
    /// Listener index, -1: a dialled connection.
    pub listener: i32,
    pub worker: i32,
    pub time_ms: u64,
    pub conn_user: u64,
    pub first: bool,
}

pub struct Failure<'a> {
    pub conn_id: u32,
    pub cookie: u64,
    pub reason: Reason,
    pub errno: i32,
    pub remote: Addr,
    /// The whole message and one NUL.
    pub data: &'a mut [u8],
    pub written: usize,
    pub worker: i32,
    pub repeated: bool,
}

/// A message that passes, as `on_capture` sees it.
pub struct Capture<'a> {
    /// CLOCK_REALTIME, microseconds.
    pub time_us: u64,
    pub what: Captured,
    pub ends: Ends,
    /// Worker index, -1: another participant.
    pub worker: i32,
    /// The message is all of them in a row.
    pub parts: &'a [&'a [u8]],
}

#[derive(Clone, Copy, Debug)]
pub enum Captured {
    Received,
    /// The stream is lost here: what was read of it from the beginning of this message on.
    Refused(Reason),
    /// `own`: the library's answer to what it refused.
    Accepted {
        sent: Sent,
        cookie: u64,
        own: bool,
    },
}

/// Which callbacks the host has: what nobody listens to is not carried anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    pub send_failed: bool,
    pub open: bool,
    pub close: bool,
    pub writable: bool,
    pub log: bool,
    pub capture: bool,
}

pub trait Host: Send + Sync {
    fn wants(&self) -> Wants;
    /// Negative: close this connection once its output is written.
    fn on_message(&self, message: &mut Message<'_>) -> i32;
    fn on_send_failed(&self, failure: &mut Failure<'_>);
    fn on_open(&self, info: &ConnInfo);
    fn on_close(&self, info: &ConnInfo);
    fn on_writable(&self, info: &ConnInfo);
    fn on_log(&self, entry: &LogEntry);
    fn on_worker_start(&self, worker: i32);
    fn on_worker_stop(&self, worker: i32);
    /// Not only in workers: whoever sends calls it too.
    fn on_capture(&self, _capture: &Capture<'_>) {}
}
