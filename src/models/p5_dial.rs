//! P5, the order of what one sender says to one address, while the supervisor takes its first message from
//! the dial list and opens the connection.

use std::sync::Arc;

use super::explore::{Size, explore, push, segment, victim};
use crate::pure::words::{GateWord, Holder};
use crate::shm::gate;
use crate::sync::{AtomicU32, Ordering, Word};
use crate::table::segment::Segment;

const GENERATION: u32 = 5;
const SENDER: Holder = 2;

struct Model {
    segment: Arc<Segment>,
    /// 1: the connection is in the index.
    indexed: AtomicU32,
}

impl Model {
    fn gate(&self) -> &crate::sync::AtomicU64 {
        &self.segment.slots()[0].output.gate
    }
    fn list(&self) -> &AtomicU32 {
        &self.segment.header().line_dial.head
    }
    fn message(&self, number: u64) -> u32 {
        let blocks = self.segment.blocks();
        let block = blocks.alloc(SENDER).unwrap();
        blocks.head(block).unwrap().cookie.set(number);
        block
    }
    fn queue(&self, block: u32) {
        push(&self.segment, GENERATION, block);
    }
    /// As `sender::by_address` does.
    fn send(&self, block: u32) {
        let record = self.segment.participants().get(SENDER).unwrap();
        let posted = &record.account.dial_posted;
        let waits = posted.load_sync() != record.supervised.dial_taken.load_sync();
        if !waits && self.indexed.load_sync() == 1 {
            self.queue(block);
            return;
        }
        posted.store_sync(posted.load_sync() + 1);
        let mut below = self.list().load_sync();
        loop {
            self.segment.blocks().head(block).unwrap().link.set(below);
            match self
                .list()
                .compare_exchange(below, block, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => return,
                Err(now) => below = now,
            }
        }
    }
    /// As `Supervisor::serve_dials` does.
    fn take(&self) {
        let newest = self.list().swap(0, Ordering::SeqCst);
        let mut taken: Vec<u32> = self.segment.blocks().list(newest).collect();
        taken.reverse();
        for block in taken {
            self.indexed.store_sync(1);
            self.queue(block);
            let taken = &self
                .segment
                .participants()
                .get(SENDER)
                .unwrap()
                .supervised
                .dial_taken;
            taken.store_sync(taken.load_sync() + 1);
        }
    }
}

#[test]
fn a_message_by_address_never_overtakes_one_that_waits_for_the_dial() {
    let segment = segment();
    gate::open(
        &segment.slots()[0].output.gate,
        GENERATION,
        GateWord::CONNECTING,
    );
    explore(Size::Small, move |changes| {
        let model = Model {
            segment: segment.clone(),
            indexed: AtomicU32::new(0),
        };
        let blocks = [1, 2, 3].map(|number| model.message(number));
        model.send(model.message(0));
        model.take();
        model.indexed.swap(0, Ordering::SeqCst);
        gate::take_inbox(model.gate(), |_| ());

        let model = Arc::new(model);
        let a = model.clone();
        let sender = victim(changes, move || {
            blocks.into_iter().for_each(|block| a.send(block))
        });
        model.take();
        let stopped = sender.join().unwrap().is_none();
        model.take();
        let newest = gate::load(model.gate()).inbox();
        let blocks = segment.blocks();
        let mut order: Vec<u64> = blocks
            .list(newest)
            .map(|b| blocks.head(b).unwrap().cookie.get())
            .collect();
        order.reverse();
        assert!(order.is_sorted(), "overtaken: {order:?}");
        assert!(stopped || order == [1, 2, 3], "lost or doubled: {order:?}");
    });
}
