//! Blacklist: destinations that failed and are not dialled until their time is over. In the
//! segment; any participant adds and removes, everyone reads, nobody waits.
//!
//! The entries are sets of eight; an address belongs to the set its hash names and may lie in any
//! of the eight. Each entry is a sequence lock of its own: `word` is sequence | writer stamp. A
//! writer takes an entry by the CAS that stamps it and releases it by a store of the next sequence
//! without stamp; one that meets a stamped entry uses another. A reader accepts what it read
//! between two loads of the same unstamped word and takes anything else as absent: a dial that
//! should not have been made is harmless, waiting for a stopped writer is not.
//!
//! Invariants:
//! - The sequence of an entry only grows (54 bits: it does not wrap), so an unchanged word means
//!   unchanged data.
//! - A CAS that expects the word of a snapshot proves that the entry still holds what was read.
//! - Two writers that add one address at once may leave two copies. It is blacklisted while any
//!   copy is live; `remove` removes all.
//! - A stamp of a dead writer stays, and its entry counts as absent, until `recover`.
//!
//! Everything is sequentially consistent, because then one order holds every access: data that a
//! reader saw half changed puts the writer's CAS before the reader's second load, which must see
//! it. Weaker loads would need a fence there. Loads cost nothing more on x86 and a write happens
//! once per failed destination.

use crate::pure::addr::Addr;
use crate::sync::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// Entries per set: an add looks at eight cache lines and no more.
const WAYS: usize = 8;

/// A set's entries can be taken by others while we choose: tries until the caller is refused.
const TRIES: usize = 8;

const WRITER_BITS: u32 = 10;
const WRITER_MASK: u64 = (1 << WRITER_BITS) - 1;

/// One destination; all zero is an empty one.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Entry {
    /// Sequence | writer (10 bits, 0 = nobody is changing the entry).
    word: AtomicU64,
    /// 0 = empty.
    expires_ms: AtomicU64,
    addr: [AtomicU32; 6],
    reason: AtomicU32,
    _spare: [AtomicU32; 5],
}

const _: () = assert!(size_of::<Entry>() == 64);

/// What an entry held at the moment of `word`.
struct Snapshot {
    word: u64,
    expires_ms: u64,
    addr: [u32; 6],
    reason: u32,
}

impl Entry {
    /// `None` while the entry is being changed.
    fn read(&self) -> Option<Snapshot> {
        let word = self.word.load(SeqCst);
        if word & WRITER_MASK != 0 {
            return None;
        }
        let snapshot = Snapshot {
            word,
            expires_ms: self.expires_ms.load(SeqCst),
            addr: self.addr.each_ref().map(|part| part.load(SeqCst)),
            reason: self.reason.load(SeqCst),
        };
        (self.word.load(SeqCst) == word).then_some(snapshot)
    }

    /// Takes the entry as `seen`; `false` when it was changed since.
    fn take(&self, seen: &Snapshot, writer: u16) -> bool {
        let writer = u64::from(writer);
        // 0 would not mark the entry as taken, a wider number would change the sequence.
        if writer == 0 || writer > WRITER_MASK {
            return false;
        }
        let stamped = seen.word | writer;
        self.word
            .compare_exchange(seen.word, stamped, SeqCst, SeqCst)
            .is_ok()
    }

    /// By the one who holds the stamp only.
    fn write(&self, addr: [u32; 6], expires_ms: u64, reason: u32) {
        for (place, part) in self.addr.iter().zip(addr) {
            place.store(part, SeqCst);
        }
        self.reason.store(reason, SeqCst);
        self.expires_ms.store(expires_ms, SeqCst);
    }

    /// By the one who holds the stamp only.
    fn release(&self) {
        let next = (self.word.load(SeqCst) | WRITER_MASK).wrapping_add(1);
        self.word.store(next, SeqCst);
    }
}

/// True while `addr` is blacklisted.
pub fn check(entries: &[Entry], addr: &Addr, now_ms: u64) -> bool {
    let words = addr.to_words();
    set_of(entries, addr)
        .iter()
        .filter_map(Entry::read)
        .any(|seen| seen.expires_ms > now_ms && seen.addr == words)
}

