//! Writing queued output (P1): only the supervisor does it, under the gate.

use super::ending::Mode;
use super::{Supervisor, phase};
use crate::pure::reason::Reason;
use crate::pure::words::GateWord;
use crate::roles::sender::{CLOSE_AFTER, FINAL_ANSWER};
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::sys::{Errno, sock};
use crate::table::queue;
use crate::table::slot::{Slot, post};
use std::io::IoSlice;

const MAX_PARTS: usize = 64;
const WRITE_BYTES: usize = 65_536;
/// Written for one connection in one go; then others have their turn.
const BUDGET_BYTES: usize = 262_144;

pub(super) enum Wrote {
    /// The queue is empty.
    All,
    /// The kernel takes no more now, or the budget is used up.
    Some {
        again: bool,
    },
    Failed(Errno),
}

impl Supervisor {
    pub(super) fn flush(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let Some(before) = gate::take_to_flush(&slot.output.gate, self.me) else {
            // A sender writes: it posts when it is done, or send_timeout ends the connection.
            let waits = gate::load(&slot.output.gate).inbox() != 0;
            if waits && slot.supervised.phase.get() & phase::QUEUED == 0 {
                self.set_phase(slot, phase::QUEUED);
                slot.supervised.progress_ms.set(self.now_ms);
                self.count(Counter::AsyncStarted, 1);
                self.schedule(index, slot);
            }
            return;
        };
        if before.inbox() == 0 && slot.output.queue_head.get() == 0 && !before.has(GateWord::ASYNC)
        {
            // Posted, but another flush was faster. If somebody pushed in between we still hold
            // the gate and go on.
            if gate::end_async(&slot.output.gate) {
                return;
            }
        }
        if slot.supervised.phase.get() & phase::QUEUED == 0 {
            self.set_phase(slot, phase::QUEUED);
            slot.supervised.progress_ms.set(self.now_ms);
            self.count(Counter::AsyncStarted, 1);
        }
        loop {
            self.take_inbox(index, slot);
            if before.has(GateWord::CONNECTING) {
                gate::release_async(&slot.output.gate);
                self.schedule(index, slot);
                return;
            }
            match self.write_queue(index, slot) {
                Wrote::All => {
                    if gate::end_async(&slot.output.gate) {
                        self.clear_phase(slot, phase::QUEUED);
                        self.count(Counter::AsyncEnded, 1);
                        break;
                    }
                }
                Wrote::Some { again } => {
                    gate::release_async(&slot.output.gate);
                    if again {
                        slot.note(post::WRITE);
                        context.segment.mailbox().post(index as usize);
                    }
                    self.arm(index, slot);
                    self.schedule(index, slot);
                    return;
                }
                Wrote::Failed(errno) => {
                    gate::release_async(&slot.output.gate);
                    let reset = errno == Errno::ECONNRESET || errno == Errno::EPIPE;
                    let reason = if reset {
                        Reason::PeerReset
                    } else {
                        Reason::IoError
                    };
                    self.end(index, slot, reason, errno.0, Mode::Reset);
                    return;
                }
            }
        }
        if slot.supervised.phase.get() & phase::ROOM_WANTED != 0 {
            self.tell_writable(index, slot);
        }
        if slot.supervised.phase.get() & phase::HALF_CLOSED != 0 {
            self.end_if_answered(index, slot);
        }
    }

    /// Moves the inbox to the queue. As gate holder, or alone with a closing connection.
    pub(super) fn take_inbox(&mut self, index: u32, slot: &Slot) {
        let blocks = self.context.segment.blocks();
        let newest = gate::take_inbox(&slot.output.gate);
        if newest == 0 {
            return;
        }
        let messages: Vec<(u16, u32)> = blocks
            .list(newest)
            .filter_map(|first| blocks.head(first))
            .map(|head| (head.origin.get() as u16, head.flags.get()))
            .collect();
        queue::append_inbox(blocks, &slot.output, newest);
        for (origin, flags) in messages {
            if flags & FINAL_ANSWER != 0 {
                slot.answered();
            }
            if flags & CLOSE_AFTER != 0 {
                // Served by ourselves, after what is being done now.
                let generation = slot.owner().generation();
                slot.want(generation, Reason::CloseAfterSend, 0, false);
                self.context.post(index, slot, post::END);
            }
            self.offer_fd(origin, index, slot);
        }
    }

    /// Writes the queue. As gate holder, or alone with a closing connection.
    pub(super) fn write_queue(&mut self, _index: u32, slot: &Slot) -> Wrote {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let mut budget = BUDGET_BYTES;
        loop {
            let parts = queue::gather(blocks, &slot.output, MAX_PARTS, WRITE_BYTES);
            if parts.is_empty() {
                return Wrote::All;
            }
            let wanted: usize = parts.iter().map(|part| part.len()).sum();
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let n = match sock::send_parts(slot.identity.fd.get(), &slices, false) {
                Ok(n) => n,
                Err(errno) if errno.is_again() => return Wrote::Some { again: false },
                Err(errno) => return Wrote::Failed(errno),
            };
            if n > 0 {
                slot.supervised.progress_ms.set(self.now_ms);
            }
            slot.output.bytes_out.bump(n as u64);
            self.count(Counter::BytesOut, n as u64);
            let mut whole = 0;
            queue::written(
                blocks,
                &slot.output,
                n,
                |origin, bytes| self.removed(origin, bytes),
                |first| {
                    whole += 1;
                    blocks.free_chain(first);
                },
            );
            slot.output.messages_out.bump(whole);
            self.count(Counter::MessagesOut, u64::from(whole));
            if n < wanted {
                return Wrote::Some { again: false };
            }
            budget = budget.saturating_sub(n);
            if budget == 0 {
                if slot.output.queue_head.get() == 0 {
                    return Wrote::All;
                }
                return Wrote::Some { again: true };
            }
        }
    }

    /// Bytes of `origin`'s messages that left the queues.
    pub(super) fn removed(&self, origin: u16, bytes: u64) {
        if let Some(record) = self.context.segment.participants().get(origin) {
            let cell = &record.supervised.removed;
            cell.store_sync(cell.load_sync().wrapping_add(bytes));
        }
    }
}
