//! A panic, which is a bug of ours, is for all others the death of the participant in which it happened:
//! what it left half done is found by its stamps (P8) as after a SIGKILL, at most two connections end, and the
//! thread comes again as a new participant. So there is one way of setting right, and a panic needs no care
//! for what it interrupts.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use crate::pure::words::Holder;
use crate::roles::context::Context;
use crate::roles::member::Member;
use crate::roles::supervisor::LOG_ERROR;
use crate::shm::participants::End;
use crate::sync::Ordering;
use crate::sys;

thread_local! {
    /// What the last panic of this thread said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The panic hook: nothing is printed.
pub fn note(panic: &PanicHookInfo<'_>) {
    let _ = SAID.try_with(|said| {
        if let Ok(mut said) = said.try_borrow_mut() {
            *said = panic.to_string().replace('\n', " ");
        }
    });
}

/// None: it panicked.
pub fn caught<T>(body: impl FnOnce() -> T) -> Option<T> {
    if cfg!(any(loom, shuttle)) {
        return Some(body()); // there a participant that stops for ever is unwound, see `sync::stop`
    }
    catch_unwind(AssertUnwindSafe(body)).ok()
}

/// A line for the host's log: what happened, and to whom.
pub fn report(context: &Context, holder: Holder, who: &str) {
    let said = SAID.try_with(RefCell::take).unwrap_or_default();
    if context.wants.log && LOG_ERROR <= context.live().log_level as u8 {
        let pid = sys::process::pid();
        // Nothing is said where the host has a panic hook of its own.
        let said = if said.is_empty() {
            said
        } else {
            format!(": {said}")
        };
        let text =
            format!("a bug of sipwire, please report it{said}; {who} (process {pid}) begins anew");
        let log = context.segment.log();
        log.write(holder, LOG_ERROR, 0, 0, sys::clock::realtime_ms(), &text);
    }
}

/// The participant takes no further step: the caller has let go of everything that is only its own.
/// Nothing happens when the number is not ours, see `Member::leave`.
pub fn die(context: &Context, member: &Member) {
    member.failed.set(true);
    let pid = sys::process::pid() as u32;
    let record = member.record(context);
    let Some(record) = record.filter(|record| record.is_of(member.epoch, pid)) else {
        return;
    };
    let who = match member.worker.checked_sub(1) {
        Some(index) => format!("worker {index}"),
        None => "a sender".to_string(),
    };
    let _ = caught(|| report(context, member.holder, &who));
    record.tell_end(member.epoch, End::Failed);
    let told = &context.segment.header().deaths_told;
    told.fetch_add(1, Ordering::SeqCst);
    context.wake_supervisor();
}
