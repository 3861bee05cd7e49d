//! What the models of loom share: a small segment, and running a model with each possible stop.
#![allow(unsafe_code)] // Exclusive

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loom::cell::UnsafeCell;
use loom::thread;

use crate::pure::settings::Settings;
use crate::sync::{loom as words, stop};
use crate::table::inbox;
use crate::table::segment::Segment;

/// Small, since only the words that a model touches matter.
pub fn segment() -> Arc<Segment> {
    let settings = Settings {
        max_connections: 128,
        participants: 8,
        workers: 2,
        ..Settings::new(2)
    };
    Arc::new(Segment::new(&settings, &[], false).unwrap())
}

/// A stop that never comes is tried last: a model has far fewer changes.
const MOST_CHANGES: u32 = 100;

/// Pushes a message on the inbox of the first slot, as senders and the supervisor do.
pub fn push(segment: &Segment, generation: u32, block: u32) {
    let output = &segment.slots()[0].output;
    inbox::push(segment.blocks(), output, generation, block, |_, _| {
        Ok::<(), ()>(())
    })
    .unwrap();
}

/// How many orders a model has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// `make check-all` tries every one.
    Small,
    /// More than anybody waits for: at most three preemptions there.
    Large,
    /// Two preemptions would miss what it is there for: always three.
    Deep,
}

/// Runs `model` without a stop (0), then with its victim stopping after each of its changes in turn.
/// `model` gets that number for `victim`.
pub fn explore(size: Size, model: impl Fn(u32) + Send + Sync + 'static) {
    let model = Arc::new(model);
    for changes in 0..MOST_CHANGES {
        let stopped = Arc::new(AtomicBool::new(false));
        let (model, seen) = (model.clone(), stopped.clone());
        let mut checker = loom::model::Builder::new();
        checker.max_branches = 20_000;
        let all = std::env::var_os("SIPWIRE_CHECK_ALL").is_some_and(|all| !all.is_empty());
        checker.preemption_bound = match size {
            Size::Small if all => None,
            Size::Large if all => Some(3),
            Size::Deep => Some(3),
            _ => Some(2),
        };
        checker.check(move || {
            words::in_model(true);
            STOPPED.set(false);
            model(changes);
            if STOPPED.get() {
                seen.store(true, Ordering::SeqCst);
            }
            words::in_model(false);
        });
        if changes > 0 && !stopped.load(Ordering::SeqCst) {
            assert!(changes > 1, "the victim makes no change");
            return;
        }
    }
    panic!("the victim was still not done");
}

std::thread_local! {
    static STOPPED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Starts the participant that stops after `changes`. Its result is None when it did.
pub fn victim<T: 'static>(
    changes: u32,
    body: impl FnOnce() -> T + 'static,
) -> thread::JoinHandle<Option<T>> {
    thread::spawn(move || {
        let result = stop::after(changes, body);
        if result.is_none() {
            STOPPED.set(true);
        }
        result
    })
}

/// What only one participant at a time may use, as a protocol promises: loom reports any order in which two
/// could be at it without one having seen what the other did.
pub struct Exclusive<T>(UnsafeCell<T>);

impl<T> Exclusive<T> {
    pub fn new(value: T) -> Exclusive<T> {
        Exclusive(UnsafeCell::new(value))
    }
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: loom fails the model before two are in here.
        self.0.with_mut(|value| body(unsafe { &mut *value }))
    }
}
