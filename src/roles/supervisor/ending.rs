//! P6, ending a connection: the only place where a socket is shut down, reset or closed.
//!
//! Order: CLOSING into the gate, out of the index, no reader any more (Retiring), output written or
//! reported, FIN or reset, `on_close`, the slot is free. Each step is tried again whenever something
//! posts the connection; a stuck gate holder or reader pins one slot and blocks nobody.

use super::Supervisor;
use super::flush::{Wrote, mark_taken};
use super::handoff::Seat;
use super::notices::Failed;
use crate::pure::addr::Addr;
use crate::pure::reason::Reason;
use crate::pure::words::{GateWord, OwnerState, Wanted};
use crate::roles::notice::Entry;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::sys::{Errno, Fd, sock};
use crate::table::slot::{Slot, pack_reason, unpack_reason};
use crate::table::{blacklist, index, phase};

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Queued output first, then our FIN, then input is discarded until the peer's (`linger`):
    /// closing with unread input would make the kernel reset and destroy what is under way.
    Graceful,
    /// Queued output is reported; FIN.
    Now,
    /// Queued output is reported; reset.
    Reset,
}

impl Mode {
    /// For an end that is not asked for by the host.
    pub fn of(reason: Reason) -> Mode {
        if reason.aborts() {
            Mode::Reset
        } else {
            Mode::Now
        }
    }
}

/// Input discarded after our FIN before the peer is cut off.
const LINGER_BYTES: u32 = 262_144;

impl Supervisor {
    /// Begins the end (or makes a begun one harder). The first reason stays; a destination is not
    /// blamed for what it did not take when it had ended the connection before.
    pub(super) fn end(&mut self, index: u32, slot: &Slot, reason: Reason, errno: i32, mode: Mode) {
        let now = slot.supervised.phase.get();
        let (reason, errno) = match Self::failed_before(slot) {
            Some(failed) if reason.blacklists() => failed,
            _ => (reason, errno),
        };
        let mode = if mode == Mode::Now && self.live.close_rst {
            Mode::Reset
        } else {
            mode
        };
        if now & phase::ENDING == 0 {
            slot.supervised
                .close_reason
                .set(pack_reason(reason as u32, errno));
            self.note_failure(slot, reason);
            self.log_end(
                self.context.segment.id_of(index, slot.owner().generation()),
                &slot.remote(),
                reason,
                errno,
            );
            let graceful = if mode == Mode::Graceful {
                phase::GRACEFUL
            } else {
                0
            };
            self.set_phase(slot, phase::ENDING | graceful);
            gate::close(&slot.output.gate);
            index::remove(&self.context.segment, index);
        } else if now & phase::GRACEFUL != 0 && mode != Mode::Graceful {
            self.clear_phase(slot, phase::GRACEFUL);
            // What keeps the last output from being written is what its senders are to learn.
            if reason.aborts() {
                slot.supervised
                    .close_reason
                    .set(pack_reason(reason as u32, errno));
                self.note_failure(slot, reason);
            }
        } else {
            self.advance_end(index, slot);
            return;
        }
        if mode == Mode::Reset {
            self.set_phase(slot, phase::RESET);
            if slot.supervised.phase.get() & phase::FD_CLOSED == 0 {
                // Stops the traffic even while a reader or a duplicate lives.
                sock::abort(slot.identity.fd.get());
            }
        }
        self.advance_end(index, slot);
    }

    /// Ends the connection if somebody wants that.
    pub(super) fn end_as_wanted(&mut self, index: u32, slot: &Slot) {
        if let Some((_, Wanted::TOLD_ELSEWHERE, true)) = slot.wanted()
            && self.reader_may_know(slot)
        {
            self.look_again(index, slot);
            return;
        }
        // Read behind the reader's state: it says what it knows before it lets go.
        let Some((reason, errno, abort)) = slot.wanted() else {
            return;
        };
        let mode = if abort {
            Mode::of(reason)
        } else {
            Mode::Graceful
        };
        self.end(index, slot, reason, errno, mode);
    }

