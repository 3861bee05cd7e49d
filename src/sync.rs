//! The only import of atomics in the crate (a lint bans them elsewhere), so that whoever has to look
//! at every step on shared memory can take their place:
//!
//! - `--cfg loom`: `sync/loom.rs`, each word is loom's while a model runs (`src/models/`);
//! - `--cfg shuttle`: `sync/watched.rs`, the scheduler may switch threads before each step;
//! - `--cfg crash_points`: `sync/watched.rs`, a process can be made to end right after any step.
//!
//! Everything shared between participants is one of these types.
//!
//! Orderings: every word with more than one writing side is accessed sequentially consistent;
//! words with one writing side, read by others as statistics, are relaxed. A weaker order is used
//! only where a comment at the access says which other access it pairs with.

#[cfg(not(any(loom, shuttle, crash_points)))]
pub use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, fence};

#[cfg(loom)]
pub mod loom;
#[cfg(loom)]
pub use self::loom::{AtomicI32, AtomicU32, AtomicU64, fence};

#[cfg(all(not(loom), any(shuttle, crash_points)))]
pub mod watched;
#[cfg(all(not(loom), any(shuttle, crash_points)))]
pub use self::watched::{AtomicI32, AtomicU32, AtomicU64, fence};

#[cfg(crash_points)]
pub mod crash;
#[cfg(any(loom, shuttle))]
pub mod stop;

pub use core::sync::atomic::Ordering;

/// Shorthands for shared words. `get`/`set`/`bump` are for words with one writing side, whose value
/// is published by another, sequentially consistent word; `load_sync`/`store_sync` are for
/// words that publish.
pub trait Word {
    type Value;
    fn get(&self) -> Self::Value;
    fn set(&self, value: Self::Value);
    fn load_sync(&self) -> Self::Value;
    fn store_sync(&self, value: Self::Value);
    /// Adds `by` to a word that only the caller writes: no locked instruction.
    fn bump(&self, by: Self::Value);
}

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word for $atomic {
            type Value = $value;
            fn get(&self) -> $value {
                self.load(Ordering::Relaxed)
            }
            #[cfg_attr(crash_points, track_caller)]
            fn set(&self, value: $value) {
                self.store(value, Ordering::Relaxed)
            }
            fn load_sync(&self) -> $value {
                self.load(Ordering::SeqCst)
            }
            #[cfg_attr(crash_points, track_caller)]
            fn store_sync(&self, value: $value) {
                self.store(value, Ordering::SeqCst)
            }
            #[cfg_attr(crash_points, track_caller)]
            fn bump(&self, by: $value) {
                self.store(
                    self.load(Ordering::Relaxed).wrapping_add(by),
                    Ordering::Relaxed,
                )
            }
        }
    };
}
word!(AtomicU32, u32);
word!(AtomicU64, u64);
word!(AtomicI32, i32);
