//! Crash points: every place of the sources that changes a shared word, and every system call. Nobody
//! lists them: a place is a point as soon as it is passed, and its number is the order in which it was.
//!
//! A test runs what it wants to see survive, reads which points its roles passed, and then lets a
//! participant end right after one of them, as by SIGKILL. In a library built with `--cfg crash_points`
//! only; c-tests/crash.h has the calls.
#![allow(unsafe_code)] // a table shared between processes

use core::panic::Location;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};

use crate::sys;
use crate::sys::map::SharedMap;

pub const POINTS: usize = 2048;
/// What a process says it is: points are counted for each.
pub const ROLES: usize = 4;

/// One point, in memory that all processes of a test share; all zero: not yet one.
pub struct Point {
    /// Address of the `Location`, the same in every forked process.
    location: AtomicUsize,
    hits: [AtomicU64; ROLES],
}

static STATE: AtomicU8 = AtomicU8::new(0);
static TABLE: AtomicUsize = AtomicUsize::new(0);
static ROLE: AtomicUsize = AtomicUsize::new(0);
/// The armed point + 1 of this process, and how often it is still passed before it ends.
static ARMED: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);

/// None while it is being made: that makes system calls too.
pub fn table() -> Option<&'static [Point]> {
    if STATE.load(SeqCst) != 2 {
        STATE.compare_exchange(0, 1, SeqCst, SeqCst).ok()?;
        let map = SharedMap::new("sipwire-crash", POINTS * size_of::<Point>()).ok()?;
        TABLE.store(map.as_ptr() as usize, SeqCst);
        core::mem::forget(map);
        STATE.store(2, SeqCst);
    }
    let first = TABLE.load(SeqCst) as *const Point;
    // SAFETY: the mapping is never unmapped, holds POINTS values that are valid as zeros, and is
    // accessed through atomics only.
    Some(unsafe { core::slice::from_raw_parts(first, POINTS) })
}

impl Point {
    pub fn location(&self) -> Option<&'static Location<'static>> {
        let address = self.location.load(SeqCst) as *const Location<'static>;
        // SAFETY: written below only, from a reference to a static, which every process that shares
        // the table has at the same address.
        unsafe { address.as_ref() }
    }
    pub fn hits(&self, role: usize) -> u64 {
        self.hits.get(role).map_or(0, |hits| hits.load(SeqCst))
    }
}

/// The calling process counts as `role` from now on.
pub fn set_role(role: usize) {
    ROLE.store(role.min(ROLES - 1), SeqCst);
}

/// The calling process ends when it has passed this point `times` times more.
pub fn arm(point: u32, times: u64) {
    LEFT.store(times, SeqCst);
    ARMED.store(point + 1, SeqCst);
}

/// A step was done. Called by the words and by the wrappers of system calls.
#[track_caller]
pub fn passed() {
    let here = Location::caller();
    let Some(points) = table() else { return };
    for (number, point) in points.iter().enumerate() {
        match point.location() {
            // The same place may have several `Location`s, one for each copy of its function.
            Some(known) if known == here => {}
            Some(_) => continue,
            None => {
                let address = core::ptr::from_ref(here) as usize;
                let taken = point.location.compare_exchange(0, address, SeqCst, SeqCst);
                if taken.is_err() && point.location() != Some(here) {
                    continue;
                }
            }
        }
        if let Some(hits) = point.hits.get(ROLE.load(SeqCst)) {
            hits.fetch_add(1, SeqCst);
        }
        if ARMED.load(SeqCst) as usize == number + 1 && LEFT.fetch_sub(1, SeqCst) == 1 {
            sys::process::end_at_once();
        }
        return;
    }
}
