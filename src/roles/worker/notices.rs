//! What a worker tells the host beside messages: opened and closed connections, failed messages,
//! room to write, log records. Each is claimed by one swap of its stamp before the callback, so
//! that it is told once, also when the supervisor takes it back from a worker that is stalled.

use super::Worker;
use crate::pure::addr::Addr;
use crate::pure::reason::Reason;
use crate::pure::words::{BlockUse, OwnerState, OwnerWord, Stamp};
use crate::roles::context::Context;
use crate::roles::host::Failure;
use crate::roles::info;
use crate::roles::member::Member;
use crate::roles::notice::{KIND_FAILED, KIND_REPEATED, KIND_WRITABLE};
use crate::shm::counters::Counter;
use crate::sync::{Ordering, Word};
use crate::sys::clock::monotonic_ms;
use crate::table::slot::{Slot, post};

/// Log records told to the host in one step.
const LOG_PER_STEP: usize = 64;

impl Worker {
    /// Runs a callback with its begin noted, so that the supervisor sees a stall.
    pub(super) fn calling<R>(&self, call: impl FnOnce() -> R) -> R {
        self.member.calling(&self.context, call)
    }

    /// `on_open` before everything else (P9). In Reading, or inside `on_close`.
    pub(super) fn open_if_new(&self, index: u32, slot: &Slot, owner: OwnerWord) {
        if slot.input.opened.get() != 0 {
            return;
        }
        slot.input.opened.set(1);
        if self.context.wants.open {
            let info = info::of(
                &self.context,
                index,
                slot,
                owner.generation(),
                monotonic_ms(),
            );
            self.calling(|| self.context.host.on_open(&info));
        }
    }

    pub(super) fn on_close(&mut self, index: u32, lent: OwnerWord) {
        let context = self.context.clone();
        let Some(slot) = context.segment.slot(index) else {
            return;
        };
        let running = lent.to(OwnerState::ClosingRun);
        // One that lay in the ring of our place for who had it before goes back to the supervisor: who is
        // told by its owner word to be telling it is whose death matters.
        let mine = lent.state() == OwnerState::Closing && lent.worker() == self.member.holder;
        if !mine || !slot.swap_owner(lent, running) {
            return;
        }
        self.open_if_new(index, slot, running);
        if context.wants.close {
            let info = info::of(&context, index, slot, lent.generation(), monotonic_ms());
            self.calling(|| context.host.on_close(&info));
        }
        let _ = slot.swap_owner(running, running.to_supervisor(OwnerState::Told));
        context.post(index, slot, post::RETURN);
    }

    pub(super) fn on_notice(&mut self, block: u32, stamp: u64) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let Some(head) = blocks.head(block) else {
            return;
        };
        let lent = Stamp(stamp);
        let running = Stamp::new(BlockUse::NoticeRun, self.member.holder, 0, lent.number());
        if lent.usage() != BlockUse::NoticeLent
            || lent.participant() != self.member.holder
            || head
                .stamp
                .compare_exchange(lent.0, running.0, Ordering::SeqCst, Ordering::SeqCst)
                .is_err()
        {
            return;
        }
        let kind = head.kind.get();
        if kind & 0xFF == KIND_FAILED {
            let mut data = Vec::with_capacity(head.length.get() as usize + 1);
            blocks.copy_chain(block, &mut data);
            data.push(0);
            let repeated = kind & KIND_REPEATED != 0;
            let mut failure = Failure {
                conn_id: head.conn_id.get(),
                cookie: head.cookie.get(),
                reason: Reason::from_number(head.reason.get()),
                errno: head.errno.get() as i32,
                remote: Addr::from_words(core::array::from_fn(|i| {
                    head.remote.get(i).map_or(0, Word::get)
                })),
                data: &mut data,
                written: head.written.get() as usize,
                worker: self.index as i32,
                repeated,
            };
            self.calling(|| context.host.on_send_failed(&mut failure));
            self.member.count(&context, Counter::FailuresReported, 1);
            if repeated {
                self.member.count(&context, Counter::FailuresRepeated, 1);
            }
        } else if kind & 0xFF == KIND_WRITABLE
            && let Some((index, slot, generation)) = context.segment.by_id(head.conn_id.get())
        {
            let info = info::of(&context, index, slot, generation, monotonic_ms());
            self.calling(|| context.host.on_writable(&info));
        }
        blocks.free_chain(block, self.member.holder);
        // The supervisor may wait for room or for the last one.
        if let Some(record) = self.record()
            && record.supervised.room_wanted.swap(0, Ordering::SeqCst) != 0
        {
            context.wake_supervisor();
        }
    }
}

/// Gives waiting log records to the host. By workers, and by whoever calls `sipwire_log_drain`;
/// never with a gate held.
pub fn drain_log(context: &Context, member: &Member) -> usize {
    if !context.wants.log || !context.segment.log().waiting() {
        return 0;
    }
    let mut records = Vec::new();
    context
        .segment
        .log()
        .drain(member.holder, LOG_PER_STEP, &mut records);
    member.calling(context, || {
        for record in &records {
            context.host.on_log(record);
        }
    });
    records.len()
}
