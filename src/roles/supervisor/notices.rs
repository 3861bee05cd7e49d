//! Failure reports and notices of room (P9): a failed message's own blocks carry its report until
//! a worker has told the host.

use super::Supervisor;
use crate::pure::addr::Addr;
use crate::pure::reason::Reason;
use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::roles::notice::{
    Entry, KIND_DIALLED, KIND_DONE, KIND_FAILED, KIND_REPEATED, KIND_WRITABLE,
};
use crate::roles::sender::UNREPORTED;
use crate::shm::journal::Step;
use crate::sync::{Ordering, Word};
use crate::table::slot::{Output, Slot};
use crate::table::{flow, phase, queue};

/// Connections that wait for room in all queues together and are looked at in one tick.
const ROOM_PER_TICK: usize = 256;

/// A notice in some worker's ring (or told just now).
pub struct LentNotice {
    block: u32,
    stamp: Stamp,
    conn_id: u32,
}

/// Why a message failed.
#[derive(Clone, Copy)]
pub(super) struct Failed<'a> {
    pub reason: Reason,
    pub errno: i32,
    /// Where it was to go, if not where it says.
    pub remote: Option<&'a Addr>,
}

impl Supervisor {
    /// One step of a message: bytes written, bytes that left the queues, what it is from now on.
    pub(super) fn step_message(&self, first: u32, written: u32, removed: u64, kind: u32) {
        let segment = &self.context.segment;
        let dialled = segment
            .blocks()
            .head(first)
            .is_some_and(|head| head.kind.get() & KIND_DIALLED != 0);
        let step = Step {
            written,
            removed,
            dial_taken: dialled,
            kind,
        };
        let journal = &segment.header().journal;
        journal.step(segment.blocks(), segment.participants(), first, step);
    }

