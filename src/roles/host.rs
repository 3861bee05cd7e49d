//! What a worker tells the host: the callbacks of the C API as a trait, so that roles and their
//! tests know nothing of C.

use crate::pure::addr::Addr;
pub use crate::pure::picture::conn::ConnInfo;
use crate::pure::reason::Reason;
use crate::roles::capture::Ends;
use crate::roles::target::Sent;
use crate::shm::log_ring::Entry as LogEntry;

/// A complete SIP message, lent for the time of the callback.
#[deny(missing_docs)]
pub struct Message<'a> {
    /// The connection it came on.
    pub conn_id: u32,
    /// The message, followed by one NUL byte that is not part of it; see `bytes`. Nobody reads it after the callback.
    pub data: &'a mut [u8],
    /// Start line to the empty line, included.
    pub header_length: usize,
    /// What follows the header.
    pub body_length: usize,
    /// Where it came from.
    pub remote: Addr,
    /// Where it arrived.
    pub local: Addr,
    /// Listener index, -1: a dialled connection.
    pub listener: i32,
    /// The worker that runs this callback.
    pub worker: i32,
    /// CLOCK_MONOTONIC, milliseconds.
    pub time_ms: u64,
    /// What `conn_set_user` stored.
    pub conn_user: u64,
    /// First message of its connection.
    pub first: bool,
}

#[deny(missing_docs)]
impl Message<'_> {
    /// The whole message.
    pub fn bytes(&self) -> &[u8] {
        without_nul(self.data)
    }
    /// Start line to the empty line, included.
    pub fn header(&self) -> &[u8] {
        self.bytes().get(..self.header_length).unwrap_or_default()
    }
    /// What follows the header.
    pub fn body(&self) -> &[u8] {
        self.bytes().get(self.header_length..).unwrap_or_default()
    }
}

/// A message that was accepted and will not be written whole, lent for the time of the callback.
#[deny(missing_docs)]
pub struct Failure<'a> {
    /// 0: it never had a connection.
    pub conn_id: u32,
    /// As given to `send`.
    pub cookie: u64,
    /// Why.
    pub reason: Reason,
    /// 0 when there is none.
    pub errno: i32,
    /// Where it was to go.
    pub remote: Addr,
    /// The whole message and one NUL; see `bytes`.
    pub data: &'a mut [u8],
    /// Bytes that the kernel had taken.
    pub written: usize,
    /// The worker that runs this callback.
    pub worker: i32,
    /// The worker that was told first died inside the callback.
    pub repeated: bool,
}

#[deny(missing_docs)]
impl Failure<'_> {
    /// The whole message.
    pub fn bytes(&self) -> &[u8] {
        without_nul(self.data)
    }
}

fn without_nul(data: &[u8]) -> &[u8] {
    data.split_last().map_or(&[], |(_, bytes)| bytes)
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
