//! "This participant stops here for ever", for models: one thread ends right after its n-th change of a
//! shared word. It is unwound, and nothing that it leaves on the way may touch shared words.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;

struct Stopped;

thread_local! {
    // The model's threads are all in one of the system's; one of them is doomed.
    static DOOMED: Cell<Option<(thread::ThreadId, u32)>> = const { Cell::new(None) };
}

/// Runs `body`, which stops for ever after `changes` changes (0: never). None: it did.
pub fn after<T>(changes: u32, body: impl FnOnce() -> T) -> Option<T> {
    if changes > 0 {
        DOOMED.set(Some((thread::current().id(), changes)));
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => {
            if changes > 0 {
                DOOMED.set(None);
            }
            Some(result)
        }
        Err(why) if why.is::<Stopped>() => None,
        Err(why) => resume_unwind(why),
    }
}

/// A shared word was changed by the calling thread.
pub fn changed() {
    let Some((id, left)) = DOOMED.get() else {
        return;
    };
    if thread::current().id() == id {
        assert!(left > 0, "a participant that had stopped went on");
        DOOMED.set(Some((id, left - 1)));
        if left == 1 {
            if std::env::var_os("SIPWIRE_SHOW_STOP").is_some() {
                std::println!("stops at {}", std::backtrace::Backtrace::force_capture());
            }
            resume_unwind(Box::new(Stopped));
        }
    }
}

/// A step on shared memory comes: any thread may go first.
#[cfg(shuttle)]
pub fn step() {
    use shuttle::sync::atomic::{AtomicBool, Ordering};
    thread_local! {
        static ANY: AtomicBool = const { AtomicBool::new(false) };
    }
    if IN_MODEL.get() {
        ANY.with(|any| any.load(Ordering::SeqCst));
    }
}
#[cfg(shuttle)]
thread_local! {
    static IN_MODEL: Cell<bool> = const { Cell::new(false) };
}
#[cfg(shuttle)]
pub fn in_model(now: bool) {
    IN_MODEL.set(now);
    DOOMED.set(None);
}
