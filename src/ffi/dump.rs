//! Seeing inside: an instance as text, for a log or a debugger, and for Prometheus. `sipwire-top` shows the
//! same of a process that runs.

use super::boundary::copy_text;
use super::instance::shared;
use super::types::*;
use crate::pure::error::{Error, Result};
use crate::pure::picture::{dump, prometheus};
use crate::runtime::boundary::call;
use crate::runtime::picture::{self, Parts};
use core::ffi::c_char;

/// The text of what `what` says, SIPWIRE_DUMP_... combined: sections that begin with a line "[name]", then a
/// fact a line. NUL-terminated and cut off to `size` bytes. For people: lines and words may change from one
/// version to the next. With SIPWIRE_DUMP_CONNECTIONS about 200 bytes for each connection.
///
/// Memory is allocated for the text. The instance may be in any state, also one in which nobody serves it. What
/// was true at one instant need not be at the next: two calls give texts of different length.
///
/// Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT: also, `what` is 0
/// or has bits that are none.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `buffer` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_dump(
    instance: *mut sipwire_instance,
    what: u32,
    buffer: *mut c_char,
    size: usize,
) -> i64 {
    length(|| {
        if what == 0 || what & !SIPWIRE_DUMP_ALL != 0 {
            return Err(Error::Argument);
        }
        // SAFETY: the caller's promise.
        let context = &unsafe { shared(instance) }?.context;
        let parts = Parts {
            connections: what & SIPWIRE_DUMP_CONNECTIONS != 0,
            settings: what & SIPWIRE_DUMP_SETTINGS != 0,
        };
        let now = picture::take(&context.segment, Some(&context.settings), parts);
        // SAFETY: the caller's promise.
        Ok(unsafe { copy_text(&dump::render(&now, what), buffer, size) })
    })
}

/// The statistics in the text exposition format of Prometheus (0.0.4, to be served as "text/plain;
/// version=0.0.4"): those of sipwire_stats and sipwire_worker_stats, names with "sipwire_" in front and, of
/// what only grows, "_total" behind; slots_total and blocks_total, which do not, end in "_max".
/// NUL-terminated and cut off to `size` bytes: 32768 are enough for 32 workers. The host serves it, by
/// whatever speaks HTTP there. Memory is allocated for the text.
///
/// Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `buffer` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_prometheus(
    instance: *mut sipwire_instance,
    buffer: *mut c_char,
    size: usize,
) -> i64 {
    length(|| {
        // SAFETY: the caller's promise.
        let context = &unsafe { shared(instance) }?.context;
        let now = picture::take(&context.segment, Some(&context.settings), Parts::default());
        // SAFETY: the caller's promise.
        Ok(unsafe { copy_text(&prometheus::render(&now), buffer, size) })
    })
}

/// Runs a call that returns the length of a text, or a code.
fn length(body: impl FnOnce() -> Result<usize>) -> i64 {
    call(i64::from(Error::Panic.code()), || match body() {
        Ok(length) => length as i64,
        Err(error) => i64::from(error.code()),
    })
}

// Each section is what the renderer knows by this number.
const _: () = {
    use dump::section;
    assert!(SIPWIRE_DUMP_STATS == section::STATS && SIPWIRE_DUMP_WORKERS == section::WORKERS);
    assert!(SIPWIRE_DUMP_PARTICIPANTS == section::PARTICIPANTS);
    assert!(SIPWIRE_DUMP_LISTENERS == section::LISTENERS);
    assert!(SIPWIRE_DUMP_CONNECTIONS == section::CONNECTIONS);
    assert!(SIPWIRE_DUMP_BLACKLIST == section::BLACKLIST);
    assert!(SIPWIRE_DUMP_SETTINGS == section::SETTINGS && SIPWIRE_DUMP_ALL == section::ALL);
};
