//! The supervisor's view of its slots: opening one, arming its registration, serving what was
//! posted for it, freeing it.

use super::{Supervisor, lent};
use crate::pure::addr::Addr;
use crate::pure::id::next_generation;
use crate::pure::keepalive::Interval;
use crate::pure::proxy::Pair;
use crate::pure::wheel::{Link, Links};
use crate::pure::words::{GateWord, OwnerState, OwnerWord, Wanted};
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::{Ordering, Word};
use crate::sys::Fd;
use crate::sys::poll::{Interest, Ready};
use crate::table::segment::Segment;
use crate::table::slot::{Slot, flag, post, token, unpack_reason};
use crate::table::{index, partial, phase};

/// The timer links of all slots, for the wheel.
pub struct SlotLinks<'a>(pub &'a Segment);
impl SlotLinks<'_> {
    /// The links are a dead supervisor's.
    pub fn forget(&self, index: u32) {
        self.set_link(index, Link::UNLINKED);
    }
}
impl Links for SlotLinks<'_> {
    fn link(&self, id: u32) -> Link {
        self.0.slot(id).map_or(Link::UNLINKED, |slot| Link {
            prev: slot.supervised.timer_prev.get(),
            next: slot.supervised.timer_next.get(),
            deadline_ms: slot.supervised.timer_deadline_ms.get(),
        })
    }
    fn set_link(&self, id: u32, link: Link) {
        if let Some(slot) = self.0.slot(id) {
            slot.supervised.timer_prev.set(link.prev);
            slot.supervised.timer_next.set(link.next);
            slot.supervised.timer_deadline_ms.set(link.deadline_ms);
        }
    }
}

/// What a new connection is.
pub struct Opening<'a> {
    pub fd: Fd,
    pub remote: &'a Addr,
    pub local: &'a Addr,
    /// The socket's own addresses, when those above are of a PROXY header.
    pub wire: Option<Pair>,
    /// Listener index, none: dialled.
    pub listener: Option<usize>,
    pub connecting: bool,
    /// See `pure::choice`; 0 of an accepted one.
    pub lane: u32,
}

/// How long a connection is not read whose worker had no fd for it.
const DEFER_MS: u64 = 5;
/// Connections without room for their input that are read again in one tick.
const NO_ROOM_PER_TICK: usize = 64;

impl Supervisor {
    /// Puts a connection into a free slot and into the index. `None`: no slot is free, or the poll
    /// does not take the fd; it is closed.
    pub(super) fn open_slot(&mut self, opening: Opening<'_>) -> Option<u32> {
        let context = self.context.clone();
        let segment = &context.segment;
        let index = *self.free.front()?;
        let slot = segment.slot(index)?;
        let before = slot.owner();
        let generation = if before.generation() == 0 {
            1
        } else {
            before.generation()
        };
        let outbound = opening.listener.is_none();
        let interest = Interest {
            read: !opening.connecting,
            write: outbound,
            end: false,
            one_shot: true,
        };
        self.poll
            .add(opening.fd.as_raw(), token(index, generation), interest)
            .ok()?;
        self.free.pop_front();
        let touched = &segment.header().gauges.slots_touched;
        touched.set(touched.get().max(u64::from(index) + 1));

        slot.set_addresses(opening.remote, opening.local);
        let mut flags = opening.lane << flag::LANE_SHIFT;
        if outbound {
            flags |= flag::OUTBOUND;
        }
        if let (Some(pair), Some(wire)) = (&opening.wire, segment.wire(index)) {
            wire.keep(pair);
            flags |= flag::PROXIED;
        }
        slot.identity.flags.set(flags);
        slot.identity
            .listener
            .set(opening.listener.map_or(0, |l| l as u32 + 1));
        slot.identity.fd.store_sync(opening.fd.as_raw());
        let out = &slot.output;
        for cell in [
            &out.posted,
            &out.lifetime_ms,
            &out.queue_head,
            &out.queue_tail,
            &out.queued_bytes,
        ] {
            cell.set(0);
        }
        out.wanted.store_sync(Wanted::nothing(generation).0);
        out.messages_out.set(0);
        out.pending_answers.set(0);
        out.user.set(0);
        out.bytes_out.set(0);
        out.last_send_ms.set(0);
        let input = &slot.input;
        input.bytes_in.set(0);
        input.message_started_ms.set(0);
        for cell in [
            &input.messages_in,
            &input.partial_head,
            &input.partial_tail,
            &input.partial_bytes,
        ] {
            cell.set(0);
        }
        input.opened.set(0);
        slot.set_framer_words([0; 5]);
        if let Some(rare) = segment.rare(index) {
            let keepalive = if outbound && self.live.crlf_keepalive {
                Interval::Default
            } else {
                Interval::Off
            };
            rare.reset(generation, keepalive);
        }
        let supervised = &slot.supervised;
        SlotLinks(segment).set_link(index, Link::UNLINKED);
        lent::reset(segment, index);
        self.sticky.remember(index, None);
        supervised.duplicates.set(0);
        supervised.created_ms.set(self.now_ms);
        supervised.progress_ms.set(self.now_ms);
        supervised.activity_ms.set(self.now_ms);
        supervised.close_reason.set(0);
        supervised.phase.store_sync(0);
        self.follow_keep_alive(index, slot);

        let flags = match (outbound, opening.connecting) {
            (true, true) => GateWord::ASYNC | GateWord::CONNECTING,
            (true, false) => GateWord::ASYNC,
            _ => 0,
        };
        gate::open(&out.gate, generation, flags);
        let _ = opening.fd.into_raw(); // it is the slot's, where a successor finds it
        input
            .owner
            .store_sync(OwnerWord::new(generation, before.lend(), OwnerState::Idle, 0).0);
        index::insert(segment, index);
        let gauges = &segment.header().gauges;
        gauges.connections.bump(1);
        gauges.slots_used.bump(1);
        if !outbound {
            self.door.hosts.opened(opening.remote);
        }
        self.schedule(index, slot);
        Some(index)
    }

