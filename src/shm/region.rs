//! Typed access to the segment's memory.
//!
//! Invariants: SHM-1 a `Span` lies inside its region and is aligned; SHM-2 the region holds only
//! types that are valid when all bytes are zero and that tolerate concurrent access (atomics, or
//! bytes guarded by a stamp). Called by the typed view of the segment only.

use core::marker::PhantomData;

use crate::sys;
use crate::sys::map::SharedMap;

/// A type that may live in shared memory.
///
/// # Safety
/// The type is `repr(C)`, holds no pointer, is valid with every byte zero and with any other bytes
/// (P12: a host's wild pointer can scribble on it), and every field is an atomic or is reached
/// only through one.
pub unsafe trait Shared: Sync + Sized {}

macro_rules! shared {
    ($($type:ty),* $(,)?) => { $(
        // SAFETY: repr(C) structs made of atomics only (or of such structs); the author of each
        // type in this list guarantees it beside the type's size assertion.
        unsafe impl $crate::shm::region::Shared for $type {}
    )* };
}
pub(crate) use shared;

shared!(crate::sync::AtomicU64, crate::sync::AtomicU32);

/// `count` values of `T` at a fixed offset of one region.
pub struct Span<T> {
    offset: usize,
    count: usize,
    of: PhantomData<fn() -> T>,
}
impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Span<T> {}

/// Lays spans out one after the other, each on a cache line of its own.
#[derive(Default)]
pub struct Layout {
    end: usize,
    hash: u64,
}

impl Layout {
    pub fn span<T: Shared>(&mut self, count: usize) -> Span<T> {
        let align = align_of::<T>().max(64);
        let offset = self.end.next_multiple_of(align);
        self.end = offset + count * size_of::<T>();
        for word in [offset as u64, count as u64, size_of::<T>() as u64] {
            self.hash = (self.hash ^ word)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(23);
        }
        Span {
            offset,
            count,
            of: PhantomData,
        }
    }
    pub fn bytes(&self) -> usize {
        self.end.next_multiple_of(4096)
    }
    /// Two programs whose layouts differ anywhere get different hashes.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// The mapped memory of one instance.
pub struct Region {
    map: SharedMap,
}

impl Region {
    pub fn new(name: &str, layout: &Layout) -> sys::Result<Region> {
        Ok(Region {
            map: SharedMap::new(name, layout.bytes())?,
        })
    }

    /// Another process's, to read only; see `SharedMap::view`.
    pub fn view(fd: sys::RawFd) -> sys::Result<Region> {
        SharedMap::view(fd).map(|map| Region { map })
    }

    pub fn bytes(&self) -> usize {
        self.map.len()
    }

    /// All of it, for tests that scribble on it.
    #[cfg(test)]
    pub fn words(&self) -> &[crate::sync::AtomicU64] {
        self.slice(Span {
            offset: 0,
            count: self.bytes() / 8,
            of: PhantomData,
        })
    }

    /// The descriptor of the memory that was made here, for tests of `view`.
    #[cfg(test)]
    pub fn fd(&self) -> Option<sys::RawFd> {
        self.map.fd()
    }

    /// The values of a span; empty when the span is of another, larger region.
    pub fn slice<T: Shared>(&self, span: Span<T>) -> &[T] {
        let fits = span
            .count
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_add(span.offset))
            .is_some_and(|end| end <= self.map.len());
        if !fits {
            return &[];
        }
        // SAFETY: in bounds by the check above and aligned by `Layout` (mmap returns whole pages);
        // the memory lives as long as `self.map`; every bit pattern is a valid `T` and shared
        // access is allowed (`Shared`).
        unsafe {
            core::slice::from_raw_parts(self.map.as_ptr().add(span.offset).cast::<T>(), span.count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicU32, AtomicU64, Word};

    #[test]
    fn spans_do_not_overlap_and_start_on_cache_lines() {
        let mut layout = Layout::default();
        let a = layout.span::<AtomicU32>(3);
        let b = layout.span::<AtomicU64>(5);
        let region = Region::new("sipwire-test", &layout).unwrap();
        region.slice(a).iter().for_each(|word| word.set(7));
        assert!(region.slice(b).iter().all(|word| word.get() == 0));
        assert_eq!(region.slice(b).as_ptr() as usize % 64, 0);
        assert_eq!((region.slice(a).len(), region.slice(b).len()), (3, 5));
    }

    #[test]
    fn a_span_of_a_larger_region_is_empty_here() {
        let mut small = Layout::default();
        small.span::<AtomicU32>(1);
        let region = Region::new("sipwire-test", &small).unwrap();
        let mut large = Layout::default();
        let span = large.span::<AtomicU64>(100_000);
        assert!(region.slice(span).is_empty());
    }
}
