//! P3: a connection is lent to a worker, which may stop; the supervisor takes it back and lends it to another.
//! And a worker that gives it back arms it with the supervisor itself, with data already waiting.

use std::sync::Arc;

use loom::thread;

use super::explore::{Exclusive, Size, explore, segment, victim};
use crate::pure::words::{Holder, OwnerState, OwnerWord};
use crate::sync::{AtomicU32, Ordering, Word};
use crate::table::phase;
use crate::table::segment::Segment;
use crate::table::slot::{Slot, post};

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

/// What the one-shot registration waits for.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// One connection with unread data: its one-shot registration (by swaps: the kernel has a lock), and whether it was
/// lent again.
struct Armed {
    segment: Arc<Segment>,
    registered: AtomicU32,
    /// Output waits: the gate is not direct.
    queued: AtomicU32,
    lent: AtomicU32,
    woken: AtomicU32,
}

impl Armed {
    fn slot(&self) -> &Slot {
        &self.segment.slots()[0]
    }
    fn is_plain(&self) -> bool {
        self.queued.load_sync() == 0 && self.slot().supervised.phase.load_sync() == 0
    }
    fn arm(&self) {
        let state = self.slot().owner().state();
        let read = if state == OwnerState::Idle { READ } else { 0 };
        let write = self.queued.load_sync();
        if read | write != 0 {
            if state == OwnerState::Reading {
                let phase = &self.slot().supervised.phase;
                phase.fetch_or(phase::EARLY, Ordering::SeqCst);
            }
            self.registered.swap(read | write, Ordering::SeqCst);
        }
    }
    /// As `Worker::give_back_armed` does; `late`: a post of a worker before us comes only now.
    fn give_back(&self, reading: OwnerWord, late: bool) {
        let slot = self.slot();
        let idle = reading.to_supervisor(OwnerState::Idle);
        let arms = self.is_plain();
        if arms {
            self.registered.swap(READ, Ordering::SeqCst);
        }
        if late {
            slot.note(post::ARMED);
        }
        assert!(slot.swap_owner(reading, idle));
        if arms {
            slot.note(post::ARMED);
        }
        if !arms || !self.is_plain() {
            slot.note(post::RETURN);
            self.woken.swap(1, Ordering::SeqCst);
        }
    }
    /// A turn of the supervisor: what was posted, and the poll's event.
    fn step(&self) {
        let (slot, phase) = (self.slot(), &self.slot().supervised.phase);
        let bits = slot.output.posted.swap(0, Ordering::SeqCst);
        if bits & (post::RETURN | post::ARMED) != 0 && slot.owner().state() == OwnerState::Idle {
            let early = phase.load_sync() & phase::EARLY != 0;
            phase.fetch_and(!phase::EARLY, Ordering::SeqCst);
            if early || bits & post::RETURN != 0 {
                self.arm();
            }
        }
        // What is unread reports itself as long as it is armed, once; so does room for output.
        let event = self.registered.swap(0, Ordering::SeqCst);
        if event & WRITE != 0 {
            self.queued.swap(0, Ordering::SeqCst);
        }
        if event & READ != 0 {
            let owner = slot.owner();
            if owner.state() == OwnerState::Idle {
                assert!(slot.swap_owner(owner, owner.lent_to(OwnerState::Lent, WORKERS[1])));
                self.lent.fetch_add(1, Ordering::SeqCst);
            } else if owner.state() == OwnerState::Reading {
                phase.fetch_or(phase::EARLY, Ordering::SeqCst);
            }
        }
        if event != 0 {
            self.arm();
        }
    }
}

#[test]
fn what_a_worker_arms_is_lent_again() {
    give_back_armed(false, false);
}

#[test]
fn what_a_worker_arms_is_lent_again_though_another_one_says_so_late() {
    give_back_armed(true, false);
}

#[test]
fn what_a_worker_arms_is_lent_again_though_output_was_queued_and_written_meanwhile() {
    give_back_armed(false, true);
}

fn give_back_armed(late: bool, output: bool) {
    let segment = segment();
    let reading = OwnerWord::new(5, 0, OwnerState::Reading, WORKERS[0]);
    segment.slots()[0].input.owner.store_sync(reading.0);
    explore(Size::Small, move |changes| {
        let connection = Arc::new(Armed {
            segment: segment.clone(),
            registered: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            lent: AtomicU32::new(0),
            woken: AtomicU32::new(0),
        });
        // All words are used once before the threads start.
        let slot = connection.slot();
        slot.note(0);
        slot.supervised.phase.fetch_or(0, Ordering::SeqCst);
        assert_eq!(slot.owner().state(), OwnerState::Reading);
        connection.registered.store_sync(0);
        connection.queued.store_sync(0);
        connection.lent.store_sync(0);
        connection.woken.store_sync(0);
        let a = connection.clone();
        let worker = victim(changes, move || a.give_back(reading, late));
        if output {
            // A part was written, then the rest.
            connection.queued.swap(WRITE, Ordering::SeqCst);
            connection.arm();
            connection.step();
        }
        for _ in 0..2 {
            thread::yield_now();
            connection.step();
        }
        if worker.join().unwrap().is_none() {
            return; // with its supervisor
        }
        // It sleeps until it is woken or something happens; the tick would look, too, but later.
        let waits = || connection.registered.load_sync() != 0;
        while connection.woken.swap(0, Ordering::SeqCst) == 1 || waits() {
            connection.step();
        }
        assert_eq!(connection.lent.load_sync(), 1, "its data waits for ever");
    });
}