    /// A message that will not be written whole. `queue`: it is the first one there. Once for each.
    pub(super) fn fail_message(&mut self, first: u32, failed: Failed<'_>, queue: Option<&Output>) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let Some(head) = blocks.head(first) else {
            context.segment.violation(self.me);
            return;
        };
        // A predecessor may have died behind this step.
        if head.kind.get() & (KIND_DONE | KIND_FAILED) == 0 {
            let unreported = head.flags.get() & UNREPORTED != 0 || !context.wants.send_failed;
            head.reason.set(failed.reason as u32);
            head.errno.set(failed.errno as u32);
            if let Some(remote) = failed.remote {
                for (cell, word) in head.remote.iter().zip(remote.to_words()) {
                    cell.set(word);
                }
            }
            let left = head.length.get().saturating_sub(head.written.get());
            let kind = if unreported { KIND_DONE } else { KIND_FAILED };
            self.step_message(first, 0, u64::from(left), kind);
        }
        if let Some(queue) = queue {
            let _ = queue::pop(blocks, queue);
        }
        if head.kind.get() & KIND_DONE != 0 {
            blocks.free_chain(first, self.me);
        } else {
            self.add_notice(first);
        }
    }

    fn add_notice(&mut self, first: u32) {
        let blocks = self.context.segment.blocks();
        // Continuation blocks carry slot 1, so that the first ones are known by slot 0.
        for index in blocks.chain(first).skip(1) {
            if let Some(head) = blocks.head(index) {
                let stamp = Stamp::new(BlockUse::Notice, 0, 1, 0);
                head.stamp.store_sync(stamp.0);
            }
        }
        if let Some(head) = blocks.head(first) {
            let stamp = Stamp::new(BlockUse::Notice, 0, 0, 0);
            head.stamp.store_sync(stamp.0);
            self.expect_notice(head.conn_id.get());
        }
        self.notices.push_back(first);
    }

    /// One more notice of this connection is to be told before its `on_close`.
    fn expect_notice(&mut self, conn_id: u32) {
        if conn_id != 0 {
            *self.untold.entry(conn_id).or_insert(0) += 1;
        }
    }

    /// A connection's queue is down again after it was full or a sender was refused.
    pub(super) fn tell_writable(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let wanted = phase::ROOM_WANTED | phase::EMPTY_WANTED;
        // The end of a connection is the last that is told of it.
        if slot.supervised.phase.get() & phase::ENDING != 0 || !context.wants.writable {
            self.clear_phase(slot, wanted);
            return;
        }
        // Not at the limit itself: the next message would be refused again.
        let blocks = context.segment.blocks();
        let few = blocks.in_use() > blocks.blocks.len() as u64 / 4 * 3;
        if few || !flow::total_has_room(&context.segment, &self.live) {
            self.wait_for_room(index, slot);
            return;
        }
        let Some(block) = blocks.alloc(self.me) else {
            self.wait_for_room(index, slot);
            return;
        };
        self.clear_phase(slot, wanted);
        if let Some(head) = blocks.head(block) {
            head.kind.set(KIND_WRITABLE);
            head.conn_id
                .set(context.segment.id_of(index, slot.owner().generation()));
            self.add_notice(block);
        }
    }

    /// All queues together are still full: looked at again from the tick.
    pub(super) fn wait_for_room(&mut self, index: u32, slot: &Slot) {
        if slot.supervised.phase.get() & phase::ROOM_LISTED == 0 {
            self.set_phase(slot, phase::ROOM_LISTED);
            self.room_wanted
                .push_back((index, slot.owner().generation()));
        }
    }

    /// From the tick: those that wait for room in all queues together. A few at a time: each makes it less.
    pub(super) fn serve_room_wanted(&mut self) {
        for _ in 0..self.room_wanted.len().min(ROOM_PER_TICK) {
            let Some((index, generation)) = self.room_wanted.pop_front() else {
                break;
            };
            let context = self.context.clone();
            let Some(slot) = context.segment.slot(index) else {
                continue;
            };
            if !slot.is_open() || slot.owner().generation() != generation {
                continue;
            }
            self.clear_phase(slot, phase::ROOM_LISTED);
            self.note_low(index, slot);
        }
    }

    /// Notices that were told are forgotten.
    pub(super) fn forget_told(&mut self) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        for seat in &mut self.seats {
            seat.notices = 0;
        }
        let (seats, untold) = (&mut self.seats, &mut self.untold);
        self.lent_notices.retain(|lent| {
            let now = blocks
                .head(lent.block)
                .map_or(Stamp::FREE, |head| Stamp(head.stamp.load_sync()));
            let waits = now.number() == lent.stamp.number()
                && matches!(now.usage(), BlockUse::NoticeLent | BlockUse::NoticeRun);
            if waits {
                let holder = lent.stamp.participant();
                if let Some(seat) = seats.iter_mut().find(|seat| seat.holder == holder) {
                    seat.notices += 1;
                }
            } else if let Some(count) = untold.get_mut(&lent.conn_id) {
                *count -= 1;
                if *count == 0 {
                    untold.remove(&lent.conn_id);
                }
            }
            waits
        });
    }

    /// Gives waiting notices to workers.
    pub(super) fn serve_notices(&mut self) {
        if self.notices.is_empty() {
            return;
        }
        self.forget_told();
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        while let Some(&block) = self.notices.front() {
            let seat = self.pick_seat(|this, seat| {
                let may = this
                    .seats
                    .get(seat)
                    .is_some_and(|s| s.notices < this.may_have(seat));
                if !may {
                    this.want_room(seat);
                }
                may
            });
            let Some((seat, head)) = seat.zip(blocks.head(block)) else {
                return;
            };
            let Some(place) = self.seats.get_mut(seat) else {
                return;
            };
            place.notices += 1;
            self.notice_number = self.notice_number.wrapping_add(1);
            let stamp = Stamp::new(BlockUse::NoticeLent, place.holder, 0, self.notice_number);
            head.stamp.store_sync(stamp.0);
            self.push(seat, Entry::Notice { block }, stamp.0);
            let conn_id = head.conn_id.get();
            self.lent_notices.push(LentNotice {
                block,
                stamp,
                conn_id,
            });
            self.notices.pop_front();
        }
    }

    /// Notices that a stalled worker has not begun to tell.
    pub(super) fn take_notices(&mut self, holder: Holder) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        for lent in core::mem::take(&mut self.lent_notices) {
            let back = Stamp::new(BlockUse::Notice, 0, 0, 0).0;
            let taken = lent.stamp.participant() == holder
                && blocks.head(lent.block).is_some_and(|head| {
                    head.stamp
                        .compare_exchange(lent.stamp.0, back, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                });
            if taken {
                self.notices.push_back(lent.block);
            } else {
                self.lent_notices.push(lent);
            }
        }
    }

    /// Notices that a dead worker had: those it was telling are told once more, marked. One whose
    /// stamp it had changed already was told; its blocks are the dead one's private ones.
    pub(super) fn recover_notices(&mut self, holder: Holder) {
        self.take_notices(holder);
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let mut again = Vec::new();
        self.lent_notices.retain(|lent| {
            let Some(head) = blocks.head(lent.block) else {
                return false;
            };
            let now = Stamp(head.stamp.load_sync());
            let telling = now.usage() == BlockUse::NoticeRun
                && now.participant() == holder
                && now.number() == lent.stamp.number();
            if telling {
                head.kind.set(head.kind.get() | KIND_REPEATED);
                again.push((lent.block, lent.conn_id));
            }
            !telling
        });
        for (block, conn_id) in again {
            // It may have begun to take the chain as its own.
            self.add_notice(block);
            // Counted when it was lent first.
            if let Some(count) = self.untold.get_mut(&conn_id) {
                *count -= 1;
            }
        }
    }

    /// A new supervisor finds the notices its predecessor left.
    pub(super) fn inherit_notices(&mut self) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        for index in blocks.touched() {
            let Some(head) = blocks.head(index) else {
                continue;
            };
            let mut stamp = Stamp(head.stamp.load_sync());
            let conn_id = head.conn_id.get();
            self.notice_number = self.notice_number.max(match stamp.usage() {
                BlockUse::NoticeLent | BlockUse::NoticeRun => stamp.number(),
                _ => 0,
            });
            // Lent to a worker that may have gone without us, or never heard of it: ours again, unless
            // it begins to tell it just now.
            if stamp.usage() == BlockUse::NoticeLent {
                let back = Stamp::new(BlockUse::Notice, 0, 0, 0);
                stamp = match head.stamp.compare_exchange(
                    stamp.0,
                    back.0,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                ) {
                    Ok(_) => back,
                    Err(now) => Stamp(now),
                };
            }
            match stamp.usage() {
                BlockUse::Notice if stamp.slot() == 0 => {
                    self.expect_notice(conn_id);
                    self.notices.push_back(index);
                }
                BlockUse::NoticeRun => {
                    self.expect_notice(conn_id);
                    // As it was lent: with the stamp of who tells it now, `take_notices` would take it
                    // back from inside the callback.
                    let (holder, number) = (stamp.participant(), stamp.number());
                    self.lent_notices.push(LentNotice {
                        block: index,
                        stamp: Stamp::new(BlockUse::NoticeLent, holder, 0, number),
                        conn_id,
                    });
                }
                _ => {}
            }
        }
    }
}