    /// What the kernel says when we write.
    pub(super) fn end_by_error(&mut self, index: u32, slot: &Slot, errno: Errno) {
        if errno == Errno::EPIPE && self.reader_may_know(slot) {
            // Noted as a wish: whatever ends the connection meanwhile, this is why (`failed_before`).
            let generation = slot.owner().generation();
            slot.want(generation, Reason::PeerReset, errno.0, true);
            self.look_again(index, slot);
            return;
        }
        let (reason, errno) = Self::why(slot, errno);
        self.end(index, slot, reason, errno, Mode::Reset);
    }

    /// The poll says that a connection is dead which nobody reads: why, the kernel knows (a reset, `user_timeout`
    /// ...), unless it has told somebody.
    pub(super) fn end_hung_up(&mut self, index: u32, slot: &Slot) {
        match sock::socket_error(slot.identity.fd.get()) {
            Errno(0) => self.end(index, slot, Reason::PeerReset, 0, Mode::Reset),
            errno => self.end_by_error(index, slot, errno),
        }
    }

    /// The reason for an end by `errno`; somebody else may have been told more.
    fn why(slot: &Slot, errno: Errno) -> (Reason, i32) {
        let reset = errno == Errno::ECONNRESET || errno == Errno::EPIPE;
        match Self::failed_before(slot) {
            Some(told) => told,
            None if reset => (Reason::PeerReset, errno.0),
            None => (Reason::IoError, errno.0),
        }
    }

    /// The connection is dead already, by this error of the kernel: no time limit explains its end better.
    pub(super) fn failed_before(slot: &Slot) -> Option<(Reason, i32)> {
        match slot.wanted() {
            Some((reason @ (Reason::PeerReset | Reason::IoError), errno, true)) => {
                Some((reason, errno))
            }
            _ => None,
        }
    }

    /// A worker is about to read the connection, or has just read it. The kernel tells a connection's error
    /// once, and EPIPE to those who write later; so the reader may have been told, and says so after its
    /// turn. Not in a script: it had read data before that. For a stalled one nobody waits. EPIPE also
    /// comes when nobody was told (a reset behind a FIN): then the wait ends with the turn.
    fn reader_may_know(&self, slot: &Slot) -> bool {
        let owner = slot.owner();
        let goes_on = |seat: &Seat| seat.holder == owner.worker() && !seat.stalled;
        let participants = self.context.segment.participants();
        let in_script = participants
            .get(owner.worker())
            .is_none_or(|record| record.own.callback_since_ms.load_sync() != 0);
        owner.state() == OwnerState::Reading && !in_script && self.seats.iter().any(goes_on)
    }

    /// A destination that does not work is blacklisted, and counted if it was not even reached.
    fn note_failure(&mut self, slot: &Slot, reason: Reason) {
        if slot.is_outbound() && reason.blacklists() {
            self.blacklist(&slot.remote(), reason);
        }
        if reason == Reason::ConnectFailed || reason == Reason::ConnectTimeout {
            self.count(Counter::ConnectFailed, 1);
        }
    }

    /// Ends an operator wants to know of, a few lines a second.
    pub(super) fn log_end(&mut self, conn_id: u32, remote: &Addr, reason: Reason, errno: i32) {
        use crate::pure::settings::LogLevel;
        let level = match reason {
            Reason::NotSip | Reason::BadLength | Reason::TooLarge | Reason::EofInMessage => {
                LogLevel::Notice
            }
            Reason::MessageTimeout | Reason::FirstMessageTimeout => LogLevel::Notice,
            Reason::FlowFailed | Reason::FlowTimer => LogLevel::Notice,
            Reason::SendTimeout | Reason::ConnectTimeout | Reason::ConnectFailed => {
                LogLevel::Warning
            }
            Reason::ConnQueueFull | Reason::TotalQueueFull | Reason::Resource => LogLevel::Warning,
            Reason::WorkerDied | Reason::SenderDied | Reason::Corrupt => LogLevel::Error,
            _ => LogLevel::Info,
        };
        if level as u8 > self.live.log_level as u8 {
            return;
        }
        if let Some(suppressed) = self.end_log.allow(self.now_ms) {
            let why = if errno == 0 {
                String::new()
            } else {
                format!(": {}", Errno(errno).text())
            };
            let text = format!("connection with {remote} ends: {}{why}", reason.text());
            self.log(level as u8, conn_id, suppressed, &text);
        }
    }

