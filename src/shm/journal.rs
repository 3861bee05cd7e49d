//! What the supervisor is doing in several stores, so that its successor can do it again.
//!
//! A message's progress changes its block and its sender's account. One that died between the two
//! would count bytes twice or never; so it first writes down the values that all the words get, then
//! stores them. Doing that again changes nothing.
//!
//! The one writer is the supervisor; the one other reader its successor, when it is dead.

use super::blocks::Blocks;
use super::participants::Participants;
use super::region::shared;
use crate::pure::words::Holder;
use crate::sync::{AtomicU32, AtomicU64, Word};

/// All zero is an empty one.
#[repr(C, align(64))]
pub struct Journal {
    /// The message's first block, 0: nothing is under way.
    block: AtomicU32,
    origin: AtomicU32,
    written: AtomicU32,
    kind: AtomicU32,
    removed: AtomicU64,
    dial_taken: AtomicU64,
}
shared!(Journal);

/// One step of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// More of its bytes were written.
    pub written: u32,
    /// More of its bytes left the queues.
    pub removed: u64,
    /// It left the dial list.
    pub dial_taken: bool,
    /// `Head::kind` from now on.
    pub kind: u32,
}

impl Journal {
    /// Applies `step` to the message in `block`.
    pub fn step(&self, blocks: Blocks<'_>, participants: Participants<'_>, block: u32, step: Step) {
        let Some(head) = blocks.head(block) else {
            return;
        };
        let origin = head.origin.get();
        if let Some(record) = participants.get(origin as Holder) {
            let line = &record.supervised;
            self.removed
                .set(line.removed.load_sync().wrapping_add(step.removed));
            self.dial_taken
                .set(line.dial_taken.load_sync() + u64::from(step.dial_taken));
        }
        self.origin.set(origin);
        self.written
            .set(head.written.get().saturating_add(step.written));
        self.kind.set(step.kind);
        self.block.store_sync(block);
        self.finish(blocks, participants);
    }

    /// Does what is under way, perhaps once more.
    pub fn finish(&self, blocks: Blocks<'_>, participants: Participants<'_>) {
        let Some(head) = blocks.head(self.block.load_sync()) else {
            return;
        };
        head.written.set(self.written.get());
        head.kind.store_sync(self.kind.get());
        if let Some(record) = participants.get(self.origin.get() as Holder) {
            record.supervised.removed.store_sync(self.removed.get());
            record
                .supervised
                .dial_taken
                .store_sync(self.dial_taken.get());
        }
        self.block.store_sync(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::blocks::tests::pool;
    use crate::shm::participants::Record;
    use crate::shm::region::{Layout, Region};

    #[test]
    fn a_step_that_is_done_again_counts_once() {
        let mut layout = Layout::default();
        let (journal, records) = (layout.span::<Journal>(1), layout.span::<Record>(3));
        let region = Region::new("sipwire-test", &layout).unwrap();
        let journal = &region.slice(journal)[0];
        let participants = Participants {
            records: region.slice(records),
        };
        pool(16, |blocks| {
            let block = blocks.alloc(2).unwrap();
            let head = blocks.head(block).unwrap();
            head.origin.set(2);
            let step = Step {
                written: 10,
                removed: 10,
                dial_taken: true,
                kind: 7,
            };
            journal.step(blocks, participants, block, step);
            // As if it had died before the last store.
            journal.block.store_sync(block);
            journal.finish(blocks, participants);
            let line = &participants.get(2).unwrap().supervised;
            assert_eq!((head.written.get(), head.kind.get()), (10, 7));
            assert_eq!((line.removed.get(), line.dial_taken.get()), (10, 1));
        });
    }
}
