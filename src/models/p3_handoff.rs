//! P3: a connection is lent to a worker, which may stop; the supervisor takes it back and lends it to another.

use std::sync::Arc;

use loom::thread;

use super::explore::{Exclusive, Size, explore, segment, victim};
use crate::pure::words::{Holder, OwnerState, OwnerWord};
use crate::sync::{AtomicU32, Ordering, Word};
use crate::table::segment::Segment;
use crate::table::slot::Slot;

/// Participants of the workers 0 and 1.
const WORKERS: [Holder; 2] = [2, 3];

struct Model {
    segment: Arc<Segment>,
    /// The connection's input: read by who has it in Reading, how often.
    input: Exclusive<u32>,
    returns: AtomicU32,
}

impl Model {
    fn slot(&self) -> &Slot {
        &self.segment.slots()[0]
    }
    fn lend(&self, from: OwnerWord, worker: usize) -> bool {
        let lent = from.lent_to(OwnerState::Lent, WORKERS[worker]);
        let swapped = self.slot().swap_owner(from, lent);
        if swapped {
            assert!(self.segment.ring(worker).unwrap().push(1, lent.0), "RING-1");
        }
        swapped
    }
    /// What a worker does with one ring entry: a turn, a hold, another turn, the give-back.
    fn work(&self, worker: usize) {
        let Some((what, stamp)) = self.segment.ring(worker).unwrap().pop() else {
            return;
        };
        assert_eq!(what, 1, "RING-2: an entry that nobody wrote");
        let lent = OwnerWord(stamp);
        let (reading, held) = (lent.to(OwnerState::Reading), lent.to(OwnerState::Held));
        if !self.slot().swap_owner(lent, reading) {
            return; // stale
        }
        self.read();
        assert!(
            self.slot().swap_owner(reading, held),
            "nobody takes it in Reading"
        );
        if !self.slot().swap_owner(held, reading) {
            return; // taken back meanwhile
        }
        self.read();
        let back = reading.to_supervisor(OwnerState::Idle);
        assert!(
            self.slot().swap_owner(reading, back),
            "nobody takes it in Reading"
        );
        self.returns.fetch_add(1, Ordering::SeqCst);
    }
    fn read(&self) {
        self.input.with(|reads| *reads += 1);
    }
    /// The first worker is stalled, as far as the supervisor can see.
    fn take_back(&self) {
        let owner = self.slot().owner();
        if matches!(owner.state(), OwnerState::Lent | OwnerState::Held) {
            self.lend(owner, 1);
        }
    }
}

#[test]
fn a_connection_has_one_reader_and_is_never_lost() {
    let segment = segment();
    let idle = OwnerWord::new(5, 0, OwnerState::Idle, 0);
    segment.slots()[0].input.owner.store_sync(idle.0);
    explore(Size::Small, move |changes| {
        let (input, returns) = (Exclusive::new(0), AtomicU32::new(0));
        let model = Model {
            segment: segment.clone(),
            input,
            returns,
        };
        // Both rings are used once before; the connection is Idle again.
        for worker in [0, 1] {
            assert!(model.lend(model.slot().owner(), worker));
            model.work(worker);
        }
        model.returns.swap(0, Ordering::SeqCst);
        assert!(model.lend(model.slot().owner(), 0));

        let model = Arc::new(model);
        let [a, b] = [(); 2].map(|()| model.clone());
        let first = victim(changes, move || a.work(0));
        let second = thread::spawn(move || b.work(1));
        model.take_back();
        let stopped = first.join().unwrap().is_none();
        second.join().unwrap();

        let owner = model.slot().owner();
        if stopped && owner.worker() == WORKERS[0] {
            // P8: only held: others serve it. Read at that moment: it ends.
            if owner.state() == OwnerState::Reading {
                return;
            }
            assert!(matches!(owner.state(), OwnerState::Lent | OwnerState::Held));
            assert!(model.lend(owner, 1));
        }
        // Whatever lies in the rings is worked off; a dead one's ring is nobody's.
        model.work(1);
        if !stopped {
            model.work(0);
        }
        assert_eq!(
            model.slot().owner().state(),
            OwnerState::Idle,
            "it came back"
        );
        assert!(
            stopped || model.returns.load_sync() == 1,
            "who gives back says so, once"
        );
        let reads = model.input.with(|reads| *reads);
        // Two before the threads start, for each worker.
        assert!(reads > 4, "its data was read");
    });
}