    pub(super) fn blacklist(&self, remote: &Addr, reason: Reason) {
        let ttl_ms = self.live.blacklist_ttl_ms;
        let entries = self.context.segment.blacklist();
        if blacklist::add(entries, self.me, remote, self.now_ms, ttl_ms, reason as u32) {
            self.count(Counter::BlacklistAdded, 1);
        }
    }

    /// Does what can be done now of a begun end.
    pub(super) fn advance_end(&mut self, index: u32, slot: &Slot) {
        if slot.supervised.phase.get() & phase::ENDING == 0 {
            return;
        }
        self.retire(index, slot);
        let gate_word = gate::load(&slot.output.gate);
        if gate_word.holder() != 0 {
            // It posts when it releases. What others queued behind it needs no queue field.
            if slot.supervised.phase.get() & phase::GRACEFUL == 0 {
                self.report_inbox(slot);
            } else if slot.supervised.phase.get() & phase::QUEUED == 0 {
                // Should it be stopped, `send_timeout` makes the end a hard one.
                self.set_phase(slot, phase::QUEUED);
                slot.supervised.progress_ms.set(self.now_ms);
                self.schedule(index, slot);
            }
            return;
        }
        self.take_inbox(index, slot);
        if slot.supervised.phase.get() & phase::GRACEFUL != 0 && slot.output.queue_head.get() != 0 {
            if gate_word.has(GateWord::CONNECTING) {
                self.arm(index, slot);
                self.schedule(index, slot);
                return;
            }
            if slot.supervised.phase.get() & phase::QUEUED == 0 {
                self.set_phase(slot, phase::QUEUED);
                slot.supervised.progress_ms.set(self.now_ms);
            }
            match self.write_queue(index, slot) {
                Wrote::All => {}
                Wrote::Some { again } => {
                    if again {
                        slot.note(crate::table::slot::post::WRITE);
                        self.context.segment.mailbox().post(index as usize);
                    }
                    self.arm(index, slot);
                    self.schedule(index, slot);
                    return;
                }
                Wrote::Failed(errno) => {
                    let (reason, errno) = Self::why(slot, errno);
                    slot.supervised
                        .close_reason
                        .set(pack_reason(reason as u32, errno));
                    self.clear_phase(slot, phase::GRACEFUL);
                    self.set_phase(slot, phase::RESET);
                }
            }
        }
        self.report_queue(slot);
        self.finish_socket(index, slot);
        self.finish_host(index, slot);
    }

