//! The worker: takes connections that are lent to it, reads, frames, calls the host, gives back.
//!
//! Invariant: between two instructions outside `turn` no connection is in Reading on our behalf, so
//! the supervisor can take any of them back when a callback takes too long.
//! One value per worker, used by one thread.

mod hold;
mod notices;
pub use notices::drain_log;
mod turn;

use std::rc::Rc;
use std::sync::Arc;

use crate::pure::error::{Error, Result};
use crate::pure::words::GateWord;
use crate::pure::words::{OwnerState, OwnerWord};
use crate::roles::context::Context;
use crate::roles::failure;
use crate::roles::member::{ANNOUNCE_AGAIN_MS, ChannelClosed, Member};
use crate::roles::memory::filled;
use crate::roles::notice;
use crate::shm::counters::Counter;
use crate::shm::participants::Record;
use crate::sync::{Ordering, Word};
use crate::sys::clock::monotonic_ms;
use crate::sys::poll::{self, Interest, Poll, Ready};
use crate::table::phase;
use crate::table::segment::WorkerRecord;
use crate::table::slot::{Slot, post, token};
use hold::{Held, HoldList};
use std::os::fd::RawFd;
use turn::{After, READ_BYTES};

const WAKE: u64 = u64::MAX;
const CHANNEL: u64 = u64::MAX - 1;
const END: u64 = u64::MAX - 2;
const READ: Interest = Interest {
    read: true,
    write: false,
    end: false,
    one_shot: false,
};
/// What an idle connection is armed with in the supervisor's poll.
const ONCE: Interest = Interest {
    one_shot: true,
    ..READ
};
/// Level-triggered with no wish: the kernel still reports a hangup, and nothing else.
const HANGUP_ONLY: Interest = Interest {
    read: false,
    write: false,
    end: false,
    one_shot: false,
};
/// Ring entries taken in one step, so that held connections get their turn.
const ENTRIES_PER_STEP: usize = 256;
/// Holds ended in one step, so that data does not wait behind many that end at once.
const ENDS_PER_STEP: usize = 32;
/// A hold may last so much longer (and a 64th of it at most), so that those that end one after the other end
/// together: the worker is woken once for all of them, and the supervisor too.
const HOLD_SLACK_MS: u64 = 50;

pub struct Worker {
    context: Arc<Context>,
    member: Rc<Member>,
    index: usize,
    poll: Poll,
    held: HoldList,
    /// Read here; one byte more for the NUL behind a message.
    buffer: Vec<u8>,
    /// A message that arrived in several reads is made contiguous here.
    assembly: Vec<u8>,
    ready: Vec<Ready>,
    started: bool,
    channel_polled: bool,
    /// The connection of the present turn: its fd stays.
    reading: Option<u32>,
    /// Of the settings, as far as `worker_fd_cache` was followed.
    live_version: u64,
}

impl Worker {
    /// Takes the place of worker `index`. `Role`: somebody else has it (perhaps dead, and not yet
    /// recovered by the supervisor).
    pub fn open(context: &Arc<Context>, index: usize) -> Result<Worker> {
        let place = context
            .segment
            .workers()
            .get(index)
            .ok_or(Error::Argument)?;
        if place.participant.load_sync() != 0 {
            return Err(Error::Role);
        }
        let slots = context.settings.max_connections;
        let poll = Poll::new().map_err(|_| Error::System)?;
        let held = HoldList::new(slots)?;
        let buffer = filled(READ_BYTES + 1, 0)?;
        let member = Member::join(context, index as u32 + 1)?;
        let worker = Worker {
            held,
            buffer,
            assembly: Vec::new(),
            ready: Vec::new(),
            context: context.clone(),
            member,
            index,
            poll,
            started: false,
            channel_polled: false,
            reading: None,
            live_version: context.segment.header().live_version.load_sync(),
        };
        match failure::caught(|| worker.take_place()) {
            Some(Ok(())) => Ok(worker),
            Some(Err(error)) => {
                worker.leave();
                Err(error)
            }
            None => {
                let member = worker.member.clone();
                // It was lent nothing yet, so it can leave in order, and the next one need not wait for a
                // supervisor to recover it.
                let leave = || {
                    failure::report(context, member.holder, &format!("worker {index}"));
                    worker.leave();
                };
                if failure::caught(leave).is_none() {
                    worker.abandon();
                    failure::die(context, &member);
                }
                Err(Error::Panic)
            }
        }
    }

