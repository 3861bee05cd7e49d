//! The table of participants: who takes part, in which process, what it has queued and counted.
//!
//! Invariants: PART-1 a record belongs to the participant that swapped it from FREE until it
//! leaves or the supervisor has recovered what it held; PART-2 `added` is written only by the
//! participant, `removed` only by the supervisor.
//! A participant's number is its record's index + 1, so that 0 is nobody; 1 is the supervisor.

use super::counters::Counters;
use super::region::shared;
use crate::pure::words::Holder;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word};

pub const SUPERVISOR: Holder = 1;

/// `Record::state`: free, taken by a living participant, or being recovered by the supervisor.
pub const FREE: u32 = 0;
pub const ACTIVE: u32 = 1;
pub const RECOVERING: u32 = 2;

#[repr(C, align(64))]
pub struct Record {
    pub state: AtomicU32,
    pub pid: AtomicU32,
    /// Moves on each time the record is taken: a message of an earlier owner is recognised.
    pub epoch: AtomicU32,
    /// Worker index + 1, 0: a sender.
    pub worker: AtomicU32,
    pub own: OwnLine,
    pub supervised: SupervisedLine,
    pub counters: Counters,
}

/// Written by the participant.
#[repr(C, align(64))]
pub struct OwnLine {
    /// Bytes it has put into queues, ever.
    pub added: AtomicU64,
    /// Messages it has put on the dial list, ever.
    pub dial_posted: AtomicU64,
    /// Bytes of partial messages it has parked minus those it has taken up again (two's complement).
    pub partial: AtomicU64,
    /// When the callback that runs began, monotonic ms; 0: none runs.
    pub callback_since_ms: AtomicU64,
    /// About to poll: who gives it something must wake it.
    pub sleeping: AtomicU32,
    /// fds it took from its channel, ever.
    pub fds_taken: AtomicU32,
}

/// Written by the supervisor.
#[repr(C, align(64))]
pub struct SupervisedLine {
    /// Bytes of its messages that left the queues, ever.
    pub removed: AtomicU64,
    /// Its dial messages that have been queued or reported, ever.
    pub dial_taken: AtomicU64,
    /// fds put into its channel, ever.
    pub fds_passed: AtomicU32,
    /// Its lend ring or channel was full: it wakes the supervisor when it has made room.
    pub room_wanted: AtomicU32,
    /// The poll of a worker beside the supervisor (same process), by number; 0: none. Written by the
    /// worker before it announces itself.
    pub epoll_fd: AtomicU32,
}

shared!(Record);

#[derive(Clone, Copy)]
pub struct Participants<'a> {
    pub records: &'a [Record],
}

impl<'a> Participants<'a> {
    pub fn get(&self, holder: Holder) -> Option<&'a Record> {
        self.records.get(usize::from(holder).checked_sub(1)?)
    }

    /// Takes a free record. `worker`: worker index + 1, 0 for a sender. Number 1 is left to the
    /// supervisor.
    pub fn join(&self, pid: u32, worker: u32) -> Option<Holder> {
        (2..=self.records.len()).find_map(|number| {
            let holder = Holder::try_from(number).ok()?;
            let record = self.get(holder)?;
            record
                .state
                .compare_exchange(FREE, ACTIVE, Ordering::SeqCst, Ordering::SeqCst)
                .ok()?;
            record.pid.store_sync(pid);
            record.worker.store_sync(worker);
            record.epoch.fetch_add(1, Ordering::SeqCst);
            record.own.callback_since_ms.store_sync(0);
            record.own.sleeping.store_sync(0);
            // What a recovered owner had posted is settled: the pair starts equal.
            record
                .own
                .dial_posted
                .store_sync(record.supervised.dial_taken.load_sync());
            record
                .own
                .fds_taken
                .store_sync(record.supervised.fds_passed.load_sync());
            Some(holder)
        })
    }

    /// By the participant itself; it holds nothing any more.
    pub fn leave(&self, holder: Holder) {
        if let Some(record) = self.get(holder) {
            record.worker.store_sync(0);
            record.pid.store_sync(0);
            record.state.store_sync(FREE);
        }
    }

    /// Queued bytes of all: each side's cell is read once; a message that moves meanwhile may be
    /// counted or not, never twice.
    pub fn queued_bytes(&self) -> u64 {
        self.records
            .iter()
            .map(|r| {
                let removed = r.supervised.removed.load_sync();
                r.own.added.load_sync().wrapping_sub(removed)
            })
            .fold(0u64, u64::wrapping_add)
    }

    pub fn partial_bytes(&self) -> u64 {
        let sum = self
            .records
            .iter()
            .map(|r| r.own.partial.load_sync())
            .fold(0u64, u64::wrapping_add);
        if (sum as i64) < 0 { 0 } else { sum }
    }

    pub fn active(&self) -> impl Iterator<Item = (Holder, &'a Record)> {
        self.records
            .iter()
            .enumerate()
            .filter(|(_, r)| r.state.load_sync() == ACTIVE)
            .filter_map(|(i, r)| Some((Holder::try_from(i + 1).ok()?, r)))
    }
}
