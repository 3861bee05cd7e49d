//! The first page of the segment: what it is, who is the supervisor, what all must see at once.

use super::region::shared;
use crate::pure::reason::REASON_COUNT;
use crate::pure::settings::LIVE_WORDS;
use crate::sync::{AtomicU32, AtomicU64};

pub const MAGIC: u64 = 0x5349_5057_4952_4531; // "SIPWIRE1"

#[repr(C, align(64))]
pub struct Header {
    pub magic: AtomicU64,
    /// Hash of offsets, counts and sizes of everything in the segment.
    pub layout: AtomicU64,
    /// Moves on with each supervisor; senders notice by it that their channel is a dead one's.
    pub epoch: AtomicU64,
    pub supervisor_pid: AtomicU32,
    /// A participant or the parent saw the supervisor's process end.
    pub supervisor_gone: AtomicU32,
    /// `sipwire_stop` was called: every loop ends.
    pub stopping: AtomicU32,
    /// A violation (P12) was met; the instance goes on, marked.
    pub degraded: AtomicU32,
    /// Monotonic ms by which a drain must be over, 0: no drain.
    pub drain_ms: AtomicU64,
    /// Bumped after each change of `live`.
    pub live_version: AtomicU64,

    pub line_sleep: SleepLine,
    pub line_dial: DialLine,
    pub gauges: Gauges,
    pub live: [AtomicU64; LIVE_WORDS],
}

/// Written by the supervisor around its poll, read by every poster.
#[repr(C, align(64))]
pub struct SleepLine {
    pub sleeping: AtomicU32,
}

/// The dial list's head: a block index, pushed by senders, taken whole by the supervisor.
#[repr(C, align(64))]
pub struct DialLine {
    pub head: AtomicU32,
}

/// What is true now; written by the supervisor.
#[repr(C, align(64))]
pub struct Gauges {
    pub connections: AtomicU64,
    pub idle: AtomicU64,
    pub slots_used: AtomicU64,
    pub accept_paused: AtomicU64,
    pub notices: AtomicU64,
    pub closed_by_reason: [AtomicU64; REASON_COUNT],
}

shared!(Header);
