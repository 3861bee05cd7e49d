//! P3, lending: which worker gets a connection with unread data, and what happens when none can
//! take it now (it waits with us, unread: no capacity cliff) or when its worker stalls.

use super::{Supervisor, lent};
use crate::pure::words::{Holder, OwnerState, OwnerWord};
use crate::roles::notice::Entry;
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::sys;
use crate::table::phase;
use crate::table::slot::Slot;

/// A worker that holds connections is asked for a sign of life this often.
const PROBE_MS: u64 = 250;
/// Held connections of a stalled worker that are watched or returned in one tick.
const PER_TICK: usize = 256;
/// A tick is at least so frequent while anything is lent: what comes back quietly is seen by it, and its lifetime
/// runs from then.
const QUIET_TICK_MS: u64 = 50;

/// One worker as the supervisor sees it.
#[derive(Default)]
pub struct Seat {
    /// The worker's participant number, 0: none runs.
    pub holder: Holder,
    pub stalled: bool,
    /// It got ring entries in this turn and sleeps: wake it once, at the end.
    pub wake: bool,
    /// Entries taken from its ring, and since when that stands with some in it: a worker that was stopped
    /// takes nothing.
    pub ring_taken: u32,
    pub ring_moved_ms: u64,
    /// The last look found it in a callback or with entries that it had let lie: it may be about to stall.
    pub busy: bool,
    pub probed_ms: u64,
    /// Notices and ends it has to tell.
    pub notices: u32,
    pub closes: u32,
}

impl Supervisor {
    /// A seat that can take one more ring entry, round robin.
    pub(super) fn pick_seat(
        &mut self,
        mut able: impl FnMut(&mut Self, usize) -> bool,
    ) -> Option<usize> {
        let seats = self.seats.len();
        for i in 0..seats {
            let seat = (self.next_seat + i) % seats;
            let usable = self
                .seats
                .get(seat)
                .is_some_and(|s| s.holder != 0 && !s.stalled);
            if !usable {
                continue;
            }
            if !self
                .context
                .segment
                .ring(seat)
                .is_some_and(|ring| ring.has_room())
            {
                self.want_room(seat);
                continue;
            }
            if able(self, seat) {
                self.next_seat = seat + 1;
                return Some(seat);
            }
        }
        None
    }

    /// Notices, and ends to be told, that a worker may have at a time: behind more of them new data would
    /// wait. A quarter of what lies in its ring, so that they keep pace with it when that is long.
    pub(super) fn may_have(&self, seat: usize) -> u32 {
        let ring = self.context.segment.ring(seat);
        ring.map_or(0, |ring| ring.len() / 4).max(32)
    }

    pub(super) fn want_room(&self, seat: usize) {
        let holder = self.seats.get(seat).map_or(0, |s| s.holder);
        if let Some(record) = self.context.segment.participants().get(holder) {
            record.supervised.room_wanted.store_sync(1);
        }
    }