    /// The last step of an ending: nobody reads or writes, the fd is closed, the host was told.
    pub(super) fn free_slot(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let segment = &context.segment;
        let (reason, _) = unpack_reason(slot.supervised.close_reason.get());
        self.wheel.remove(&SlotLinks(segment), index);
        self.unlend(index);
        index::remove(segment, index);
        partial::drop_all(segment, self.me, index, slot);
        if slot.supervised.duplicates.get() != 0 {
            self.want_sweep(slot.supervised.duplicates.get());
        }
        if !slot.is_outbound() {
            self.door.hosts.ended(&slot.remote());
        }
        let owner = slot.owner();
        let generation = next_generation(owner.generation());
        gate::open(&slot.output.gate, generation, GateWord::CLOSING);
        slot.input
            .owner
            .store_sync(OwnerWord::new(generation, owner.lend(), OwnerState::Free, 0).0);
        self.free.push_back(index);
        let gauges = &segment.header().gauges;
        gauges
            .slots_used
            .set(gauges.slots_used.get().saturating_sub(1));
        gauges
            .connections
            .set(gauges.connections.get().saturating_sub(1));
        self.count(Counter::Closed, 1);
        if let Some(cell) = gauges.closed_by_reason.get(reason as usize) {
            cell.bump(1);
        }
        self.an_fd_is_free();
    }

    /// Arms our one-shot registration with what we want to know of this connection now.
    pub(super) fn arm(&mut self, index: u32, slot: &Slot) {
        let now = slot.supervised.phase.get();
        if now & phase::FD_CLOSED != 0 || self.event_of == Some(index) {
            return;
        }
        self.lend_kept_input(index, slot);
        let now = slot.supervised.phase.get();
        let owner = slot.owner();
        let connecting = GateWord(slot.output.gate.load_sync()).has(GateWord::CONNECTING);
        let waits = phase::WAITING | phase::DEFERRED | phase::STOPPED;
        let idle = owner.state() == OwnerState::Idle
            && now & (waits | phase::ENDING | phase::HALF_CLOSED) == 0
            && !connecting;
        let watched = now & phase::WATCHED != 0 && owner.state() == OwnerState::Held;
        let read = idle || watched || now & phase::LINGERING != 0;
        // Writable while a sender holds the gate (it may be stopped) is nothing we can act on, nor is it
        // when the tick looks again: a connection that failed is writable all the time.
        let holder = GateWord(slot.output.gate.load_sync()).holder();
        let ours = (holder == 0 || holder == self.me) && now & phase::LOOK_AGAIN == 0;
        let write = connecting || (ours && slot.output.queue_head.get() != 0);
        // Half-closed or stopped: armed with nothing, the kernel still reports a reset.
        let stopped = now & phase::STOPPED != 0 && owner.state() == OwnerState::Idle;
        let watch = now & phase::HALF_CLOSED != 0 && owner.state() == OwnerState::Idle;
        if read || write || watch || stopped {
            let interest = Interest {
                read,
                write,
                end: stopped && now & phase::STOPPED_FIN == 0,
                one_shot: true,
            };
            // Before it takes the place of what a worker that lets go may have armed: the worker looks for it then.
            if owner.state() == OwnerState::Reading {
                self.set_phase(slot, phase::EARLY);
            }
            let fd = slot.identity.fd.get();
            let _ = self
                .poll
                .modify(fd, token(index, owner.generation()), interest);
        }
    }

