//! Crash points for C tests (`c-tests/crash.h`): in a library built with `--cfg crash_points` only.

use core::ffi::c_char;

use crate::sync::crash;

/// How many points were passed so far, by any process.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_points() -> u32 {
    crash::table().map_or(0, |points| {
        points
            .iter()
            .take_while(|point| point.location().is_some())
            .count() as u32
    })
}

/// Where a point is, as FILE:LINE:COLUMN, NUL-terminated and cut to `size` bytes.
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

/// The calling process counts as `role` (0 to 3).
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_role(role: u32) {
    crash::set_role(role as usize);
}

/// The calling process ends by SIGKILL when it has passed the point `times` times from now on.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_crash_at(number: u32, times: u64) {
    crash::arm(number, times);
}