    /// Takes the connection from whoever may read it. A reader in Reading gives it back after
    /// its turn, because it sees ENDING.
    fn retire(&mut self, index: u32, slot: &Slot) {
        for _ in 0..64 {
            let owner = slot.owner();
            match owner.state() {
                OwnerState::Idle | OwnerState::Lent | OwnerState::Held => {
                    if slot.swap_owner(owner, owner.to_supervisor(OwnerState::Retiring)) {
                        if owner.state() == OwnerState::Held {
                            self.remove_from_worker(owner.worker(), slot);
                        }
                        self.unlend(index);
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Why messages that were still queued fail with this connection.
    fn failed_with(slot: &Slot) -> (Reason, i32) {
        let (reason, errno) = unpack_reason(slot.supervised.close_reason.get());
        (Reason::from_number(reason), errno)
    }

    fn report_inbox(&mut self, slot: &Slot) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let (reason, errno) = Self::failed_with(slot);
        let newest = gate::take_inbox(&slot.output.gate, |newest| mark_taken(blocks, newest));
        let mut messages: Vec<u32> = blocks.list(newest).collect();
        let remote = slot.remote();
        while let Some(first) = messages.pop() {
            let failed = Failed {
                reason,
                errno,
                remote: Some(&remote),
            };
            self.fail_message(first, failed, None);
        }
    }

    fn report_queue(&mut self, slot: &Slot) {
        let blocks = self.context.clone();
        let blocks = blocks.segment.blocks();
        let (reason, errno) = Self::failed_with(slot);
        let remote = slot.remote();
        // Bounded: each call takes the first one off.
        for _ in 0..blocks.blocks.len() {
            let first = slot.output.queue_head.get();
            if first == 0 {
                break;
            }
            let failed = Failed {
                reason,
                errno,
                remote: Some(&remote),
            };
            self.fail_message(first, failed, Some(&slot.output));
        }
        slot.output.queue_head.set(0);
        slot.output.queued_bytes.set(0);
    }

    fn finish_socket(&mut self, index: u32, slot: &Slot) {
        let now = slot.supervised.phase.get();
        // Not while a worker has it: its poll would keep the registration, on a duplicate elsewhere, of
        // an fd that it can no longer name. When it gives the connection back we come here again.
        let with_us = matches!(
            slot.owner().state(),
            OwnerState::Retiring | OwnerState::Closing | OwnerState::ClosingRun | OwnerState::Told
        );
        if now & phase::FD_CLOSED != 0 || !with_us {
            return;
        }
        let connecting = gate::load(&slot.output.gate).has(GateWord::CONNECTING);
        let linger = now & phase::GRACEFUL != 0
            && now & phase::HALF_CLOSED == 0
            && !connecting
            && self.live.linger_ms > 0;
        if !linger {
            self.close_fd(slot);
        } else if now & phase::LINGERING == 0 {
            sock::shutdown_write(slot.identity.fd.get());
            self.set_phase(slot, phase::LINGERING);
            slot.supervised.progress_ms.set(self.now_ms);
            slot.discarded().set(0);
            self.discard_input(index, slot);
        }
    }

    /// After our FIN: reads and forgets, until the peer's FIN, `linger` or 256 KB.
    pub(super) fn discard_input(&mut self, index: u32, slot: &Slot) {
        let mut sink = [0u8; 16_384];
        for _ in 0..8 {
            match sock::recv(slot.identity.fd.get(), &mut sink) {
                Ok(n) if n > 0 => {
                    let discarded = slot.discarded();
                    discarded.set(discarded.get().saturating_add(n as u32));
                    if discarded.get() > LINGER_BYTES {
                        self.linger_over(index, slot);
                        return;
                    }
                }
                Err(errno) if errno.is_again() => break,
                _ => {
                    self.linger_over(index, slot);
                    return;
                }
            }
        }
        self.arm(index, slot);
        self.schedule(index, slot);
    }

    pub(super) fn linger_over(&mut self, index: u32, slot: &Slot) {
        self.clear_phase(slot, phase::LINGERING | phase::GRACEFUL);
        self.advance_end(index, slot);
    }

    fn close_fd(&mut self, slot: &Slot) {
        let fd = slot.identity.fd.get();
        if slot.supervised.phase.get() & phase::RESET != 0 {
            sock::abort(fd);
        } else {
            // Duplicates in other processes keep the socket open: the FIN is sent by this.
            sock::shutdown_both(fd);
        }
        let _ = self.poll.remove(fd);
        slot.identity.fd.store_sync(-1);
        let closed_last = Fd::from_raw(fd);
        self.set_phase(slot, phase::FD_CLOSED);
        drop(closed_last);
    }

    /// `on_close` as soon as nobody reads any more; then the slot is free.
    fn finish_host(&mut self, index: u32, slot: &Slot) {
        let owner = slot.owner();
        let now = slot.supervised.phase.get();
        if owner.state() == OwnerState::Retiring && now & phase::CLOSE_LISTED == 0 {
            let wanted = self.context.wants.close
                || (self.context.wants.open && slot.input.opened.get() == 0);
            if wanted {
                self.set_phase(slot, phase::CLOSE_LISTED);
                self.closes.push_back((index, owner.generation()));
            } else {
                let _ = slot.swap_owner(owner, owner.to(OwnerState::Told));
            }
        }
        if slot.owner().state() == OwnerState::Told && now & phase::FD_CLOSED != 0 {
            self.free_slot(index, slot);
        }
    }

    /// Lends ended connections to workers for their `on_close`; each behind the last notice of its
    /// messages, since it is the last call for its id.
    pub(super) fn serve_closes(&mut self) {
        if self.closes.is_empty() && self.lent_closes.is_empty() {
            return;
        }
        let context = self.context.clone();
        self.forget_closed();
        for _ in 0..self.closes.len() {
            let Some((index, generation)) = self.closes.pop_front() else {
                break;
            };
            let Some(slot) = context.segment.slot(index) else {
                continue;
            };
            let owner = slot.owner();
            if owner.generation() != generation || owner.state() != OwnerState::Retiring {
                continue;
            }
            let id = context.segment.id_of(index, generation);
            if self.untold.contains_key(&id) {
                self.closes.push_back((index, generation));
                continue;
            }
            let seat = self.pick_seat(|this, seat| {
                let may = this
                    .seats
                    .get(seat)
                    .is_some_and(|s| s.closes < this.may_have(seat));
                if !may {
                    this.want_room(seat);
                }
                may
            });
            let Some((seat, holder)) =
                seat.and_then(|seat| Some((seat, self.seats.get(seat)?.holder)))
            else {
                self.closes.push_front((index, generation));
                break;
            };
            let given = owner.lent_to(OwnerState::Closing, holder);
            if slot.swap_owner(owner, given) {
                self.push(seat, Entry::Close { slot: index }, given.0);
                self.lent_closes.push((index, given));
                if let Some(place) = self.seats.get_mut(seat) {
                    place.closes += 1;
                }
            }
        }
    }

    /// Lent ends that were told are forgotten.
    fn forget_closed(&mut self) {
        for seat in &mut self.seats {
            seat.closes = 0;
        }
        let (context, seats) = (&self.context, &mut self.seats);
        self.lent_closes.retain(|(index, given)| {
            let now = context.segment.slot(*index).map(Slot::owner);
            let waits = now == Some(*given) || now == Some(given.to(OwnerState::ClosingRun));
            if waits && let Some(seat) = seats.iter_mut().find(|s| s.holder == given.worker()) {
                seat.closes += 1;
            }
            waits
        });
    }

    /// Ends that a stalled (or dead) worker has not begun to tell go to another one.
    pub(super) fn take_closes(&mut self, holder: u16) {
        let context = self.context.clone();
        for (index, given) in core::mem::take(&mut self.lent_closes) {
            let taken = given.worker() == holder
                && context.segment.slot(index).is_some_and(|slot| {
                    slot.swap_owner(given, given.to_supervisor(OwnerState::Retiring))
                });
            if taken {
                self.closes.push_back((index, given.generation()));
            } else {
                self.lent_closes.push((index, given));
            }
        }
    }

    /// Half-closed by the peer: everything asked is answered and written, so we close too.
    pub(super) fn end_if_answered(&mut self, index: u32, slot: &Slot) {
        if slot.supervised.phase.load_sync() & phase::HALF_CLOSED == 0 {
            return;
        }
        let gate_word = gate::load(&slot.output.gate);
        let written =
            gate_word.inbox() == 0 && gate_word.holder() == 0 && slot.output.queue_head.get() == 0;
        if slot.output.pending_answers.load_sync() <= 0 && written {
            self.end(index, slot, Reason::PeerClosed, 0, Mode::Graceful);
        }
    }

    /// `sipwire_stop`: everything ends now.
    pub(super) fn end_all(&mut self) {
        let context = self.context.clone();
        for (index, slot) in context.segment.slots().iter().enumerate() {
            if slot.is_open() {
                self.end(index as u32, slot, Reason::Shutdown, 0, Mode::Now);
            }
        }
    }
}