    /// The event has disarmed the connection; it is armed once for all that follows from it.
    pub(super) fn on_connection_event(&mut self, index: u32, generation: u32, event: &Ready) {
        let context = self.context.clone();
        let Some(slot) = context.segment.slot(index) else {
            return;
        };
        let is_it = || {
            let owner = slot.owner();
            owner.generation() == generation && owner.state() != OwnerState::Free
        };
        if is_it() {
            self.event_of = Some(index);
            self.serve_event(index, slot, event);
            self.event_of = None;
            if is_it() {
                self.arm(index, slot);
            }
        }
    }

    fn serve_event(&mut self, index: u32, slot: &Slot, event: &Ready) {
        let gate_word = GateWord(slot.output.gate.load_sync());
        let now = slot.supervised.phase.get();
        if gate_word.has(GateWord::CONNECTING) {
            if event.writable || event.hangup_or_error {
                self.on_connected(index, slot);
            }
            return;
        }
        if now & phase::LINGERING != 0 {
            self.discard_input(index, slot);
            return;
        }
        if now & phase::ENDING != 0 {
            self.advance_end(index, slot);
            return;
        }
        if now & phase::HALF_CLOSED != 0 && event.hangup_or_error && !event.writable {
            self.end_hung_up(index, slot);
            return;
        }
        if event.writable && slot.output.queue_head.get() != 0 {
            self.flush(index, slot);
        }
        let read_closed = event.read_closed || event.hangup_or_error || event.priority;
        if slot.supervised.phase.get() & (phase::STOPPED | phase::ENDING) == phase::STOPPED {
            self.on_stopped_event(index, slot, event);
        } else if event.readable || read_closed {
            match slot.owner().state() {
                OwnerState::Idle if now & phase::HALF_CLOSED == 0 => {
                    self.lend_or_wait(index, slot, read_closed)
                }
                OwnerState::Held if now & phase::WATCHED != 0 => {
                    self.take_from_stalled(index, slot, read_closed);
                }
                OwnerState::Reading => {
                    self.clear_phase(slot, phase::WATCHED);
                    self.set_phase(slot, phase::EARLY);
                }
                _ => self.clear_phase(slot, phase::WATCHED),
            }
        }
    }

    /// P2: serves everything posted.
    pub(super) fn serve_posts(&mut self) {
        let context = self.context.clone();
        let mut posted = Vec::new();
        context
            .segment
            .mailbox()
            .take(|slot| posted.push(slot as u32));
        self.follow_settings();
        for index in posted {
            if let Some(slot) = context.segment.slot(index) {
                self.serve_post(index, slot);
            }
        }
    }

    pub(super) fn serve_post(&mut self, index: u32, slot: &Slot) {
        let bits = slot.output.posted.swap(0, Ordering::SeqCst);
        if bits != 0 && slot.is_open() {
            self.serve(index, slot, bits);
        }
    }

    /// Settings were changed: deadlines that are shorter now, and marks that have moved, take effect at once.
    pub(super) fn look_at_all(&mut self) {
        let context = self.context.clone();
        for (index, slot) in context.segment.slots().iter().enumerate() {
            if slot.is_open() {
                self.serve(index as u32, slot, post::TIMES);
            }
        }
    }

