//! P10: the answers to requests that came in one read. While another request is known to follow, an answer is
//! put into its connection's queue instead of being written; behind the last one all are written at once, by
//! the worker that put them there.
//!
//! Invariants:
//! BATCH-1 the gate is free between two answers: whoever sends meanwhile queues behind them, and then, or when
//!         this worker stalls, the supervisor writes all there is;
//! BATCH-2 the gate's flag BATCH says that the queue holds a batch and nothing else: only then its worker touches
//!         it. What the supervisor has touched is in its journal, and what the kernel did not take is its to write;
//! BATCH-3 a batch alone never slows the connection, and is nothing of what `conn_wq_max` counts.
//! By a worker, for the connection it has in Reading: until it lets go the slot is that connection's.

use std::io::IoSlice;

use crate::pure::error::{Error, Result};
use crate::roles::context::{Context, failed_because};
use crate::roles::member::Member;
use crate::roles::sender::{Call, account};
use crate::roles::target::Sent;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::sys::sock;
use crate::table::slot::{Slot, post};
use crate::table::{flow, inbox, phase, queue};

/// No batch is longer, whatever the settings allow.
const MAX_BYTES: u64 = 65_536;
/// Nor does one wait longer for the next answer, not counting the script that runs.
const MAX_WAIT_MS: u64 = 10;
const MAX_PARTS: usize = 64;

impl Call<'_> {
    /// P10: it is put to the answers that wait on this connection, or is the first of them.
    pub(super) fn is_batched(&self, index: u32, slot: &Slot, generation: u32) -> bool {
        let member = self.member;
        let this = Some((index, generation));
        let begun = member.gathered.get() == this;
        if !begun && member.batch.get() != this {
            return false;
        }
        let most = MAX_BYTES.min(self.settings.water().high);
        let length = self.length as u64;
        if begun {
            if inbox::in_queue(&slot.output) + length <= most {
                return true;
            }
            let fd = self.fd_of(index, slot, generation);
            write(self.context, member, index, slot, fd);
        }
        let segment = &self.context.segment;
        member.batch.get() == this
            && length <= most
            && !flow::total_is_high(segment, self.settings, most)
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
        if self
            .member
            .gathered
            .replace(Some((index, generation)))
            .is_none()
        {
            self.member.gathered_ms.set(self.now_ms);
        }
        let bits = self.accepted(slot, generation);
        gate::release_batch(&slot.output.gate);
        if bits != 0 {
            self.context.post(index, slot, bits);
        }
        Ok(Sent::Queued)
    }
}

/// Writes what waits on the connection if it has waited long: the next script may take its time, too.
pub fn write_old(
    context: &Context,
    member: &Member,
    now_ms: u64,
    index: u32,
    slot: &Slot,
    fd: i32,
) {
    if now_ms >= member.gathered_ms.get() + MAX_WAIT_MS {
        write(context, member, index, slot, fd);
    }
}

/// Writes what waits on the connection, if something does.
pub fn write(context: &Context, member: &Member, index: u32, slot: &Slot, fd: i32) {
    let Some((_, generation)) = member.gathered.get().filter(|(of, _)| *of == index) else {
        return;
    };
    member.gathered.set(None);
    if !gate::take_batch(&slot.output.gate, generation, member.holder) {
        // The supervisor writes it, or ends the connection. Who queued behind it may be stopped before it says so.
        context.post(index, slot, post::WRITE);
        return;
    }
    let bits = write_queue(context, member, slot, generation, fd);
    if slot.output.queue_head.get() != 0 || !gate::end_async(&slot.output.gate) {
        gate::release_async(&slot.output.gate);
        context.post(index, slot, bits | post::WRITE);
        return;
    }
    // While we held the gate the supervisor could not see the connection as written.
    if slot.supervised.phase.load_sync() & phase::HALF_CLOSED != 0 {
        context.post(index, slot, post::ANSWERED);
    }
}

/// What the supervisor is to be told.
fn write_queue(context: &Context, member: &Member, slot: &Slot, generation: u32, fd: i32) -> u32 {
    let blocks = context.segment.blocks();
    loop {
        let mut slices = [IoSlice::new(&[]); MAX_PARTS];
        let slices = queue::gather(blocks, &slot.output, &mut slices, MAX_BYTES as usize);
        if slices.is_empty() {
            return 0;
        }
        let written = match sock::send_parts(fd, slices, false) {
            Ok(written) => written,
            Err(errno) if errno.is_again() => return post::WRITE,
            Err(errno) => {
                slot.want(generation, failed_because(errno), errno.0, true);
                return post::END;
            }
        };
        let whole = queue::take_out(blocks, &slot.output, member.holder, written as u32);
        account(context, member, -(written as i64));
        member.count(context, Counter::MessagesOut, u64::from(whole));
        member.count(context, Counter::BytesOut, written as u64);
        if written < slices.iter().map(|part| part.len()).sum() {
            return post::WRITE;
        }
    }
}
