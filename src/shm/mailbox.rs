//! P2, posting to the supervisor: a two-level bitmap (a leaf bit for each slot, a summary bit for
//! each leaf word). What is posted is said by reason bits beside the slot, OR-ed in before the
//! leaf bit. Nothing can overflow, whatever is posted how often: posting is idempotent.
//!
//! Invariants: POST-1 reason bits are set before the leaf bit, the leaf bit before the summary bit;
//! the supervisor clears in the other direction, so a post is never missed; POST-2 posters never
//! wait and never clear.
//!
//! `post`: any participant. `take`: the supervisor.

use crate::sync::{AtomicU64, Ordering, Word, fence};

#[derive(Clone, Copy)]
pub struct Mailbox<'a> {
    pub summary: &'a [AtomicU64],
    pub leaves: &'a [AtomicU64],
}

/// Words needed for `slots` slots: (summary, leaves).
pub fn words(slots: usize) -> (usize, usize) {
    let leaves = slots.div_ceil(64);
    (leaves.div_ceil(64), leaves)
}

#[cfg_attr(crash_points, track_caller)]
fn set_bit(words: &[AtomicU64], index: usize) {
    if let Some(word) = words.get(index / 64) {
        let bit = 1u64 << (index % 64);
        // A locked instruction only when a load does not already show the bit: the word is then
        // still to be taken, and what we OR-ed in before is seen by that taking.
        if word.load_sync() & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }
}

impl Mailbox<'_> {
    /// The caller has OR-ed its reason bits before. Afterwards the supervisor must be woken if it
    /// sleeps.
    pub fn post(&self, slot: usize) {
        // The load in `set_bit` may skip the OR; this fence orders our reason bits before it.
        fence(Ordering::SeqCst);
        set_bit(self.leaves, slot);
        set_bit(self.summary, slot / 64);
    }

    pub fn is_empty(&self) -> bool {
        self.summary.iter().all(|word| word.load_sync() == 0)
    }

    /// Takes everything posted and calls `serve` with each slot.
    pub fn take(&self, mut serve: impl FnMut(usize)) {
        for (s, summary) in self.summary.iter().enumerate() {
            if summary.load_sync() == 0 {
                continue;
            }
            let mut leaves = summary.swap(0, Ordering::SeqCst);
            while leaves != 0 {
                let leaf = s * 64 + leaves.trailing_zeros() as usize;
                leaves &= leaves - 1;
                let Some(word) = self.leaves.get(leaf) else {
                    break;
                };
                let mut bits = word.swap(0, Ordering::SeqCst);
                while bits != 0 {
                    serve(leaf * 64 + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;

    fn zeroes(n: usize) -> Vec<AtomicU64> {
        (0..n).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn what_is_posted_is_taken_once() {
        let (s, l) = words(10_000);
        let (summary, leaves) = (zeroes(s), zeroes(l));
        let mailbox = Mailbox {
            summary: &summary,
            leaves: &leaves,
        };
        for slot in [0, 63, 64, 4095, 4096, 9_999, 63] {
            mailbox.post(slot);
        }
        let mut seen = vec![];
        mailbox.take(|slot| seen.push(slot));
        assert_eq!(seen, [0, 63, 64, 4095, 4096, 9_999]);
        assert!(mailbox.is_empty());
        mailbox.take(|_| panic!("nothing is left"));
    }

    #[test]
    fn no_reason_is_lost_between_many_posters_and_the_taker() {
        const SLOTS: usize = 200;
        const ROUNDS: u32 = 20_000;
        let (s, l) = words(SLOTS);
        let (summary, leaves) = (zeroes(s), zeroes(l));
        let counts: Vec<AtomicU32> = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        let mailbox = Mailbox {
            summary: &summary,
            leaves: &leaves,
        };
        let mut taken = 0u64;
        std::thread::scope(|scope| {
            let posters: Vec<_> = (0..3usize)
                .map(|p| {
                    let counts = &counts;
                    scope.spawn(move || {
                        for i in 0..ROUNDS as usize {
                            let slot = (i * 7 + p * 31) % SLOTS;
                            counts[slot].fetch_add(1, Ordering::SeqCst);
                            mailbox.post(slot);
                        }
                    })
                })
                .collect();
            while posters.iter().any(|p| !p.is_finished()) {
                mailbox.take(|slot| taken += u64::from(counts[slot].swap(0, Ordering::SeqCst)));
            }
        });
        mailbox.take(|slot| taken += u64::from(counts[slot].swap(0, Ordering::SeqCst)));
        assert_eq!(taken, 3 * u64::from(ROUNDS));
    }
}
