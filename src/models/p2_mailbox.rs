//! P2: two who post, on one slot and on two of different leaf words, and the supervisor about to sleep.

use std::sync::Arc;

use loom::thread;

use super::explore::{Size, explore, segment, victim};
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word};
use crate::table::segment::Segment;

struct Model {
    segment: Arc<Segment>,
    /// The supervisor's eventfd.
    notified: AtomicU64,
    /// Reasons that were served, by slot.
    served: [AtomicU32; 2],
}
const SLOTS: [usize; 2] = [3, 70];

impl Model {
    /// As `Context::post` does.
    fn post(&self, which: usize, reason: u32) {
        self.segment.slots()[SLOTS[which]].note(reason);
        self.segment.mailbox().post(SLOTS[which]);
        if self.segment.header().line_sleep.sleeping.load_sync() == 1 {
            self.notified.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn serve(&self, slot: usize) {
        let which = SLOTS.iter().position(|known| *known == slot).unwrap();
        let reasons = self.segment.slots()[slot]
            .output
            .posted
            .swap(0, Ordering::SeqCst);
        self.served[which].fetch_or(reasons, Ordering::SeqCst);
    }
    fn take(&self) {
        self.segment.mailbox().take(|slot| self.serve(slot));
    }
    /// One turn up to the poll. True: it sleeps.
    fn turn(&self) -> bool {
        let sleeping = &self.segment.header().line_sleep.sleeping;
        sleeping.store_sync(0);
        self.take();
        sleeping.store_sync(1);
        self.segment.mailbox().is_empty()
    }
}

#[test]
fn no_post_on_one_slot_is_missed_by_one_who_goes_to_sleep() {
    model(Size::Small, &[(0, 2)]);
}

#[test]
fn no_post_is_missed_by_one_who_goes_to_sleep() {
    model(Size::Large, &[(0, 2), (1, 4)]);
}

/// `second`: what the second poster posts, slots and reasons.
fn model(size: Size, second: &'static [(usize, u32)]) {
    let segment = segment();
    explore(size, move |changes| {
        let model = Model {
            segment: segment.clone(),
            notified: AtomicU64::new(0),
            served: [AtomicU32::new(0), AtomicU32::new(0)],
        };
        model.post(0, 0);
        model.post(1, 0);
        model.turn();
        model.notified.swap(0, Ordering::SeqCst);

        let model = Arc::new(model);
        let [a, b] = [(); 2].map(|()| model.clone());
        let first = victim(changes, move || a.post(0, 1));
        let other = thread::spawn(move || {
            second
                .iter()
                .for_each(|(which, reason)| b.post(*which, *reason))
        });
        let sleeps = model.turn();
        let stopped = first.join().unwrap().is_none();
        other.join().unwrap();

        let woken = model.notified.load_sync() > 0;
        if sleeps && !woken {
            let rest: Vec<u32> = SLOTS
                .map(|slot| segment.slots()[slot].output.posted.load_sync())
                .to_vec();
            // What the dead one noted and did not post is served by its recovery.
            assert!(
                rest[1] == 0 && rest[0] & 2 == 0,
                "POST-1: asleep with {rest:?} posted"
            );
            assert!(
                stopped || rest[0] == 0,
                "POST-1: asleep with {rest:?} posted"
            );
        }
        model.take();
        let served = |which: usize| model.served[which].load_sync();
        for (which, reason) in second {
            assert_eq!(served(*which) & reason, *reason, "POST-1: a reason is lost");
        }
        assert!(stopped || served(0) & 1 == 1, "POST-1: a reason is lost");
    });
}