    /// The place is taken before the supervisor hears of us: a worker whose place is another's
    /// counts as gone.
    fn take_place(&self) -> Result<()> {
        let mine = u32::from(self.member.holder);
        let place = self.place().ok_or(Error::Argument)?;
        place
            .participant
            .compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst)
            .map_err(|_| Error::Role)?;
        place.held.set(0);
        if let Some(record) = self.record() {
            let epoll = self.poll.fd() as u32;
            record.supervised.epoll_fd.store_sync(epoll);
        }
        let mut duplicates = self.member.duplicates.borrow_mut();
        duplicates.set_epoll(self.poll.fd());
        if !self.context.is_supervisors_process() {
            duplicates.reserve()?;
        }
        drop(duplicates);
        self.poll
            .add_wake(self.member.wake_fd().as_raw(), WAKE)
            .map_err(|_| Error::System)?;
        self.poll
            .add(self.context.end.as_raw(), END, READ)
            .map_err(|_| Error::System)?;
        // The first step finds what came before it, however the host polls: see `sleeping`.
        self.member.wake_fd().notify();
        self.member.announce(&self.context, monotonic_ms());
        Ok(())
    }

    /// Gives place and number back.
    pub(crate) fn leave(&self) {
        if let Some(place) = self.place() {
            let mine = u32::from(self.member.holder);
            let ours =
                place
                    .participant
                    .compare_exchange(mine, 0, Ordering::SeqCst, Ordering::SeqCst);
            if ours.is_ok() {
                place.held.set(0);
            }
        }
        self.member.leave(&self.context);
    }

    /// After a bug: what it held is taken back from it. The host is told as after any end.
    pub fn fail(self) {
        self.member.failed.set(true);
        if self.started {
            let stop = || self.context.host.on_worker_stop(self.index as i32);
            let _ = failure::caught(|| self.calling(stop));
        }
        self.abandon();
    }

    /// In a child that was forked since: the worker is the parent's, only our copies go. The same after a
    /// bug.
    pub fn abandon(self) {
        // The poll may be shared with a parent: nothing may be removed from it.
        self.member.duplicates.borrow_mut().set_epoll(0);
    }

    fn on_channel_closed(&mut self) -> Result<()> {
        if let Some(channel) = self.member.channel_fd() {
            let _ = self.poll.remove(channel);
            self.channel_polled = false;
        }
        match self.member.channel_closed(&self.context) {
            ChannelClosed::NotKnown => Ok(()),
            ChannelClosed::SupervisorGone => Err(Error::SupervisorGone),
            ChannelClosed::TakenForDead => Err(Error::Role),
        }
    }

    /// Makes the supervisor know us, if it could not be told before.
    fn announce(&mut self) -> Result<()> {
        if self.member.announce(&self.context, monotonic_ms())
            && !self.channel_polled
            && let Some(channel) = self.member.channel_fd()
        {
            self.poll
                .add(channel, CHANNEL, HANGUP_ONLY)
                .map_err(|_| Error::System)?;
            self.channel_polled = true;
        }
        Ok(())
    }

    pub fn member(&self) -> &Rc<Member> {
        &self.member
    }
    pub fn fd(&self) -> RawFd {
        self.poll.fd()
    }
    #[cfg(shuttle)]
    pub fn index(&self) -> usize {
        self.index
    }
    fn record(&self) -> Option<&Record> {
        self.member.record(&self.context)
    }
    fn place(&self) -> Option<&WorkerRecord> {
        self.context.segment.workers().get(self.index)
    }

    /// Waits at most `max_wait_ms` (none: as long as nothing is due) and does what is there.
    /// Ok(true): more is ready.
    pub fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        if !self.started {
            self.started = true;
            self.calling(|| self.context.host.on_worker_start(self.index as i32));
        }
        self.announce()?;
        let context = self.context.clone();
        let wait = self.announce_sleep(max_wait_ms);
        let waited = self.poll.wait(wait);
        if let Some(record) = self.record() {
            record.own.sleeping.store_sync(0);
        }
        waited.map_err(|_| Error::System)?;
        let mut ready = core::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.poll.events());
        let (mut gone, mut ended) = (false, Ok(()));
        for event in &ready {
            match event.token {
                // What it is for is looked for in every step.
                WAKE => {}
                CHANNEL => gone = true,
                // `stopping` and the claim say what it means.
                END => {}
                _ => self.on_ready(event),
            }
        }
        self.ready = ready;
        let mut more = self.take_lends();
        more |= self.end_holds(monotonic_ms());
        let version = context.segment.header().live_version.load_sync();
        if core::mem::replace(&mut self.live_version, version) != version {
            self.pick_up();
        }
        notices::drain_log(&context, &self.member);
        if let Some(place) = self.place() {
            place.held.set(self.held.len());
        }
        if gone {
            // Noted before the stop is looked at: it may have been the last supervisor.
            ended = self.on_channel_closed();
        }
        context.finish_orphaned_stop();
        // 2: the supervisor has closed everything and needs no worker any more; its end of our
        // channel closes right after.
        let stopping = context.segment.header().stopping.load_sync() >= 2;
        if stopping && (!more || gone) {
            return Err(Error::ShuttingDown);
        }
        ended?;
        if self.member.supervisor_over(&context) {
            return Err(Error::SupervisorGone);
        }
        // A host with a loop of its own polls now: what is lent meanwhile must wake it.
        let pending = max_wait_ms == Some(0) && self.sleeps_with_work();
        Ok(more || pending)
    }

    /// P2: says that we sleep, then looks once more at what could have come before that.
    fn announce_sleep(&self, max_wait_ms: Option<u64>) -> Option<u64> {
        let pending = self.sleeps_with_work();
        if pending {
            return Some(0);
        }
        match (self.next_timeout_ms(), max_wait_ms) {
            (Some(due), Some(max)) => Some(due.min(max)),
            (due, max) => due.or(max),
        }
    }

    /// Says that we sleep; true: there is work all the same.
    fn sleeps_with_work(&self) -> bool {
        let Some(record) = self.record() else {
            return true;
        };
        record.own.sleeping.store_sync(1);
        let segment = &self.context.segment;
        segment
            .ring(self.index)
            .is_some_and(|ring| !ring.is_empty())
            || segment.header().stopping.load_sync() >= 2
            || (self.context.wants.log && segment.log().waiting())
    }

    /// Milliseconds until a hold ends.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        if !self.member.is_announced() {
            return Some(ANNOUNCE_AGAIN_MS);
        }
        let first = self.held.first()?;
        let ends = first.data_ms + self.longest_hold_ms();
        Some(ends.saturating_sub(monotonic_ms()))
    }

    fn longest_hold_ms(&self) -> u64 {
        let hold_ms = self.member.live(&self.context).worker_hold_ms;
        hold_ms + (hold_ms / 64).min(HOLD_SLACK_MS)
    }

    fn take_lends(&mut self) -> bool {
        let context = self.context.clone();
        let Some(ring) = context.segment.ring(self.index) else {
            return false;
        };
        for _ in 0..ENTRIES_PER_STEP {
            let Some((what, stamp)) = ring.pop() else {
                break;
            };
            match notice::Entry::unpack(what) {
                Some(notice::Entry::Lend { slot, read_closed }) => {
                    self.on_lend(slot, OwnerWord(stamp), read_closed);
                }
                Some(notice::Entry::Close { slot }) => self.on_close(slot, OwnerWord(stamp)),
                Some(notice::Entry::Notice { block }) => self.on_notice(block, stamp),
                Some(notice::Entry::Sweep) => {
                    self.member.duplicates.borrow_mut().sweep(&context.segment)
                }
                Some(notice::Entry::Probe) => {}
                None => context.segment.violation(self.member.holder),
            }
        }
        // Also what came with lends that were taken back meanwhile: a channel left full would let no
        // other fd through.
        if self.record().is_some_and(|record| {
            record.supervised.fds_passed.load_sync() != record.own.fds_taken.load_sync()
        }) {
            self.pick_up();
        }
        // A supervisor that found ring or channel full waits for this.
        if let Some(record) = self.record()
            && record.supervised.room_wanted.load_sync() != 0
        {
            record.supervised.room_wanted.store_sync(0);
            context.wake_supervisor();
        }
        !ring.is_empty()
    }

    /// The fd by which we read it: the supervisor's own in its process, else our duplicate.
    fn fd_of(&self, index: u32, slot: &Slot, generation: u32) -> Option<RawFd> {
        if self.context.is_supervisors_process() {
            return Some(slot.identity.fd.load_sync());
        }
        let kept = self.member.duplicates.borrow().get(index, generation);
        kept.or_else(|| {
            self.pick_up();
            self.member.duplicates.borrow().get(index, generation)
        })
    }

    /// Takes the fds that were passed; those of connections we hold or read stay.
    fn pick_up(&self) {
        let (held, reading) = (&self.held, self.reading);
        self.member.pick_up(&self.context, |slot| {
            reading == Some(slot) || held.get(slot).is_some()
        });
    }

    fn on_lend(&mut self, index: u32, lent: OwnerWord, read_closed: bool) {
        let context = self.context.clone();
        let Some(slot) = context.segment.slot(index) else {
            return;
        };
        let reading = lent.to(OwnerState::Reading);
        let mine = lent.state() == OwnerState::Lent && lent.worker() == self.member.holder;
        if !mine || !slot.swap_owner(lent, reading) {
            return; // taken back, or closed meanwhile
        }
        // Held for an earlier lend and taken from us: its registration went with it.
        self.held.remove(index);
        self.reading = Some(index);
        if let Some(record) = self.record()
            && record.supervised.fds_passed.load_sync() != record.own.fds_taken.load_sync()
        {
            self.pick_up();
        }
        let Some(fd) = self.fd_of(index, slot, lent.generation()) else {
            self.member.count(&context, Counter::NoFdReturns, 1);
            if slot.swap_owner(reading, reading.to_supervisor(OwnerState::Idle)) {
                context.post(index, slot, post::NO_FD);
            }
            return;
        };
        self.open_if_new(index, slot, reading);
        let after = self.turn(index, slot, reading, fd, read_closed);
        self.after_turn(index, slot, reading, fd, after);
    }

    fn on_ready(&mut self, event: &Ready) {
        let (index, generation) = (event.token as u32, (event.token >> 32) as u32);
        let context = self.context.clone();
        let Some(slot) = context.segment.slot(index) else {
            return;
        };
        let owner = slot.owner();
        let mine = owner.state() == OwnerState::Held
            && owner.generation() == generation
            && owner.worker() == self.member.holder;
        let reading = owner.to(OwnerState::Reading);
        if !mine || !slot.swap_owner(owner, reading) {
            self.forget(index, generation);
            return;
        }
        self.reading = Some(index);
        let Some(fd) = self.fd_of(index, slot, generation) else {
            self.give_back(index, slot, reading, None, post::NO_FD);
            return;
        };
        let read_closed = event.read_closed || event.hangup_or_error || event.priority;
        let after = self.turn(index, slot, reading, fd, read_closed);
        self.after_turn(index, slot, reading, fd, after);
    }

    fn after_turn(&mut self, index: u32, slot: &Slot, reading: OwnerWord, fd: RawFd, after: After) {
        let now_ms = monotonic_ms();
        let hold_ms = self.member.live(&self.context).worker_hold_ms;
        match after {
            After::Hold { data } if hold_ms > 0 => {
                let known = self
                    .held
                    .get(index)
                    .filter(|held| held.generation == reading.generation());
                if known.is_none() {
                    let token = token(index, reading.generation());
                    // EEXIST: registered for an earlier lend that was taken from us.
                    if self.poll.add(fd, token, READ).is_err()
                        && self.poll.modify(fd, token, READ).is_err()
                    {
                        self.give_back(index, slot, reading, None, 0);
                        return;
                    }
                }
                if data || known.is_none() {
                    self.held.touch(index, reading.generation(), now_ms);
                }
                let held = reading.to(OwnerState::Held);
                let _ = slot.swap_owner(reading, held);
                // The host asked for the end during the turn: the supervisor could not take the
                // connection from Reading, so it waits for us.
                let ending = slot.supervised.phase.load_sync() & phase::ENDING != 0;
                if ending && slot.swap_owner(held, reading) {
                    self.give_back(index, slot, reading, Some(fd), 0);
                }
            }
            After::Hold { .. } => self.give_back_armed(index, slot, reading, fd),
            After::GiveBack(reasons) => self.give_back(index, slot, reading, Some(fd), reasons),
        }
    }

    /// From Reading: our registration ends, then the connection is the supervisor's.
    fn give_back(
        &mut self,
        index: u32,
        slot: &Slot,
        reading: OwnerWord,
        fd: Option<RawFd>,
        reasons: u32,
    ) {
        self.end_hold(index, fd);
        // More may be held at once than are kept of those that are not.
        self.member.duplicates.borrow_mut().drop_above_limit(index);
        // Before the swap: who dies in between leaves the reasons for recovery to find, and after it
        // the slot may soon be another connection's. RETURN comes after it, so that the supervisor
        // never takes it while it cannot act on it yet.
        slot.note(reasons);
        if slot.swap_owner(reading, reading.to_supervisor(OwnerState::Idle)) {
            self.member.count(&self.context, Counter::Givebacks, 1);
            self.context.post(index, slot, post::RETURN);
        }
    }

    /// From Reading, with nothing for the supervisor to do but to wait for more: where we reach its poll we arm
    /// the connection there ourselves (P3), and it needs no waking for that.
    fn give_back_armed(&mut self, index: u32, slot: &Slot, reading: OwnerWord, fd: RawFd) {
        let poll = self.member.supervisors_poll(&self.context, slot, fd);
        let poll = poll.filter(|_| is_plain(slot) && !slot.has_kept_input());
        // While it is ours: afterwards the number may soon be another connection's.
        let token = token(index, reading.generation());
        let arms = |poll| poll::epoll_modify(poll, fd, token, ONCE).is_ok();
        if !poll.is_some_and(arms) {
            return self.give_back(index, slot, reading, Some(fd), 0);
        }
        self.end_hold(index, Some(fd));
        self.member.duplicates.borrow_mut().drop_above_limit(index);
        if slot.swap_owner(reading, reading.to_supervisor(OwnerState::Idle)) {
            self.member.count(&self.context, Counter::Givebacks, 1);
            self.context.post_quietly(index, slot, post::ARMED);
        }
        // Whoever changed one of these before it was Idle left the rest to us; and what we asked the poll
        // for may have taken the place of what the supervisor did.
        if !is_plain(slot) {
            self.context.post(index, slot, post::RETURN);
        }
    }

    fn end_hold(&mut self, index: u32, fd: Option<RawFd>) {
        if self.held.get(index).is_some() {
            if let Some(fd) = fd {
                let _ = self.poll.remove(fd);
            }
            self.held.remove(index);
        }
    }

    /// A connection that is no longer ours. In the supervisor's process whoever took it has removed
    /// our registration, and its fd number may be another connection's by now; a duplicate of
    /// our own we remove ourselves.
    fn forget(&mut self, index: u32, generation: u32) {
        if let Some(held) = self.held.get(index)
            && held.generation == generation
        {
            self.held.remove(index);
        }
        if !self.context.is_supervisors_process() {
            let kept = self.member.duplicates.borrow().get(index, generation);
            if let Some(fd) = kept {
                let _ = self.poll.remove(fd);
            }
            let ended = self
                .context
                .segment
                .slot(index)
                .is_none_or(|s| s.owner().generation() != generation);
            let mut duplicates = self.member.duplicates.borrow_mut();
            if ended {
                duplicates.drop_slot(index);
            } else {
                duplicates.drop_above_limit(index);
            }
        }
    }

    /// True: more of them are over.
    fn end_holds(&mut self, now_ms: u64) -> bool {
        let context = self.context.clone();
        let hold_ms = self.member.live(&context).worker_hold_ms;
        let late = |held: Held| held.data_ms + self.longest_hold_ms() <= now_ms;
        if !self.held.first().is_some_and(late) {
            return false;
        }
        for _ in 0..ENDS_PER_STEP {
            let over = |held: &Held| held.data_ms + hold_ms <= now_ms;
            let Some(held) = self.held.first().filter(over) else {
                return false;
            };
            let Some(slot) = context.segment.slot(held.slot) else {
                self.held.remove(held.slot);
                continue;
            };
            let owner = slot.owner();
            let mine = owner.state() == OwnerState::Held
                && owner.generation() == held.generation
                && owner.worker() == self.member.holder;
            let reading = owner.to(OwnerState::Reading);
            if mine && slot.swap_owner(owner, reading) {
                match self.fd_of(held.slot, slot, held.generation) {
                    Some(fd) => self.give_back_armed(held.slot, slot, reading, fd),
                    None => self.give_back(held.slot, slot, reading, None, 0),
                }
            } else {
                self.forget(held.slot, held.generation);
                self.held.remove(held.slot);
            }
        }
        true
    }

    /// Orderly end: everything held goes back.
    pub fn close(mut self) {
        let context = self.context.clone();
        while let Some(held) = self.held.first() {
            if let Some(slot) = context.segment.slot(held.slot) {
                let owner = slot.owner();
                let mine =
                    owner.state() == OwnerState::Held && owner.worker() == self.member.holder;
                let reading = owner.to(OwnerState::Reading);
                if mine && slot.swap_owner(owner, reading) {
                    let fd = self.fd_of(held.slot, slot, held.generation);
                    self.give_back(held.slot, slot, reading, fd, 0);
                    continue;
                }
            }
            self.held.remove(held.slot);
        }
        if self.started {
            self.calling(|| context.host.on_worker_stop(self.index as i32));
        }
        self.leave();
        context.wake_supervisor();
    }
}

/// The supervisor waits for nothing here but data: no output is queued, nothing ends, none of its lists has it.
fn is_plain(slot: &Slot) -> bool {
    GateWord(slot.output.gate.load_sync()).is_direct() && slot.supervised.phase.load_sync() == 0
}
