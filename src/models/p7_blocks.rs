//! P7: two participants that allocate and free from a pool with two free blocks, and a recovery beside
//! them.

use std::sync::Arc;

use loom::thread;

use super::explore::{Exclusive, Size, explore, segment, victim};
use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::shm::blocks::Blocks;
use crate::sync::Word;
use crate::table::segment::Segment;

const DEAD: Holder = 2;
const LIVING: Holder = 3;
/// A pool of one word of its bitmaps.
const BLOCKS: usize = 64;

fn pool(segment: &Segment) -> Blocks<'_> {
    let all = segment.blocks();
    Blocks {
        blocks: &all.blocks[..BLOCKS],
        used: &all.used[..1],
        touched: &all.touched[..1],
        ..all
    }
}

struct Model {
    segment: Arc<Segment>,
    /// The bytes of the blocks (BLK-2).
    bytes: Vec<Exclusive<Holder>>,
}

impl Model {
    /// Has a block for a moment.
    fn use_one(&self, me: Holder) -> bool {
        let blocks = pool(&self.segment);
        let Some(block) = blocks.alloc(me) else {
            return false;
        };
        assert_ne!(block, 0, "BLK-3");
        self.bytes[block as usize].with(|bytes| *bytes = me);
        let stamp = blocks.head(block).unwrap().stamp.load_sync();
        assert_eq!(Stamp(stamp), Stamp::private(me), "BLK-1: given to two");
        self.bytes[block as usize].with(|bytes| assert_eq!(*bytes, me, "BLK-1: given to two"));
        blocks.free(block);
        true
    }
    fn recover(&self) -> u32 {
        pool(&self.segment)
            .recover(|_, stamp| stamp.usage() == BlockUse::Private && stamp.participant() == DEAD)
    }
}

#[test]
fn a_block_has_one_owner_and_no_death_keeps_it() {
    let segment = segment();
    let blocks = pool(&segment);
    // All others are in use for good, and their bits say so.
    for index in 3..BLOCKS {
        blocks
            .head(index as u32)
            .unwrap()
            .stamp
            .store_sync(Stamp::private(7).0);
    }
    blocks.used[0].set(!0b110);
    blocks.touched[0].set(0b111);
    explore(Size::Small, move |changes| {
        let bytes = (0..BLOCKS).map(|_| Exclusive::new(0)).collect();
        let model = Arc::new(Model {
            segment: segment.clone(),
            bytes,
        });
        let blocks = pool(&segment);
        let both = [blocks.alloc(DEAD), blocks.alloc(DEAD)].map(Option::unwrap);
        both.into_iter().for_each(|block| blocks.free(block));

        let [a, b] = [(); 2].map(|()| model.clone());
        let first = victim(changes, move || {
            a.use_one(DEAD);
            a.use_one(DEAD);
        });
        let second = thread::spawn(move || assert!(b.use_one(LIVING), "one of two is always free"));
        let stopped = first.join().unwrap().is_none();
        // Its recovery runs beside the living.
        if stopped {
            model.recover();
        }
        second.join().unwrap();
        assert!(stopped || model.recover() == 0, "what was freed is lost");
        let free: Vec<u32> = std::iter::from_fn(|| blocks.alloc(LIVING)).collect();
        assert_eq!(
            free.len(),
            2,
            "BLK-1: lost after a death ({stopped}): {free:?}"
        );
    });
}
