//! P10: the answers to requests that came in one read. While another request is known to follow, an answer is
//! put into its connection's queue instead of being written; behind the last one all are written at once, by
//! the worker that put them there.
//!
//! Invariants: the gate is free between two answers. Whoever sends meanwhile queues behind them, and then,
//! or when this worker stalls, the supervisor writes all there is. Only what lies in the queue as it was put
//! there is written here: a message that the supervisor has touched is in its journal.
//! By a worker, for the connection it has in Reading: until it lets go the slot is that connection's.

use std::io::IoSlice;

use crate::pure::error::{Error, Result};
use crate::roles::context::{Context, failed_because};
use crate::roles::member::Member;
use crate::roles::sender::{Call, Sent, account};
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::sys::sock;
use crate::table::slot::{Slot, post};
use crate::table::{phase, queue};

/// Written at once; more waiting answers than that are written before the next one is put to them.
pub const MAX_BYTES: u32 = 65_536;
const MAX_PARTS: usize = 64;

impl Call<'_> {
    /// P10: it is put to the answers that wait on this connection, or is the first of them.
    pub(super) fn is_batched(&self, index: u32, slot: &Slot, generation: u32) -> bool {
        let this = Some((index, generation));
        let begun = self.member.gathered.get() == this;
        if !begun && self.member.batch.get() != this || self.length as u32 > MAX_BYTES {
            return false;
        }
        let waiting = if begun {
            slot.output.queued_bytes.load_sync()
        } else {
            0
        };
        if waiting + self.length as u32 > MAX_BYTES {
            write(
                self.context,
                self.member,
                index,
                slot,
                self.fd_of(index, slot, generation),
            );
        } else if begun {
            return true;
        }
        // All of it may have to stay in the queue.
        self.member.batch.get() == this && self.admits(0, u64::from(MAX_BYTES)).is_ok()
    }

    /// With the gate.
    pub(super) fn put_to_batch(&self, index: u32, slot: &Slot, generation: u32) -> Result<Sent> {
        let Some(first) = self.message(index, generation, 0) else {
            gate::release_async(&slot.output.gate);
            self.context.post(index, slot, post::WRITE);
            return Err(Error::NoMemory);
        };
        self.account(self.length as i64);
        let blocks = self.context.segment.blocks();
        queue::append(blocks, &slot.output, first, self.length as u32);
        self.member.gathered.set(Some((index, generation)));
        let bits = self.accepted(slot, generation);
        gate::release_async(&slot.output.gate);
        if bits != 0 {
            self.context.post(index, slot, bits);
        }
        Ok(Sent::Queued)
    }
}

/// Writes what waits on the connection, if something does.
pub fn write(context: &Context, member: &Member, index: u32, slot: &Slot, fd: i32) {
    if member.gathered.get().is_none_or(|(of, _)| of != index) {
        return;
    }
    member.gathered.set(None);
    let Some(before) = gate::take_to_flush(&slot.output.gate, member.holder) else {
        return; // the supervisor writes it, or ends the connection
    };
    let bits = if before.inbox() == 0 && is_ours(context, member, slot) {
        write_queue(context, member, slot, before.generation(), fd)
    } else {
        post::WRITE
    };
    if slot.output.queue_head.get() != 0 || !gate::end_async(&slot.output.gate) {
        gate::release_async(&slot.output.gate);
        context.post(index, slot, bits | post::WRITE);
        return;
    }
    // While we held the gate the supervisor could not see the connection as written.
    let half_closed = slot.supervised.phase.load_sync() & phase::HALF_CLOSED != 0;
    if half_closed || bits != 0 {
        context.post(index, slot, bits | post::ANSWERED);
    }
}

/// Nobody else has put anything into the queue or taken from it.
fn is_ours(context: &Context, member: &Member, slot: &Slot) -> bool {
    let blocks = context.segment.blocks();
    let mut messages = blocks.list(slot.output.queue_head.get());
    messages.all(|first| {
        blocks.head(first).is_some_and(|head| {
            head.origin.get() == u32::from(member.holder)
                && head.kind.get() == 0
                && head.written.get() == 0
        })
    })
}

/// What the supervisor is to be told.
fn write_queue(context: &Context, member: &Member, slot: &Slot, generation: u32, fd: i32) -> u32 {
    let blocks = context.segment.blocks();
    loop {
        let parts = queue::gather(blocks, &slot.output, MAX_PARTS, MAX_BYTES as usize);
        if parts.is_empty() {
            return 0;
        }
        let mut slices = [IoSlice::new(&[]); MAX_PARTS];
        for (slice, part) in slices.iter_mut().zip(&parts) {
            *slice = IoSlice::new(part);
        }
        let slices = slices.get(..parts.len()).unwrap_or_default();
        let written = match sock::send_parts(fd, slices, false) {
            Ok(written) => written,
            Err(errno) if errno.is_again() => return post::WRITE,
            Err(errno) => {
                slot.want(generation, failed_because(errno), errno.0, true);
                return post::END;
            }
        };
        take_out(context, member, slot, written as u32);
        // Last: who dies before it leaves a number that says what was written (`note_taken`).
        slot.output.bytes_out.bump(written as u64);
        member.count(context, Counter::BytesOut, written as u64);
        if written < parts.iter().map(|part| part.len()).sum() {
            return post::WRITE;
        }
    }
}

/// `n` bytes of the queue were written: messages that are written whole leave it.
fn take_out(context: &Context, member: &Member, slot: &Slot, mut n: u32) {
    let blocks = context.segment.blocks();
    let queue = &slot.output;
    let queued = queue.queued_bytes.get();
    queue.queued_bytes.set(queued.saturating_sub(n));
    account(context, member, -i64::from(n));
    while n > 0 {
        let first = queue.queue_head.get();
        let Some(head) = blocks.head(first) else {
            return;
        };
        let left = head.length.get().saturating_sub(head.written.get());
        if n < left {
            head.written.set(head.written.get() + n);
            return;
        }
        n -= left;
        let _ = queue::pop(blocks, queue);
        blocks.free_chain(first, member.holder);
        queue.messages_out.bump(1);
        member.count(context, Counter::MessagesOut, 1);
    }
}
