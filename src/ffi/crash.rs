//! Crash points for C tests (`c-tests/crash/crash.h`): in a library built with `--cfg crash_points` only.

use super::instance::shared;
use super::types::sipwire_instance;
use crate::sync::crash;
use core::ffi::c_char;

/// Points have numbers below this.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_points() -> u32 {
    crash::POINTS as u32
}

/// Where a point is, as FILE:LINE:COLUMN, NUL-terminated and cut to `size` bytes; empty: there is none
/// with this number (yet).
///
/// # Safety
/// `out` takes `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_crash_point(number: u32, out: *mut c_char, size: usize) {
    let place = crash::table()
        .and_then(|points| points.get(number as usize)?.location())
        .map_or(String::new(), ToString::to_string);
    for i in 0..size {
        let byte = place.as_bytes().get(i).copied().unwrap_or(0);
        let last = i + 1 == size;
        // SAFETY: i < size; the caller guarantees the room.
        unsafe { *out.add(i) = if last { 0 } else { byte as c_char } };
    }
}

/// How often processes of a role passed a point.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_hits(number: u32, role: u32) -> u64 {
    crash::table()
        .and_then(|points| points.get(number as usize))
        .map_or(0, |point| point.hits(role as usize))
}

/// How often processes of a role ended, or panicked, at a point.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_ends(number: u32, role: u32) -> u64 {
    crash::table()
        .and_then(|points| points.get(number as usize))
        .map_or(0, |point| point.ends(role as usize))
}

/// The calling process counts as `role` (0 to 3).
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_role(role: u32) {
    crash::set_role(role as usize);
}

/// The calling process ends by SIGKILL, or panics, when it has passed the point `times` times from now on.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_at(number: u32, times: u64, panics: bool) {
    crash::arm(number, times, panics);
}

/// What is left by nobody who lives, as four numbers: blocks, free blocks that nobody finds, log records,
/// blacklist entries. False: no instance.
///
/// # Safety
/// `instance` lives; `out` takes four numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_crash_strays(
    instance: *const sipwire_instance,
    out: *mut [u32; 4],
) -> bool {
    // SAFETY: the caller's promise.
    let Ok(instance) = (unsafe { shared(instance) }) else {
        return false;
    };
    let found = instance.strays();
    // SAFETY: the caller's promise.
    unsafe {
        *out = [
            found.blocks,
            found.hidden,
            found.log_records,
            found.blacklist_entries,
        ]
    };
    true
}
