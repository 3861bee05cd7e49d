//! P6, ending a connection: the only place where a socket is shut down, reset or closed.
//!
//! Order: CLOSING into the gate, out of the index, no reader any more (Retiring), output written or
//! reported, FIN or reset, `on_close`, the slot is free. Each step is tried again whenever something
//! posts the connection; a stuck gate holder or reader pins one slot and blocks nobody.

use super::flush::Wrote;
use super::{Supervisor, phase};
use crate::pure::addr::Addr;
use crate::pure::reason::Reason;
use crate::pure::words::{GateWord, OwnerState};
use crate::roles::notice::Entry;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::sys::{Errno, sock};
use crate::table::slot::{Slot, pack_reason, unpack_reason};
use crate::table::{blacklist, index, queue};

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
    pub fn of(reason: Reason, close_rst: bool) -> Mode {
        match (reason.aborts(), close_rst) {
            (true, _) => Mode::Reset,
            (false, true) => Mode::Reset,
            (false, false) => Mode::Now,
        }
    }
}

/// Input discarded after our FIN before the peer is cut off.
const LINGER_BYTES: u64 = 262_144;

impl Supervisor {
    /// Begins the end (or makes a begun one harder). The first reason stays.
    pub(super) fn end(&mut self, index: u32, slot: &Slot, reason: Reason, errno: i32, mode: Mode) {
        let now = slot.supervised.phase.get();
        let mode = if mode == Mode::Now && self.live.close_rst {
            Mode::Reset
        } else {
            mode
        };
        if now & phase::ENDING == 0 {
            slot.supervised
                .close_reason
                .set(pack_reason(reason as u32, errno));
            if slot.is_outbound() && reason.blacklists() {
                self.blacklist(slot, reason);
            }
            if reason == Reason::ConnectFailed || reason == Reason::ConnectTimeout {
                self.count(Counter::ConnectFailed, 1);
            }
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

    /// Ends an operator wants to know of, a few lines a second.
    pub(super) fn log_end(&mut self, conn_id: u32, remote: &Addr, reason: Reason, errno: i32) {
        use crate::pure::settings::LogLevel;
        let level = match reason {
            Reason::NotSip | Reason::BadLength | Reason::TooLarge | Reason::EofInMessage => {
                LogLevel::Notice
            }
            Reason::MessageTimeout | Reason::FirstMessageTimeout => LogLevel::Notice,
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

    fn blacklist(&self, slot: &Slot, reason: Reason) {
        let ttl_ms = self.live.blacklist_ttl_ms;
        if ttl_ms > 0 {
            let entries = self.context.segment.blacklist();
            blacklist::add(
                entries,
                self.me,
                &slot.remote(),
                self.now_ms,
                ttl_ms,
                reason as u32,
            );
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
                    let (reason, _) = unpack_reason(slot.supervised.close_reason.get());
                    slot.supervised
                        .close_reason
                        .set(pack_reason(reason, errno.0));
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

    fn report_inbox(&mut self, slot: &Slot) {
        let context = self.context.clone();
        let (reason, errno) = unpack_reason(slot.supervised.close_reason.get());
        let newest = gate::take_inbox(&slot.output.gate);
        let mut messages: Vec<u32> = context.segment.blocks().list(newest).collect();
        while let Some(first) = messages.pop() {
            self.fail_message(
                first,
                Reason::from_number(reason),
                errno,
                Some(&slot.remote()),
            );
        }
    }

    fn report_queue(&mut self, slot: &Slot) {
        let context = self.context.clone();
        let (reason, errno) = unpack_reason(slot.supervised.close_reason.get());
        while let Some(first) = queue::pop(context.segment.blocks(), &slot.output) {
            self.fail_message(
                first,
                Reason::from_number(reason),
                errno,
                Some(&slot.remote()),
            );
        }
        slot.output.queued_bytes.set(0);
    }

    fn finish_socket(&mut self, index: u32, slot: &Slot) {
        let now = slot.supervised.phase.get();
        if now & phase::FD_CLOSED != 0 || slot.owner().state() == OwnerState::Reading {
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
            slot.supervised.activity_ms.set(0);
            self.discard_input(index, slot);
        }
    }

    /// After our FIN: reads and forgets, until the peer's FIN, `linger` or 256 KB.
    pub(super) fn discard_input(&mut self, index: u32, slot: &Slot) {
        let mut sink = [0u8; 16_384];
        // `activity_ms` counts the discarded bytes here: no other use is left for it.
        for _ in 0..8 {
            match sock::recv(slot.identity.fd.get(), &mut sink) {
                Ok(n) if n > 0 => {
                    slot.supervised.activity_ms.bump(n as u64);
                    if slot.supervised.activity_ms.get() > LINGER_BYTES {
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
        self.set_phase(slot, phase::FD_CLOSED);
        sock::close(fd);
    }

    /// `on_close` as soon as nobody reads any more; then the slot is free.
    fn finish_host(&mut self, index: u32, slot: &Slot) {
        let owner = slot.owner();
        if owner.state() != OwnerState::Retiring {
            return;
        }
        let now = slot.supervised.phase.get();
        if now & (phase::CLOSE_LENT | phase::CLOSE_TOLD) == 0 {
            if self.context.wants.close || (self.context.wants.open && slot.input.opened.get() == 0)
            {
                self.set_phase(slot, phase::CLOSE_LENT);
                self.closes.push_back((index, owner.generation()));
            } else {
                self.set_phase(slot, phase::CLOSE_TOLD);
            }
        }
        let done = phase::CLOSE_TOLD | phase::FD_CLOSED;
        if slot.supervised.phase.get() & done == done {
            if now & phase::CLOSE_LENT != 0 {
                self.closes_lent = self.closes_lent.saturating_sub(1);
            }
            self.free_slot(index, slot);
        }
    }

    /// Lends ended connections to workers for their `on_close`.
    pub(super) fn serve_closes(&mut self) {
        let context = self.context.clone();
        while let Some(&(index, generation)) = self.closes.front() {
            let Some(slot) = context.segment.slot(index) else {
                break;
            };
            let owner = slot.owner();
            if owner.generation() != generation || owner.state() != OwnerState::Retiring {
                self.closes.pop_front();
                continue;
            }
            let mut given = owner;
            let pushed = self.push_to_any(|holder| {
                given = owner.lent_to(OwnerState::Closing, holder);
                let _ = slot.swap_owner(owner, given);
                (Entry::Close { slot: index }, given.0)
            });
            if pushed.is_none() {
                break;
            }
            self.closes_lent += 1;
            self.closes.pop_front();
        }
    }

    /// Ends that a stalled (or dead) worker has not begun to tell go to another one.
    pub(super) fn take_closes(&mut self, holder: u16) {
        let context = self.context.clone();
        for (index, slot) in context.segment.slots().iter().enumerate() {
            let owner = slot.owner();
            if owner.state() == OwnerState::Closing
                && owner.worker() == holder
                && slot.swap_owner(owner, owner.to_supervisor(OwnerState::Retiring))
            {
                self.closes_lent = self.closes_lent.saturating_sub(1);
                self.closes.push_back((index as u32, owner.generation()));
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

    /// `sipwire_drain`: connections end when what was asked is answered and written; at the
    /// deadline all that are left end.
    pub(super) fn drain_scan(&mut self, deadline_ms: u64) {
        if self.now_ms < self.drain_scan_ms + 50 {
            return;
        }
        self.drain_scan_ms = self.now_ms;
        self.unlisten();
        let over = self.now_ms >= deadline_ms;
        let context = self.context.clone();
        for (index, slot) in context.segment.slots().iter().enumerate() {
            let state = slot.owner().state();
            if state == OwnerState::Free {
                continue;
            }
            let asked = slot.output.pending_answers.load_sync() > 0
                || matches!(state, OwnerState::Lent | OwnerState::Reading);
            if over {
                self.end(index as u32, slot, Reason::Shutdown, 0, Mode::Now);
            } else if !asked {
                self.end(index as u32, slot, Reason::Shutdown, 0, Mode::Graceful);
            }
        }
    }
}
