//! What only some connections use, beside the slot: host's marks, keep-alive, alias. A record for
//! each slot, small because an idle connection pays for it too (design 2: at most 320 bytes).
//!
//! Invariant: RARE-1 a mark names the generation it is for. One that comes too late, for a connection
//! that has ended, changes nothing.

use crate::shm::region::shared;
use crate::sync::{AtomicU64, Ordering, Word};

/// Bits of `Rare::marks`.
#[allow(dead_code)]
pub mod mark {
    /// The host says that the peer does not answer: no new requests by address.
    pub const SUSPECT: u32 = 1;
    /// The host does not want to read more for now.
    pub const PAUSED: u32 = 2;
}

#[repr(C, align(8))]
pub struct Rare {
    /// Generation (32) | `mark` bits (32). By any participant.
    marks: AtomicU64,
}
#[allow(unsafe_code)] // layout marker
mod marker {
    use super::{Rare, shared};
    shared!(Rare);
}

#[allow(dead_code)]
impl Rare {
    /// Supervisor, while the slot is Free.
    pub fn reset(&self, generation: u32) {
        self.marks.store_sync(u64::from(generation) << 32);
    }

    pub fn has(&self, generation: u32, bits: u32) -> bool {
        let word = self.marks.load_sync();
        (word >> 32) as u32 == generation && word as u32 & bits != 0
    }

    /// Sets or clears; false: the connection is another one by now.
    #[cfg_attr(crash_points, track_caller)]
    pub fn mark(&self, generation: u32, bits: u32, on: bool) -> bool {
        let change = |word: u64| {
            let marks = word as u32;
            let marks = if on { marks | bits } else { marks & !bits };
            ((word >> 32) as u32 == generation)
                .then_some(word & !u64::from(u32::MAX) | u64::from(marks))
        };
        self.marks
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
            .is_ok()
    }
}
