//! P3, the lend ring: fixed, single producer (the supervisor), single consumer (one worker). An
//! entry is a hint: the worker believes it only if the stamp it carries can still be swapped.
//!
//! Invariants: RING-1 head and tail only grow, tail - head <= CAPACITY; RING-2 an entry is written
//! before the tail that shows it. The producer never waits: a full ring refuses.

use super::region::shared;
use crate::sync::{AtomicU32, AtomicU64, Word};

pub const CAPACITY: u32 = 1024;

#[repr(C, align(64))]
pub struct RingHeader {
    /// Written by the producer.
    tail: AtomicU32,
    pad: [AtomicU32; 15],
    /// Written by the consumer.
    head: AtomicU32,
    pad2: [AtomicU32; 15],
}
const _: () = assert!(size_of::<RingHeader>() == 128);

#[repr(C)]
pub struct RingEntry {
    what: AtomicU64,
    stamp: AtomicU64,
}
shared!(RingHeader, RingEntry);

#[derive(Clone, Copy)]
pub struct Ring<'a> {
    pub header: &'a RingHeader,
    /// CAPACITY entries.
    pub entries: &'a [RingEntry],
}

impl Ring<'_> {
    fn entry(&self, position: u32) -> Option<&RingEntry> {
        self.entries.get((position % CAPACITY) as usize)
    }

    /// Entries the consumer has not taken; a scribbled pair of counters reads as full.
    pub fn len(&self) -> u32 {
        self.header
            .tail
            .load_sync()
            .wrapping_sub(self.header.head.load_sync())
            .min(CAPACITY)
    }

    /// Entries taken, ever (it wraps): shows whether the consumer moves.
    pub fn taken(&self) -> u32 {
        self.header.head.load_sync()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn has_room(&self) -> bool {
        self.len() < CAPACITY
    }

    /// Producer. False: full.
    #[must_use]
    pub fn push(&self, what: u64, stamp: u64) -> bool {
        if !self.has_room() {
            return false;
        }
        let tail = self.header.tail.get();
        let Some(entry) = self.entry(tail) else {
            return false;
        };
        entry.what.set(what);
        entry.stamp.set(stamp);
        self.header.tail.store_sync(tail.wrapping_add(1));
        true
    }

    /// Consumer.
    pub fn pop(&self) -> Option<(u64, u64)> {
        if self.is_empty() {
            return None;
        }
        let head = self.header.head.get();
        let entry = self.entry(head)?;
        let taken = (entry.what.get(), entry.stamp.get());
        self.header.head.store_sync(head.wrapping_add(1));
        Some(taken)
    }

    /// Producer, when the consumer is known to be dead.
    pub fn clear(&self) {
        self.header.head.store_sync(self.header.tail.load_sync());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (RingHeader, Vec<RingEntry>) {
        let zero = || [const { AtomicU32::new(0) }; 15];
        let header = RingHeader {
            tail: AtomicU32::new(u32::MAX - 5),
            pad: zero(),
            head: AtomicU32::new(u32::MAX - 5),
            pad2: zero(),
        };
        let entries = (0..CAPACITY)
            .map(|_| RingEntry {
                what: AtomicU64::new(0),
                stamp: AtomicU64::new(0),
            })
            .collect();
        (header, entries)
    }

    #[test]
    fn a_full_ring_refuses_and_an_empty_one_has_nothing() {
        let (header, entries) = ring();
        let ring = Ring {
            header: &header,
            entries: &entries,
        };
        for i in 0..u64::from(CAPACITY) {
            assert!(ring.push(i, i + 1));
        }
        assert!(!ring.push(0, 0));
        for i in 0..u64::from(CAPACITY) {
            assert_eq!(ring.pop(), Some((i, i + 1)));
        }
        assert_eq!(ring.pop(), None);
    }

    #[test]
    fn entries_arrive_in_order_between_threads() {
        let (header, entries) = ring();
        let ring = Ring {
            header: &header,
            entries: &entries,
        };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut i = 0u64;
                while i < 50_000 {
                    if ring.push(i, i ^ 0xFFFF) {
                        i += 1;
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0u64;
            while expected < 50_000 {
                if let Some((what, stamp)) = ring.pop() {
                    assert_eq!((what, stamp), (expected, expected ^ 0xFFFF));
                    expected += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
    }
}
