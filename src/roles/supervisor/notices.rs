//! Failure reports and notices of room (P9): a failed message's own blocks carry its report until
//! a worker has told the host.

use super::{Supervisor, phase};
use crate::pure::addr::Addr;
use crate::pure::reason::Reason;
use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::roles::notice::{Entry, KIND_FAILED, KIND_REPEATED, KIND_WRITABLE};
use crate::roles::sender::UNREPORTED;
use crate::sync::{Ordering, Word};
use crate::table::slot::Slot;

/// A notice in some worker's ring (or told just now).
pub struct LentNotice {
    block: u32,
    stamp: Stamp,
}

impl Supervisor {
    /// A message that will not be written whole. Called once for each, after it left every list.
    pub(super) fn fail_message(
        &mut self,
        first: u32,
        reason: Reason,
        errno: i32,
        remote: Option<&Addr>,
    ) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let Some(head) = blocks.head(first) else {
            context.segment.violation(self.me);
            return;
        };
        let left = head.length.get().saturating_sub(head.written.get());
        self.removed(head.origin.get() as Holder, u64::from(left));
        if head.flags.get() & UNREPORTED != 0 || !context.wants.send_failed {
            blocks.free_chain(first);
            return;
        }
        head.reason.set(reason as u32);
        head.errno.set(errno as u32);
        head.kind.set(KIND_FAILED);
        if let Some(remote) = remote {
            for (cell, word) in head.remote.iter().zip(remote.to_words()) {
                cell.set(word);
            }
        }
        self.add_notice(first);
    }

    fn add_notice(&mut self, first: u32) {
        // Continuation blocks carry slot 1: a successor finds the first ones by slot 0.
        self.context
            .segment
            .blocks()
            .stamp_chain(first, Stamp::new(BlockUse::Notice, 0, 1, 0));
        if let Some(head) = self.context.segment.blocks().head(first) {
            head.stamp
                .store_sync(Stamp::new(BlockUse::Notice, 0, 0, 0).0);
        }
        self.context
            .segment
            .header()
            .gauges
            .notices
            .fetch_add(1, Ordering::SeqCst);
        self.notices.push_back(first);
    }

    /// A connection's queue is empty again after a sender was refused.
    pub(super) fn tell_writable(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        if context.segment.participants().queued_bytes() >= self.live.wq_max_bytes {
            // All queues together are still full: looked at again from the tick.
            self.room_wanted
                .push_back((index, slot.owner().generation()));
            return;
        }
        self.clear_phase(slot, phase::ROOM_WANTED);
        if !context.wants.writable {
            return;
        }
        let blocks = context.segment.blocks();
        if let Some(block) = blocks.alloc(self.me)
            && let Some(head) = blocks.head(block)
        {
            head.kind.set(KIND_WRITABLE);
            head.conn_id
                .set(context.segment.id_of(index, slot.owner().generation()));
            self.add_notice(block);
        } else {
            self.set_phase(slot, phase::ROOM_WANTED);
        }
    }

    /// Gives waiting notices to workers.
    pub(super) fn serve_notices(&mut self) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        self.lent_notices.retain(|lent| {
            let stamp = blocks
                .head(lent.block)
                .map_or(Stamp::FREE, |head| Stamp(head.stamp.load_sync()));
            stamp.number() == lent.stamp.number()
                && matches!(stamp.usage(), BlockUse::NoticeLent | BlockUse::NoticeRun)
        });
        while let Some(&block) = self.notices.front() {
            self.notice_number = self.notice_number.wrapping_add(1);
            let number = self.notice_number;
            let mut stamp = Stamp::FREE;
            let pushed = self.push_to_any(|holder| {
                stamp = Stamp::new(BlockUse::NoticeLent, holder, 0, number);
                if let Some(head) = blocks.head(block) {
                    head.stamp.store_sync(stamp.0);
                }
                (Entry::Notice { block }, stamp.0)
            });
            if pushed.is_none() {
                break;
            }
            self.lent_notices.push(LentNotice { block, stamp });
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

    /// Notices that a dead worker had: those it was telling are told once more, marked.
    pub(super) fn recover_notices(&mut self, holder: Holder) {
        self.take_notices(holder);
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let mut left = 0;
        for index in 1..blocks.blocks.len() as u32 {
            let Some(head) = blocks.head(index) else {
                break;
            };
            let stamp = Stamp(head.stamp.load_sync());
            let first = matches!(
                stamp.usage(),
                BlockUse::Notice | BlockUse::NoticeLent | BlockUse::NoticeRun
            );
            left += u64::from(first && stamp.slot() == 0);
            if stamp.usage() == BlockUse::NoticeRun && stamp.participant() == holder {
                head.kind.set(head.kind.get() | KIND_REPEATED);
                head.stamp
                    .store_sync(Stamp::new(BlockUse::Notice, 0, 0, 0).0);
                self.notices.push_back(index);
            }
        }
        // It may have died between freeing a notice and counting it off.
        context.segment.header().gauges.notices.store_sync(left);
    }

    /// A new supervisor finds the notices its predecessor left.
    pub(super) fn inherit_notices(&mut self) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        for index in 1..blocks.blocks.len() as u32 {
            let Some(head) = blocks.head(index) else {
                break;
            };
            let stamp = Stamp(head.stamp.load_sync());
            match stamp.usage() {
                BlockUse::Notice if stamp.slot() == 0 => self.notices.push_back(index),
                // In a ring of a worker that perhaps still tells it.
                BlockUse::NoticeLent => self.lent_notices.push(LentNotice {
                    block: index,
                    stamp,
                }),
                _ => {}
            }
        }
    }
}