    /// Does what `bits` ask for, and ends the connection if somebody wants it to end.
    pub(super) fn serve(&mut self, index: u32, slot: &Slot, bits: u32) {
        if bits & post::NO_FD != 0 {
            self.forget_duplicate(index, slot);
        }
        // A late RETURN may find the connection lent again already.
        let returned = matches!(
            slot.owner().state(),
            OwnerState::Idle | OwnerState::Retiring
        );
        let mut arms = bits & post::RETURN != 0;
        if bits & (post::RETURN | post::ARMED | post::NO_FD) != 0 && returned {
            // Its worker sees this no more, and the event is used up.
            arms |= slot.supervised.phase.get() & phase::EARLY != 0;
            self.came_back(index, slot);
        }
        if bits & post::WANTS_ROOM != 0 {
            self.set_phase(slot, phase::ROOM_WANTED);
        }
        if bits & post::WANTS_EMPTY != 0 {
            self.set_phase(slot, phase::EMPTY_WANTED);
        }
        if bits & post::PEER_FIN != 0 && slot.supervised.phase.get() & phase::HALF_CLOSED == 0 {
            self.set_phase(slot, phase::HALF_CLOSED);
            slot.supervised.activity_ms.set(self.now_ms);
        }
        self.end_as_wanted(index, slot);
        if slot.supervised.phase.get() & phase::ENDING != 0 {
            self.advance_end(index, slot);
            return;
        }
        if bits & post::PONG != 0 {
            self.set_phase(slot, phase::PONG_OWED);
        }
        if bits & (post::WRITE | post::PONG) != 0 {
            self.flush(index, slot);
        }
        if bits & post::TIMES != 0 {
            self.follow_keep_alive(index, slot);
        }
        if bits & (post::PEER_FIN | post::ANSWERED) != 0 {
            self.end_if_answered(index, slot);
        }
        self.note_low(index, slot);
        if !slot.is_open() || slot.supervised.phase.get() & phase::ENDING != 0 {
            return;
        }
        if bits & post::NO_FD != 0 && slot.owner().state() == OwnerState::Idle {
            // Not at once: a worker at its fd limit would send it back again and again.
            self.defer(index, slot);
        } else if bits & post::NO_ROOM != 0 {
            self.set_phase(slot, phase::DEFERRED);
            self.no_room.push_back((index, slot.owner().generation()));
        } else if arms {
            self.arm(index, slot);
        }
        self.schedule(index, slot);
    }

    fn defer(&mut self, index: u32, slot: &Slot) {
        self.set_phase(slot, phase::DEFERRED);
        let until_ms = self.now_ms + DEFER_MS;
        self.deferred
            .push_back((index, slot.owner().generation(), until_ms));
    }

    /// From the tick: connections that were not read because parked input was at its bound. A few at a
    /// time also while it still is: whole messages are delivered all the same.
    pub(super) fn serve_no_room(&mut self) {
        let context = self.context.clone();
        let segment = &context.segment;
        if segment.participants().partial_bytes() < self.live.partial_max_bytes {
            segment.header().gauges.partial_full.store_sync(0);
        }
        for _ in 0..self.no_room.len().min(NO_ROOM_PER_TICK) {
            let Some((index, generation)) = self.no_room.pop_front() else {
                break;
            };
            if let Some(slot) = segment.slot(index)
                && slot.owner().generation() == generation
            {
                self.clear_phase(slot, phase::DEFERRED);
                self.arm(index, slot);
                self.schedule(index, slot);
            }
        }
    }

    /// Phases are read by workers and senders: sequentially consistent, so that whoever changes
    /// its own word first and reads this one after does not miss it.
    #[cfg_attr(crash_points, track_caller)]
    pub(super) fn set_phase(&self, slot: &Slot, bits: u32) {
        slot.supervised.phase.fetch_or(bits, Ordering::SeqCst);
    }
    #[cfg_attr(crash_points, track_caller)]
    pub(super) fn clear_phase(&self, slot: &Slot, bits: u32) {
        slot.supervised.phase.fetch_and(!bits, Ordering::SeqCst);
    }

    /// It is with us again, whoever says so first. Its lifetime runs from now.
    pub(super) fn came_back(&mut self, index: u32, slot: &Slot) {
        if lent::is_linked(&self.context.segment, index) {
            self.unlend(index);
            slot.supervised.activity_ms.set(self.now_ms);
        }
        self.clear_phase(slot, phase::WATCHED | phase::EARLY);
    }

    /// Takes the connection off its worker's list.
    pub(super) fn unlend(&mut self, index: u32) {
        let mut heads: Vec<u32> = Vec::new();
        core::mem::swap(&mut heads, &mut self.lent_heads);
        if lent::is_linked(&self.context.segment, index) {
            self.lent_count = self.lent_count.saturating_sub(1);
        }
        lent::unlink(&self.context.segment, &mut heads, index);
        self.lent_heads = heads;
    }
}
