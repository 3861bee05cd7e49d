//! Crash points: every place of the sources that changes a shared word, and every system call. Nobody
//! lists them: a place is a point as soon as it is passed, and its number is its place in a table.
//!
//! A test runs what it wants to see survive, reads which points its roles passed, and then lets a
//! participant end right after one of them, as by SIGKILL. In a library built with `--cfg crash_points`
//! only; c-tests/crash/crash.h has the calls.
#![allow(unsafe_code)] // a table shared between processes
#![allow(clippy::panic)] // on purpose

use core::panic::Location;
use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst,
};

use crate::sys;
use crate::sys::map::SharedMap;

/// Several times as many as there are, so that a place is found at once.
pub const POINTS: usize = 4096;
/// What a process says it is: points are counted for each.
pub const ROLES: usize = 4;

/// One point, in memory that all processes of a test share; all zero: not yet one.
pub struct Point {
    /// Address of the `Location`, the same in every forked process.
    location: AtomicUsize,
    hits: [AtomicU64; ROLES],
    /// Processes that ended or panicked here.
    ends: [AtomicU64; ROLES],
}

static STATE: AtomicU8 = AtomicU8::new(0);
static TABLE: AtomicUsize = AtomicUsize::new(0);
static ROLE: AtomicUsize = AtomicUsize::new(0);
/// The armed point + 1 of this process, and how often it is still passed before it ends.
static ARMED: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);
/// It panics there instead.
static PANICS: AtomicBool = AtomicBool::new(false);

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
    pub fn ends(&self, role: usize) -> u64 {
        self.ends.get(role).map_or(0, |ends| ends.load(SeqCst))
    }
    /// It is the point of `here`, or becomes it.
    fn is_of(&self, here: &'static Location<'static>) -> bool {
        if self.location().is_none() {
            let address = core::ptr::from_ref(here) as usize;
            let _ = self.location.compare_exchange(0, address, SeqCst, SeqCst);
        }
        // The same place may have several `Location`s, one for each copy of its function.
        self.location() == Some(here)
    }
}

/// The calling process counts as `role` from now on.
pub fn set_role(role: usize) {
    ROLE.store(role.min(ROLES - 1), SeqCst);
}

/// The calling process ends, or panics once, when it has passed this point `times` times more.
pub fn arm(point: u32, times: u64, panics: bool) {
    PANICS.store(panics, SeqCst);
    LEFT.store(times, SeqCst);
    ARMED.store(point + 1, SeqCst);
}

/// Where in the table the point of a place is looked for first.
fn home(here: &Location<'_>) -> usize {
    let file = here.file().as_bytes();
    let letters = file.iter().rev().take(12);
    let hash = letters.fold(
        here.line() as usize * 64 + here.column() as usize,
        |hash, letter| hash.wrapping_mul(31).wrapping_add(usize::from(*letter)),
    );
    hash.wrapping_mul(0x9E37_79B9) >> 8
}

/// A step was done. Called by the words and by the wrappers of system calls.
#[track_caller]
pub fn passed() {
    let here = Location::caller();
    let Some(points) = table() else { return };
    let home = home(here);
    for i in 0..POINTS {
        let number = home.wrapping_add(i) % POINTS;
        let Some(point) = points.get(number).filter(|point| point.is_of(here)) else {
            continue;
        };
        let role = ROLE.load(SeqCst);
        if let Some(hits) = point.hits.get(role) {
            hits.fetch_add(1, SeqCst);
        }
        if ARMED.load(SeqCst) as usize == number + 1 && LEFT.fetch_sub(1, SeqCst) == 1 {
            if let Some(ends) = point.ends.get(role) {
                ends.fetch_add(1, SeqCst);
            }
            if PANICS.load(SeqCst) {
                panic!("on purpose");
            }
            sys::process::end_at_once();
        }
        return;
    }
}
