//! Writing queued output (P1): only the supervisor does it, under the gate.

use super::Supervisor;
use crate::pure::proxy::{self, Pair};
use crate::pure::reason::Reason;
use crate::pure::words::{BlockUse, GateWord, Holder, Stamp};
use crate::roles::notice::{KIND_DONE, KIND_TAKEN};
use crate::roles::sender::{FINAL_ANSWER, PING, UNREPORTED};
use crate::roles::target::Target;
use crate::shm::blocks::Blocks;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::sys::{Errno, sock};
use crate::table::slot::{Slot, post};
use crate::table::{inbox, phase, queue};
use std::io::IoSlice;

const MAX_PARTS: usize = 64;
/// Offered to the kernel at once: what it does not take is walked over again.
const WRITE_BYTES: usize = 16_384;
const PONG: &[u8] = b"\r\n";
/// What waits without being in the queue.
const OWED: u32 = phase::PONG_OWED | phase::PING_OWED;
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
        self.write_out(index, slot);
        self.note_low(index, slot);
    }

    fn write_out(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let Some(before) = gate::take_to_flush(&slot.output.gate, self.me) else {
            self.wait_for_holder(index, slot);
            return;
        };
        let nothing = before.inbox() == 0
            && slot.output.queue_head.get() == 0
            && !before.has(GateWord::ASYNC)
            && slot.supervised.phase.get() & OWED == 0;
        if nothing {
            // Posted, but another flush was faster. If somebody pushed in between we still hold
            // the gate and go on.
            if gate::end_async(&slot.output.gate) {
                self.note_written(slot);
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
            self.note_high(slot);
            if before.has(GateWord::CONNECTING) {
                gate::release_async(&slot.output.gate);
                self.schedule(index, slot);
                return;
            }
            if slot.supervised.phase.get() & phase::PING_OWED != 0 {
                self.queue_ping(index, slot);
            }
            match self.write_queue(index, slot) {
                Wrote::All if slot.supervised.phase.get() & phase::PONG_OWED != 0 => {
                    // Behind all that was queued before.
                    self.clear_phase(slot, phase::PONG_OWED);
                    // Without a block there is none; the peer's next ping is answered.
                    self.queue_own(index, slot, PONG, UNREPORTED);
                }
                Wrote::All => {
                    if gate::end_async(&slot.output.gate) {
                        self.note_written(slot);
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
                    self.end_by_error(index, slot, errno);
                    return;
                }
            }
        }
        if slot.supervised.phase.get() & phase::HALF_CLOSED != 0 {
            self.end_if_answered(index, slot);
        }
        if slot.supervised.phase.get() & phase::PINGS != 0 {
            // A ping may have gone out: its pong is awaited from now on.
            self.schedule(index, slot);
        }
    }

    /// Nothing is queued any more. A worker may have written what we saw in its hand: if that passed for queued for
    /// ever, the next message would be late before it is.
    fn note_written(&self, slot: &Slot) {
        if slot.supervised.phase.get() & phase::QUEUED != 0 {
            self.clear_phase(slot, phase::QUEUED);
            self.count(Counter::AsyncEnded, 1);
        }
    }

    /// A sender holds the gate. It posts when it lets go, or `send_timeout` ends the connection; but it
    /// may be stopped between the two, so the tick looks as well.
    fn wait_for_holder(&mut self, index: u32, slot: &Slot) {
        let word = gate::load(&slot.output.gate);
        let queued = word.inbox() != 0 || slot.output.queue_head.load_sync() != 0;
        let owed = slot.supervised.phase.get() & OWED != 0;
        if word.has(GateWord::CLOSING) || !(queued || owed) {
            return;
        }
        // A ping that is owed has no other deadline: until it is written no pong is awaited.
        let ping = slot.supervised.phase.get() & phase::PING_OWED != 0;
        if (queued || ping) && slot.supervised.phase.get() & phase::QUEUED == 0 {
            self.set_phase(slot, phase::QUEUED);
            slot.supervised.progress_ms.set(self.now_ms);
            self.count(Counter::AsyncStarted, 1);
            self.schedule(index, slot);
        }
        self.look_again(index, slot);
    }

    /// At the next tick.
    pub(super) fn look_again(&mut self, index: u32, slot: &Slot) {
        if slot.supervised.phase.get() & phase::LOOK_AGAIN == 0 {
            self.set_phase(slot, phase::LOOK_AGAIN);
            self.look_again
                .push_back((index, slot.owner().generation()));
        }
    }

    /// From the tick: gates that a sender held when something was queued behind it, and errors that a
    /// reader may know better.
    pub(super) fn serve_look_again(&mut self) {
        let context = self.context.clone();
        for (index, generation) in core::mem::take(&mut self.look_again) {
            if let Some(slot) = context.segment.slot(index)
                && slot.is_open()
                && slot.owner().generation() == generation
            {
                self.clear_phase(slot, phase::LOOK_AGAIN);
                if slot.wanted().is_some() {
                    self.end_as_wanted(index, slot);
                } else {
                    self.flush(index, slot);
                }
            }
        }
    }

    /// Moves the inbox to the queue. As gate holder, or alone with a closing connection.
    pub(super) fn take_inbox(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let taken = inbox::take(blocks, &slot.output, |newest| mark_taken(blocks, newest));
        for head in taken.iter().filter_map(|first| blocks.head(*first)) {
            let flags = head.flags.get();
            if flags & FINAL_ANSWER != 0 {
                slot.answered();
            }
            if flags & Target::CLOSE_AFTER != 0 {
                // Served by ourselves, after what is being done now.
                let generation = slot.owner().generation();
                slot.want(generation, Reason::CloseAfterSend, 0, false);
                context.post(index, slot, post::END);
            }
            self.offer_fd(head.origin.get() as Holder, index, slot);
        }
    }

    /// Writes the queue. As gate holder, or alone with a closing connection.
    pub(super) fn write_queue(&mut self, index: u32, slot: &Slot) -> Wrote {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let mut budget = BUDGET_BYTES;
        if slot.is_outbound() && slot.output.bytes_out.get() == 0 {
            match self.write_proxy_header(slot) {
                Wrote::All => {}
                other => return other,
            }
        }
        loop {
            let mut slices = [IoSlice::new(&[]); MAX_PARTS];
            let slices = queue::gather(blocks, &slot.output, &mut slices, WRITE_BYTES);
            if slices.is_empty() {
                return Wrote::All;
            }
            let wanted: usize = slices.iter().map(|part| part.len()).sum();
            let n = match sock::send_parts(slot.identity.fd.get(), slices, false) {
                Ok(n) => n,
                Err(errno) if errno.is_again() => return Wrote::Some { again: false },
                Err(errno) => return Wrote::Failed(errno),
            };
            self.count_written(slot, n);
            self.written(index, slot, n as u32);
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

    fn count_written(&self, slot: &Slot, n: usize) {
        if n > 0 {
            slot.supervised.progress_ms.set(self.now_ms);
        }
        slot.output.bytes_out.bump(n as u64);
        self.count(Counter::BytesOut, n as u64);
    }

    /// The first bytes of a dialled connection, if its destination is to have a PROXY header. All of what we
    /// dial begins with a flush: nobody has written to it before.
    fn write_proxy_header(&mut self, slot: &Slot) -> Wrote {
        let own = Pair {
            source: slot.local(),
            destination: slot.remote(),
        };
        let networks = &self.context.settings.proxy_out_networks;
        let out = self.live.proxy_protocol_out;
        let Some(version) = proxy::version_for(out, networks, &own.destination) else {
            return Wrote::All;
        };
        let header = proxy::write(version, Some(&own));
        // With what follows it, if that is here.
        let more = slot.output.queue_head.get() != 0;
        match sock::send_parts(slot.identity.fd.get(), &[IoSlice::new(&header)], more) {
            Ok(n) => {
                self.count_written(slot, n);
                // An empty socket buffer takes some hundred bytes whole; the rest of a part would be lost.
                match n == header.len() {
                    true => Wrote::All,
                    false => Wrote::Failed(Errno::ENOBUFS),
                }
            }
            Err(errno) if errno.is_again() => Wrote::Some { again: false },
            Err(errno) => Wrote::Failed(errno),
        }
    }

    /// Who held the gate has died, perhaps behind a write of what is queued: the kernel knows how much it has
    /// taken of that. Such a message is not reported, the peer has it.
    pub(super) fn note_taken(&mut self, index: u32, slot: &Slot) {
        let dialled = slot.is_outbound();
        if slot.output.queue_head.get() != 0
            && let Some(by_kernel) = sock::bytes_taken(slot.identity.fd.get(), dialled)
        {
            let context = self.context.clone();
            let n = queue::taken(context.segment.blocks(), &slot.output, by_kernel);
            self.count_written(slot, n as usize);
            self.written(index, slot, n);
        }
    }

    /// `n` bytes of the queue were written: messages that are written whole leave it.
    fn written(&mut self, index: u32, slot: &Slot, mut n: u32) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let queue = &slot.output;
        queue
            .queued_bytes
            .set(queue.queued_bytes.get().saturating_sub(n));
        while n > 0 {
            let first = queue.queue_head.get();
            let Some(head) = blocks.head(first) else {
                return;
            };
            let left = head.length.get().saturating_sub(head.written.get());
            let here = left.min(n);
            n -= here;
            if here < left {
                self.step_message(first, here, u64::from(here), head.kind.get());
                return;
            }
            let ping = head.flags.get() & PING != 0;
            self.step_message(first, here, u64::from(here), KIND_DONE);
            let _ = queue::pop(blocks, queue);
            blocks.free_chain(first, self.me);
            if ping {
                self.ping_written(index, slot);
                continue;
            }
            queue.messages_out.bump(1);
            self.count(Counter::MessagesOut, 1);
        }
    }

    /// Something of our own takes its place at the queue's end like any message, so that it goes out whole.
    /// With the gate. False: no block is left.
    pub(super) fn queue_own(&mut self, index: u32, slot: &Slot, bytes: &[u8], flags: u32) -> bool {
        let context = self.context.clone();
        let segment = &context.segment;
        let blocks = segment.blocks();
        let Some((block, head)) = blocks
            .alloc(self.me)
            .and_then(|block| Some((block, blocks.head(block)?)))
        else {
            return false;
        };
        blocks.append(block, bytes);
        let length = bytes.len() as u32;
        head.length.set(length);
        head.written.set(0);
        head.flags.set(flags);
        head.origin.set(u32::from(self.me));
        head.kind.set(KIND_TAKEN);
        if let Some(record) = segment.participants().get(self.me) {
            record.account.added.bump(u64::from(length));
        }
        let stamp = Stamp::new(BlockUse::Message, self.me, index, slot.owner().generation());
        head.stamp.store_sync(stamp.0);
        queue::append(blocks, &slot.output, block, length);
        true
    }
}

/// See `KIND_TAKEN`.
pub(super) fn mark_taken(blocks: Blocks<'_>, newest: u32) {
    for first in blocks.list(newest) {
        if let Some(head) = blocks.head(first) {
            head.kind.store_sync(head.kind.get() | KIND_TAKEN);
        }
    }
}
