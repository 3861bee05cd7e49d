//! What only some connections use, beside the slot: host's marks, keep-alive, alias. A record for
//! each slot, small because an idle connection pays for it too (design 2: at most 320 bytes).
//!
//! Invariant: RARE-1 a mark, and what was agreed on keep-alive, names the generation it is for. What
//! comes too late, for a connection that has ended, changes nothing.

use crate::pure::keepalive::{Agreed, Interval, Pongs};
use crate::shm::region::shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word};

/// Bits of `Rare::marks`.
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
    /// `Agreed`: keep-alive as the host wants it. By any participant.
    agreed: AtomicU64,
    /// `Pongs`. By the supervisor, which asks, and the reader, who hears.
    pongs: AtomicU32,
    /// Low bits of the time of our last ping; before the first, of when pings began; of when the
    /// connection was read again while the pong was awaited. By the supervisor.
    pinged_ms: AtomicU32,
    /// Low bits of the time of the last input, kept with a flow timer only. By the reader; by the supervisor
    /// when the flow timer begins, and when the connection is read again.
    heard_ms: AtomicU32,
    /// By the supervisor, as the three of `Identity`: the port of the connection's alias (0: it has none) and
    /// its links in the address index, see `index`.
    pub alias_port: AtomicU32,
    pub alias_next: AtomicU32,
    pub alias_bucket: AtomicU32,
}
const _: () = assert!(size_of::<Rare>() <= 40);
#[allow(unsafe_code)] // layout marker
mod marker {
    use super::{Rare, shared};
    shared!(Rare);
}

impl Rare {
    /// Supervisor, while the slot is Free.
    pub fn reset(&self, generation: u32, keepalive: Interval) {
        self.marks.store_sync(u64::from(generation) << 32);
        self.agreed.store_sync(Agreed::new(generation, keepalive).0);
        self.pongs.store_sync(0);
        self.alias_port.store_sync(0);
        self.alias_bucket.set(0);
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

    pub fn agreed(&self) -> Agreed {
        Agreed(self.agreed.load_sync())
    }

    /// What the host wants from now on; false: the connection is another one by now.
    #[cfg_attr(crash_points, track_caller)]
    pub fn agree(&self, generation: u32, change: impl Fn(Agreed) -> Agreed) -> bool {
        let change = |word: u64| {
            let word = Agreed(word);
            word.is_of(generation).then(|| change(word).0)
        };
        self.agreed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
            .is_ok()
    }

    pub fn awaits_pong(&self) -> bool {
        Pongs(self.pongs.load_sync()).awaited()
    }

    /// Our ping goes out (or into the queue, in whose order it goes out).
    #[cfg_attr(crash_points, track_caller)]
    pub fn ask(&self) {
        let more = |word: u32| Some(Pongs(word).ask().0);
        let _ = self
            .pongs
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }

    /// The pong came, or is not waited for any more; false: it was not.
    #[cfg_attr(crash_points, track_caller)]
    pub fn hear(&self) -> bool {
        let heard = |word: u32| Pongs(word).hear().map(|pongs| pongs.0);
        self.pongs
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, heard)
            .is_ok()
    }

    pub fn pinged_ms(&self) -> u32 {
        self.pinged_ms.load_sync()
    }
    #[cfg_attr(crash_points, track_caller)]
    pub fn set_pinged(&self, now_ms: u64) {
        self.pinged_ms.store_sync(now_ms as u32);
    }
    pub fn heard_ms(&self) -> u32 {
        self.heard_ms.load_sync()
    }
    #[cfg_attr(crash_points, track_caller)]
    pub fn set_heard(&self, now_ms: u64) {
        self.heard_ms.store_sync(now_ms as u32);
    }
}