/// Blacklists `addr` for `ttl_ms` from now on, or sets the time of one already there anew. In a
/// full set the entry that ends first gives way. False when `ttl_ms` is 0, or when other writers
/// held or changed everything that could have been used.
pub fn add(
    entries: &[Entry],
    writer: u16,
    addr: &Addr,
    now_ms: u64,
    ttl_ms: u64,
    reason: u32,
) -> bool {
    if ttl_ms == 0 {
        return false;
    }
    let words = addr.to_words();
    let set = set_of(entries, addr);
    for _ in 0..TRIES {
        let stable = set.iter().filter_map(|entry| Some((entry, entry.read()?)));
        // Our own address before all others, then what ends first; empty and expired are earliest.
        let best = stable.min_by_key(|(_, seen)| (!seen.holds(&words), seen.expires_ms));
        let Some((entry, seen)) = best else {
            return false;
        };
        if entry.take(&seen, writer) {
            entry.write(words, now_ms.saturating_add(ttl_ms), reason);
            entry.release();
            return true;
        }
    }
    false
}

/// Removes every copy of `addr`; true when there was one. One that is being written at
/// this moment counts as added afterwards.
pub fn remove(entries: &[Entry], writer: u16, addr: &Addr) -> bool {
    let words = addr.to_words();
    let mut removed = false;
    for entry in set_of(entries, addr) {
        for _ in 0..TRIES {
            let Some(seen) = entry.read().filter(|seen| seen.holds(&words)) else {
                break;
            };
            // A refresh in between fails the CAS: look again.
            if entry.take(&seen, writer) {
                entry.write([0; 6], 0, 0);
                entry.release();
                removed = true;
                break;
            }
        }
    }
    removed
}

/// Appends up to `max` live entries as (address, remaining ms, reason), from `cursor` on (0 at
/// first), and moves it; the end is reached when `cursor` is the number of entries. Not one
/// moment's picture, and an address may come twice.
pub fn list(
    entries: &[Entry],
    now_ms: u64,
    cursor: &mut u32,
    out: &mut Vec<(Addr, u64, u32)>,
    max: usize,
) {
    let mut left = max;
    let rest = entries.get(*cursor as usize..).unwrap_or_default();
    for entry in rest {
        if left == 0 {
            return;
        }
        *cursor += 1;
        if let Some(seen) = entry.read().filter(|seen| seen.expires_ms > now_ms) {
            out.push((
                Addr::from_words(seen.addr),
                seen.expires_ms - now_ms,
                seen.reason,
            ));
            left -= 1;
        }
    }
}

/// Number of live entries.
pub fn count(entries: &[Entry], now_ms: u64) -> u32 {
    let live = |entry: &&Entry| entry.read().is_some_and(|seen| seen.expires_ms > now_ms);
    entries.iter().filter(live).count() as u32
}

/// Entries that somebody is changing.
#[cfg(crash_points)]
pub fn unfinished(entries: &[Entry]) -> u32 {
    let busy = |entry: &&Entry| entry.word.load(SeqCst) & WRITER_MASK != 0;
    entries.iter().filter(busy).count() as u32
}

/// Makes what a dead writer left half written empty. For the supervisor, once it has proof that
/// `dead_writer` takes no further step. The stamp goes last: a supervisor that dies in here
/// leaves it for the next one.
pub fn recover(entries: &[Entry], dead_writer: u16) {
    for entry in entries {
        let stamp = entry.word.load(SeqCst) & WRITER_MASK;
        if stamp != 0 && stamp == u64::from(dead_writer) {
            entry.write([0; 6], 0, 0);
            entry.release();
        }
    }
}

impl Snapshot {
    /// Expired or not: an expired copy of the same address is the best place for a new one.
    fn holds(&self, addr: &[u32; 6]) -> bool {
        self.expires_ms != 0 && self.addr == *addr
    }
}

/// The set of `addr`: eight entries, or all when there are fewer. Entries beyond the last whole set
/// are never used.
fn set_of<'a>(entries: &'a [Entry], addr: &Addr) -> &'a [Entry] {
    let sets = (entries.len() / WAYS).max(1);
    let start = addr.hash32() as usize % sets * WAYS;
    let end = entries.len().min(start + WAYS);
    entries.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
