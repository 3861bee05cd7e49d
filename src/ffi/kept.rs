//! What C has a pointer to. When it is freed its few bytes stay: who uses it afterwards is told so, and does
//! not reach what was put there next.

use crate::pure::error::{Error, Result};
use crate::sync::{AtomicU64, Ordering};

/// The address of the last one that was freed. Each has that of the one before: for a leak checker none is
/// lost.
static FREED: AtomicU64 = AtomicU64::new(0);

pub struct Kept<T> {
    value: Option<T>,
    freed_before: u64,
}

impl<T> Kept<T> {
    pub fn new(value: T) -> Kept<T> {
        Kept {
            value: Some(value),
            freed_before: 0,
        }
    }
    pub fn get(&self) -> Result<&T> {
        self.value.as_ref().ok_or(Error::Argument)
    }
    pub fn get_mut(&mut self) -> Result<&mut T> {
        self.value.as_mut().ok_or(Error::Argument)
    }
    /// None: it was freed before.
    pub fn free(&mut self) -> Option<T> {
        let value = self.value.take()?;
        let here = core::ptr::from_mut(self) as u64;
        let follow = |before| {
            self.freed_before = before;
            Some(here)
        };
        let _ = FREED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, follow);
        Some(value)
    }
}