    pub(super) fn push(&mut self, seat: usize, entry: Entry, stamp: u64) -> bool {
        let Some(ring) = self.context.segment.ring(seat) else {
            return false;
        };
        let first = ring.is_empty();
        let pushed = ring.push(entry.pack(), stamp);
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.wake |= pushed;
            if first {
                seat.ring_moved_ms = self.now_ms;
            }
        }
        pushed
    }

    /// An idle connection has unread data: to a worker, or into the waiting list.
    pub(super) fn lend_or_wait(&mut self, index: u32, slot: &Slot, read_closed: bool) {
        let owner = slot.owner();
        if owner.state() != OwnerState::Idle {
            return;
        }
        if self.is_stopped(index, slot) {
            self.stop_reading(index, slot);
        } else if !self.lend(index, slot, owner, read_closed) {
            self.set_phase(slot, phase::WAITING);
            self.waiting
                .push_back((index, owner.generation(), read_closed));
        }
    }

    fn lend(&mut self, index: u32, slot: &Slot, owner: OwnerWord, read_closed: bool) -> bool {
        let seat = self
            .sticky_seat(index, slot)
            .or_else(|| self.pick_seat(|this, seat| this.give_fd(seat, index, slot)));
        let Some(seat) = seat else {
            return false;
        };
        let Some(holder) = self.seats.get(seat).map(|s| s.holder) else {
            return false;
        };
        let lent = owner.lent_to(OwnerState::Lent, holder);
        if !slot.swap_owner(owner, lent) {
            return false;
        }
        let mut heads = core::mem::take(&mut self.lent_heads);
        if !lent::is_linked(&self.context.segment, index) {
            self.lent_count += 1;
        }
        lent::link(&self.context.segment, &mut heads, seat, index);
        self.lent_heads = heads;
        self.sticky.remember(index, Some(seat));
        self.count(Counter::Handoffs, 1);
        if let Some(worker) = self.context.segment.workers().get(seat) {
            worker.lends.bump(1);
        }
        // From now on a message may begin that the supervisor is not told of.
        self.schedule(index, slot);
        // Room was there when the seat was picked, and we are the ring's only producer.
        self.push(
            seat,
            Entry::Lend {
                slot: index,
                read_closed,
            },
            lent.0,
        )
    }

    /// Hand-offs that could not go before; in the order in which their data came. What is to be told
    /// goes first: it is little (`may_have`), and slots and blocks are free only after it.
    pub(super) fn serve_waiting(&mut self) {
        if !self.lent_notices.is_empty() {
            self.forget_told();
        }
        self.serve_notices();
        self.serve_closes();
        let context = self.context.clone();
        for _ in 0..self.waiting.len() {
            let Some(&(index, generation, read_closed)) = self.waiting.front() else {
                break;
            };
            let Some(slot) = context.segment.slot(index) else {
                break;
            };
            let owner = slot.owner();
            let valid = owner.generation() == generation && owner.state() == OwnerState::Idle;
            if valid && !self.lend(index, slot, owner, read_closed) {
                break;
            }
            self.waiting.pop_front();
            self.clear_phase(slot, phase::WAITING);
        }
        for _ in 0..self.deferred.len() {
            let Some(&(index, generation, until_ms)) = self.deferred.front() else {
                break;
            };
            if until_ms > self.now_ms {
                break;
            }
            self.deferred.pop_front();
            if let Some(slot) = context.segment.slot(index)
                && slot.owner().generation() == generation
            {
                self.clear_phase(slot, phase::DEFERRED);
                self.arm(index, slot);
            }
        }
    }

    /// One wake for all that a worker got in this turn.
    pub(super) fn tell_workers(&mut self) {
        self.send_sweeps();
        for seat in 0..self.seats.len() {
            let Some(place) = self.seats.get_mut(seat) else {
                break;
            };
            if core::mem::take(&mut place.wake) {
                let holder = place.holder;
                self.wake(holder);
            }
        }
    }

    pub(super) fn wake(&self, holder: Holder) {
        let asleep = self
            .context
            .segment
            .participants()
            .get(holder)
            .is_some_and(|record| record.own.sleeping.load_sync() == 1);
        if asleep
            && let Some(fd) = self
                .peers
                .get(usize::from(holder))
                .and_then(|peer| peer.wake.as_ref())
        {
            sys::event::notify_raw(fd.as_raw());
        }
    }

    pub(super) fn wake_some_worker(&self) {
        if let Some(seat) = self.seats.iter().find(|s| s.holder != 0 && !s.stalled) {
            self.wake(seat.holder);
        }
    }

    /// How long after the last tick the next one is due; `None`: nothing is to be looked after. While all
    /// that is lent lies with workers that sleep, a stall's length: a callback that begins right behind a
    /// look is seen when it becomes one.
    pub(super) fn tick_every_ms(&self) -> Option<u64> {
        if self.tick_serves() || self.seats.iter().any(|seat| seat.busy) {
            Some(super::TICK_MS)
        } else if self.lent_count > 0 {
            Some(
                self.live
                    .worker_stall_ms
                    .clamp(super::TICK_MS, QUIET_TICK_MS),
            )
        } else {
            None
        }
    }

    fn tick_serves(&self) -> bool {
        !self.waiting.is_empty()
            || !self.deferred.is_empty()
            || !self.closes.is_empty()
            || !self.notices.is_empty()
            || !self.lent_notices.is_empty()
            || !self.lent_closes.is_empty()
            || !self.room_wanted.is_empty()
            || !self.no_room.is_empty()
            || !self.look_again.is_empty()
            // Or it would pass for stalled until the next connection is lent, to others.
            || self.seats.iter().any(|seat| seat.stalled)
    }

    /// Looks for stalled workers (P3), while something is lent.
    pub(super) fn tick(&mut self) {
        let due = self.tick_every_ms().map(|every| self.tick_ms + every);
        if due.is_none_or(|due| self.now_ms < due) {
            return;
        }
        self.tick_ms = self.now_ms;
        self.serve_room_wanted();
        self.serve_no_room();
        self.serve_look_again();
        for seat in 0..self.seats.len() {
            let holder = self.seats.get(seat).map_or(0, |s| s.holder);
            if holder == 0 {
                continue;
            }
            let stalled_ms = self.stalled_for(seat, holder);
            let stall_ms = self.live.worker_stall_ms;
            let stalled = stalled_ms > stall_ms;
            self.probe(seat, holder);
            let newly = stalled && self.seats.get(seat).is_some_and(|s| !s.stalled);
            if let Some(place) = self.seats.get_mut(seat) {
                place.stalled = stalled;
            }
            if let Some(worker) = self.context.segment.workers().get(seat) {
                worker.stalled.set(u32::from(stalled));
            }
            if newly {
                self.take_unread(seat, holder);
                self.take_notices(holder);
                self.take_closes(holder);
            }
            if stalled {
                self.flush_batch(seat, holder);
                self.watch_held(
                    seat,
                    holder,
                    stalled_ms > self.live.worker_hold_ms + stall_ms,
                );
            }
        }
    }

    /// A worker that is stopped while it only holds connections shows nothing: an entry in its ring
    /// does, once a stall's length after its last movement.
    fn probe(&mut self, seat: usize, holder: Holder) {
        let context = self.context.clone();
        let empty = context
            .segment
            .ring(seat)
            .is_some_and(|ring| ring.is_empty());
        let holds = self
            .lent_heads
            .get(seat)
            .is_some_and(|head| *head != lent::NONE);
        let Some(place) = self.seats.get_mut(seat) else {
            return;
        };
        let due = self.now_ms >= place.probed_ms + PROBE_MS;
        if empty && holds && due && place.holder == holder {
            place.probed_ms = self.now_ms;
            self.push(seat, Entry::Probe, 0);
        }
    }

    /// How long the worker has been in one callback, or has let its ring lie.
    fn stalled_for(&mut self, seat: usize, holder: Holder) -> u64 {
        let Some(record) = self.context.segment.participants().get(holder) else {
            return 0;
        };
        let since = record.own.callback_since_ms.load_sync();
        let in_callback = if since == 0 {
            0
        } else {
            self.now_ms.saturating_sub(since)
        };
        let ring = self.context.segment.ring(seat);
        let (empty, taken) = ring.map_or((true, 0), |ring| (ring.is_empty(), ring.taken()));
        let now_ms = self.now_ms;
        let Some(place) = self.seats.get_mut(seat) else {
            return 0;
        };
        if empty || taken != place.ring_taken || place.ring_moved_ms == 0 {
            place.ring_moved_ms = now_ms;
        }
        place.ring_taken = taken;
        place.busy = since != 0 || place.ring_moved_ms < now_ms;
        in_callback.max(now_ms.saturating_sub(place.ring_moved_ms))
    }

    /// What a newly stalled worker has not begun to read goes to others at once.
    pub(super) fn take_unread(&mut self, seat: usize, holder: Holder) {
        let context = self.context.clone();
        for index in lent::members(&context.segment, &self.lent_heads, seat, usize::MAX) {
            let Some(slot) = context.segment.slot(index) else {
                continue;
            };
            let owner = slot.owner();
            let unread = owner.worker() == holder && owner.state() == OwnerState::Lent;
            if unread && slot.swap_owner(owner, owner.to_supervisor(OwnerState::Idle)) {
                self.unlend(index);
                self.count(Counter::Relends, 1);
                self.lend_or_wait(index, slot, true);
            }
        }
    }

    /// Answers of a stalled worker's batch may wait in the queue for more (P10): at each tick, since it
    /// may go on answering.
    fn flush_batch(&mut self, seat: usize, holder: Holder) {
        let context = self.context.clone();
        for index in lent::members(&context.segment, &self.lent_heads, seat, usize::MAX) {
            if let Some(slot) = context.segment.slot(index)
                && slot.owner().worker() == holder
                && slot.owner().state() == OwnerState::Reading
                && slot.output.queue_head.load_sync() != 0
            {
                self.flush(index, slot);
            }
        }
    }

    /// Held connections of a stalled worker are armed with us as well; data that comes while it is
    /// still stalled goes to another worker. `silent_too`: it is stalled longer than a hold lasts.
    fn watch_held(&mut self, seat: usize, holder: Holder, silent_too: bool) {
        let context = self.context.clone();
        let mut done = 0;
        for index in lent::members(&context.segment, &self.lent_heads, seat, usize::MAX) {
            if done >= PER_TICK {
                break;
            }
            let Some(slot) = context.segment.slot(index) else {
                continue;
            };
            if self.prune_one(index, holder) {
                done += 1;
                continue;
            }
            let owner = slot.owner();
            if owner.state() != OwnerState::Held {
                continue;
            }
            if silent_too {
                done += 1;
                if self.take_held(index, slot, owner) {
                    self.arm(index, slot);
                    self.schedule(index, slot);
                }
            } else if slot.supervised.phase.get() & phase::WATCHED == 0 {
                done += 1;
                self.set_phase(slot, phase::WATCHED);
                self.arm(index, slot);
            }
        }
    }

    /// Held to Idle, with the worker's registration gone where we can reach it.
    pub(super) fn take_held(&mut self, index: u32, slot: &Slot, owner: OwnerWord) -> bool {
        if !slot.swap_owner(owner, owner.to_supervisor(OwnerState::Idle)) {
            return false;
        }
        self.remove_from_worker(owner.worker(), slot);
        self.came_back(index, slot);
        true
    }

    /// P4: in our own process whoever takes a connection removes it from the old worker's poll.
    pub(super) fn remove_from_worker(&self, holder: Holder, slot: &Slot) {
        let peer = self.peers.get(usize::from(holder));
        if let Some(record) = self.context.segment.participants().get(holder)
            && peer.is_some_and(|peer| peer.beside)
        {
            let epoll = record.supervised.epoll_fd.load_sync() as i32;
            if epoll > 0 {
                sys::poll::epoll_remove(epoll, slot.identity.fd.get());
            }
        }
    }

    /// An event on a watched connection: if its worker is still stalled, another one gets it.
    pub(super) fn take_from_stalled(&mut self, index: u32, slot: &Slot, read_closed: bool) {
        let owner = slot.owner();
        let stalled = self
            .seats
            .iter()
            .any(|seat| seat.holder == owner.worker() && seat.stalled);
        self.clear_phase(slot, phase::WATCHED);
        if stalled && self.take_held(index, slot, owner) {
            self.count(Counter::Relends, 1);
            self.lend_or_wait(index, slot, read_closed);
        }
    }

    /// Drops a list entry that is no longer true. One that is back with us is armed: its worker may be
    /// stopped between giving it back and saying so. False: it is still its worker's.
    fn prune_one(&mut self, index: u32, holder: Holder) -> bool {
        let context = self.context.clone();
        let Some(slot) = context.segment.slot(index) else {
            return false;
        };
        let owner = slot.owner();
        let lent = matches!(
            owner.state(),
            OwnerState::Lent | OwnerState::Held | OwnerState::Reading
        );
        if lent && owner.worker() == holder {
            return false;
        }
        if owner.state() == OwnerState::Idle {
            self.came_back(index, slot);
            self.arm(index, slot);
            self.schedule(index, slot);
        } else {
            self.unlend(index);
        }
        true
    }
}
