//! P4: the duplicates of connections' fds that a process other than the supervisor's keeps, by
//! slot. Eight bytes a slot, touched only where used.

use crate::pure::error::Result;
use crate::roles::memory::filled;
use crate::sync::Word;
use crate::sys::Fd;
use crate::table::phase;
use crate::table::segment::Segment;
use std::os::fd::RawFd;

/// What the supervisor writes beside a passed fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    pub slot: u32,
    pub generation: u32,
    pub epoch: u32,
}

impl Passing {
    /// The slot of no connection: the fd is the supervisor's poll.
    pub const POLL: u32 = u32::MAX;

    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (chunk, word) in bytes
            .chunks_exact_mut(4)
            .zip([self.slot, self.generation, self.epoch])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
    pub fn from_bytes(bytes: &[u8]) -> Option<Passing> {
        let word = |i: usize| {
            Some(u32::from_le_bytes(
                bytes.get(i * 4..i * 4 + 4)?.try_into().ok()?,
            ))
        };
        Some(Passing {
            slot: word(0)?,
            generation: word(1)?,
            epoch: word(2)?,
        })
    }
}

pub struct Duplicates {
    slots: usize,
    /// generation (high half) and fd + 1 (low half) by slot; 0: none. Empty before the first: a
    /// thread beside the supervisor is never passed one.
    kept: Vec<u64>,
    count: u32,
    limit: u32,
    hand: usize,
    /// The worker's poll: an fd leaves it before it is closed, because a duplicate elsewhere would
    /// keep the registration alive with nobody able to remove it. 0: a sender has none.
    epoll: RawFd,
}

impl Duplicates {
    pub fn new(slots: u32, limit: u32) -> Duplicates {
        Duplicates {
            slots: slots as usize,
            kept: Vec::new(),
            count: 0,
            limit: limit.max(1),
            hand: 0,
            epoll: 0,
        }
    }

    /// Takes the memory for all slots, now rather than with the first fd.
    pub fn reserve(&mut self) -> Result<()> {
        if self.kept.is_empty() {
            self.kept = filled(self.slots, 0)?;
        }
        Ok(())
    }

    pub fn set_epoll(&mut self, epoll: RawFd) {
        self.epoll = epoll;
    }

    pub fn get(&self, slot: u32, generation: u32) -> Option<RawFd> {
        let word = *self.kept.get(slot as usize)?;
        (word != 0 && (word >> 32) as u32 == generation)
            .then(|| (word as u32).wrapping_sub(1) as RawFd)
    }

    /// Keeps `fd`; what was kept for the slot before is closed, so the caller has looked that it is an earlier
    /// connection's. Above the limit another one goes;
    /// `pinned` says which slots may not (the worker holds them).
    pub fn put(&mut self, slot: u32, generation: u32, fd: Fd, pinned: impl Fn(u32) -> bool) {
        self.drop_slot(slot);
        // Without memory it is closed: the lend comes back as one without fd.
        if self.reserve().is_err() {
            return;
        }
        let Some(word) = self.kept.get_mut(slot as usize) else {
            return;
        };
        *word = u64::from(generation) << 32 | (fd.into_raw() as u32 + 1) as u64;
        self.count += 1;
        self.drop_others(self.limit, |other| other == slot || pinned(other));
    }

    /// The limit is another one by now. 0: none is kept, but for the one in use.
    pub fn fit(&mut self, limit: u32, pinned: impl Fn(u32) -> bool) {
        self.limit = limit.max(1);
        self.drop_others(limit, pinned);
    }

    fn drop_others(&mut self, limit: u32, pinned: impl Fn(u32) -> bool) {
        let mut looked = 0;
        while self.count > limit && looked < self.kept.len() {
            looked += 1;
            self.hand = (self.hand + 1) % self.kept.len();
            let victim = self.hand as u32;
            if !pinned(victim) {
                self.drop_slot(victim);
            }
        }
    }

    /// The slot is pinned no longer: closes its duplicate if there are more than the limit.
    pub fn drop_above_limit(&mut self, slot: u32) {
        if self.count > self.limit {
            self.drop_slot(slot);
        }
    }

    pub fn drop_slot(&mut self, slot: u32) {
        if let Some(word) = self.kept.get_mut(slot as usize)
            && *word != 0
        {
            // Only this duplicate is closed; nothing is shut down (P6).
            let duplicate = Fd::from_raw((*word as u32).wrapping_sub(1) as RawFd);
            *word = 0;
            self.count -= 1;
            if self.epoll > 0 {
                crate::sys::poll::epoll_remove(self.epoll, duplicate.as_raw());
            }
        }
    }

    /// Closes all: their supervisor is dead, and as long as one is open its peer believes in the
    /// connection.
    pub fn clear(&mut self) {
        for slot in 0..self.kept.len() as u32 {
            if self.count == 0 {
                break;
            }
            self.drop_slot(slot);
        }
    }

    /// Closes duplicates of connections that ended.
    pub fn sweep(&mut self, segment: &Segment) {
        if self.count == 0 {
            return;
        }
        for slot in 0..self.kept.len() as u32 {
            let kept = self.kept.get(slot as usize).copied().unwrap_or(0);
            let stale = kept != 0
                && segment.slot(slot).is_none_or(|record| {
                    !record.is_open()
                        || record.owner().generation() != (kept >> 32) as u32
                        || record.supervised.phase.get() & phase::FD_CLOSED != 0
                });
            if stale {
                self.drop_slot(slot);
            }
        }
    }
}

impl Drop for Duplicates {
    fn drop(&mut self) {
        self.clear();
    }
}
