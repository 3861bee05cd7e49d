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

/// Who has a record: epoch (24) | state (8) | pid (32). One word, so that at every instant it is known
/// whose death would have to be recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tenant(u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    Free = 0,
    /// Taken by a living participant.
    Active = 1,
    /// Its participant is dead, the supervisor sets right what it held.
    Recovering = 2,
}

const EPOCH_MASK: u32 = 0xFF_FFFF;
/// In `end_told`: how it ended, above the epoch.
const LEFT: u32 = 1 << 31;
const FAILED: u32 = 1 << 30;

impl Tenant {
    fn new(epoch: u32, state: State, pid: u32) -> Tenant {
        Tenant(u64::from(epoch & EPOCH_MASK) << 40 | (state as u64) << 32 | u64::from(pid))
    }
    /// Moves on each time the record is taken: a message of an earlier tenant is recognised.
    pub fn epoch(self) -> u32 {
        (self.0 >> 40) as u32
    }
    pub fn pid(self) -> u32 {
        self.0 as u32
    }
    pub fn is_active(self) -> bool {
        self.0 >> 32 & 0xFF == State::Active as u64
    }
    pub fn is_free(self) -> bool {
        self.0 >> 32 & 0xFF == State::Free as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Died,
    /// It lives, and left without giving its number back.
    Left,
    /// It lives, and met a bug: see `roles::failure`.
    Failed,
}

#[repr(C, align(64))]
pub struct Record {
    tenant: AtomicU64,
    /// Worker index + 1, 0: a sender.
    pub worker: AtomicU32,
    /// The epoch of which somebody said that it has ended (`tell_end`), + 1, and how.
    end_told: AtomicU32,
    pub own: OwnLine,
    pub account: AccountLine,
    pub supervised: SupervisedLine,
    pub counters: Counters,
}

/// Written by the participant, with each turn.
#[repr(C, align(64))]
pub struct OwnLine {
    /// When the callback that runs began, monotonic ms; 0: none runs.
    pub callback_since_ms: AtomicU64,
    /// About to poll: who gives it something must wake it.
    pub sleeping: AtomicU32,
    /// fds it took from its channel, ever.
    pub fds_taken: AtomicU32,
}

/// Written by the participant when it queues or parks; read by all who do.
#[repr(C, align(64))]
pub struct AccountLine {
    /// Bytes it has put into queues, ever.
    pub added: AtomicU64,
    /// Messages it has put on the dial list, ever.
    pub dial_posted: AtomicU64,
    /// Bytes of partial messages it has parked minus those it has taken up again (two's complement).
    pub partial: AtomicU64,
    /// A step of `partial` and of a slot's own count that is under way, as the values they get, so that
    /// it can be done again: slot + 1 (0: none), the slot's count, `partial`.
    pub redo_slot: AtomicU32,
    pub redo_bytes: AtomicU32,
    pub redo_partial: AtomicU64,
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
    /// The claim of the supervisor that knows the participant: what is over when the channel closes.
    /// 0, from the participant itself when it joins: none knows it yet.
    pub claim: AtomicU64,
    /// The poll of a worker beside the supervisor (same process), by number; 0: none. Written by the
    /// worker before it announces itself.
    pub epoll_fd: AtomicU32,
}

shared!(Record);

impl Record {
    pub fn tenant(&self) -> Tenant {
        Tenant(self.tenant.load_sync())
    }
    #[cfg_attr(crash_points, track_caller)]
    fn swap(&self, from: Tenant, to: Tenant) -> bool {
        self.tenant
            .compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
    /// The record is that of this tenant, who lives.
    pub fn is_of(&self, epoch: u32, pid: u32) -> bool {
        self.tenant() == Tenant::new(epoch, State::Active, pid)
    }
    /// The tenant takes no further step.
    pub fn tell_end(&self, epoch: u32, end: End) {
        let how = match end {
            End::Died => 0,
            End::Left => LEFT,
            End::Failed => FAILED,
        };
        // Not over what is told of the next tenant: that may not be told again.
        let tell = |_| (self.tenant().epoch() == epoch).then_some((epoch + 1) | how);
        let order = Ordering::SeqCst;
        let _ = self.end_told.fetch_update(order, order, tell);
    }
    /// Supervisor: what was told of the tenant `epoch`, None: nothing.
    pub fn told_end(&self, epoch: u32) -> Option<End> {
        let told = self.end_told.load_sync();
        let how = match told & (LEFT | FAILED) {
            0 => End::Died,
            LEFT => End::Left,
            _ => End::Failed,
        };
        (told & !(LEFT | FAILED) == epoch + 1).then_some(how)
    }
    /// Supervisor: the tenant is dead. False: it left, or another one has the record by now.
    pub fn begin_recovery(&self, epoch: u32) -> bool {
        let tenant = self.tenant();
        tenant.is_active()
            && tenant.epoch() == epoch
            && self.swap(tenant, Tenant::new(epoch, State::Recovering, tenant.pid()))
    }
    /// Supervisor: nothing is left of the dead one.
    pub fn end_recovery(&self) {
        let tenant = self.tenant();
        self.worker.store_sync(0);
        self.own.callback_since_ms.store_sync(0);
        self.tenant
            .store_sync(Tenant::new(tenant.epoch(), State::Free, 0).0);
    }
    /// A new supervisor: the recovery that its predecessor was in is begun anew.
    pub fn restart_recovery(&self) -> bool {
        let tenant = self.tenant();
        !tenant.is_free()
            && !tenant.is_active()
            && self.swap(
                tenant,
                Tenant::new(tenant.epoch(), State::Active, tenant.pid()),
            )
    }
}

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
            let free = record.tenant();
            let mine = Tenant::new(free.epoch() + 1, State::Active, pid);
            if !free.is_free() || !record.swap(free, mine) {
                return None;
            }
            record.worker.store_sync(worker);
            record.own.callback_since_ms.store_sync(0);
            record.own.sleeping.store_sync(0);
            record.supervised.claim.store_sync(0);
            // `dial_posted` stays: what the last tenant left on the dial list is before ours.
            Some(holder)
        })
    }

    /// The supervisor takes its own record, whoever had it.
    pub fn join_as_supervisor(&self, pid: u32) {
        if let Some(record) = self.get(SUPERVISOR) {
            let epoch = record.tenant().epoch() + 1;
            record
                .tenant
                .store_sync(Tenant::new(epoch, State::Active, pid).0);
        }
    }

    /// By the participant itself, which holds nothing any more. No-op when the record is not (or no
    /// longer) its own.
    pub fn leave(&self, holder: Holder, epoch: u32, pid: u32) {
        if let Some(record) = self.get(holder) {
            let mine = Tenant::new(epoch, State::Active, pid);
            if record.tenant() == mine {
                record.worker.store_sync(0);
                let _ = record.swap(mine, Tenant::new(epoch, State::Free, 0));
            }
        }
    }

    /// Queued bytes of all: each side's cell is read once; a message that moves meanwhile may be
    /// counted or not, never twice.
    pub fn queued_bytes(&self) -> u64 {
        not_negative(self.records.iter().map(|r| {
            let removed = r.supervised.removed.load_sync();
            r.account.added.load_sync().wrapping_sub(removed)
        }))
    }

    pub fn partial_bytes(&self) -> u64 {
        not_negative(self.records.iter().map(|r| r.account.partial.load_sync()))
    }

    pub fn active(&self) -> impl Iterator<Item = (Holder, &'a Record)> + use<'a> {
        self.records
            .iter()
            .enumerate()
            .filter(|(_, record)| record.tenant().is_active())
            .filter_map(|(i, r)| Some((Holder::try_from(i + 1).ok()?, r)))
    }
}

/// The sum of cells that count up and down; a moment's picture may be below zero.
fn not_negative(cells: impl Iterator<Item = u64>) -> u64 {
    let sum = cells.fold(0u64, u64::wrapping_add);
    if (sum as i64) < 0 { 0 } else { sum }
}
