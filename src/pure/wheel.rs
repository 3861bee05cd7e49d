//! Timer wheel over ids whose links live elsewhere (in the connections' slots): one deadline per
//! id, insert and remove in constant time, no wake-up while nothing is due (protocol P11).
//!
//! Eleven levels of 64 buckets cover all of `u64`. A deadline lies at the level of the highest
//! six-bit digit in which it differs from `now_ms`, in the bucket of its own digit there. So at
//! every level the occupied buckets lie ahead of `now_ms`, never wrap, and anything at a lower
//! level is earlier than everything at a higher one: the first bit of the lowest occupied level is
//! the earliest bucket.
//!
//! Invariants:
//! - `now_ms` never passes an occupied bucket and is never later than the latest time given to
//!   `expire`; it may lag behind the clock, which costs nothing but a move more.
//! - A bucket above level 0 that holds `now_ms`'s own digit is being cascaded; nothing is put into
//!   it any more and `now_ms` stands still until it is empty.
//! - Heads and bitmaps are private memory and trusted; links are not (P12: a host's wild pointer
//!   can change them). Each link is followed only if the other side points back. One that does not
//!   is counted in `violations` and its chain is cut, so that no walk can loop; `rebuild` finds the
//!   entries that lost their list.
//!
//! Called by the supervisor only. An expired id is a hint like every list entry: the caller decides
//! by the slot whether its deadline really passed.

/// No id: end of a list, and in `Link::prev` the mark of an unlinked entry.
pub const NONE: u32 = u32::MAX;

/// Set in `Link::prev` of a list's first entry; the rest is the bucket. A lone entry would look
/// unlinked if `prev` were `NONE` there. Ids therefore stay below this value.
const HEAD: u32 = 0x8000_0000;

const DIGIT_BITS: u32 = 6;
const BUCKETS_PER_LEVEL: usize = 1 << DIGIT_BITS;
const DIGIT_MASK: u64 = BUCKETS_PER_LEVEL as u64 - 1;
/// 11 digits of 6 bits: every `u64` deadline has a place and none needs an overflow list.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
const BUCKETS: usize = LEVELS * BUCKETS_PER_LEVEL;

/// Moves that `expire` may make for each id it may return. A cascade of many entries is spread
/// over several calls rather than holding up the sockets of one turn.
const STEPS_PER_ID: usize = 4;
const STEPS_AT_LEAST: usize = 64;

/// The wheel's words in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub prev: u32,
    pub next: u32,
    pub deadline_ms: u64,
}

impl Link {
    pub const UNLINKED: Link = Link {
        prev: NONE,
        next: NONE,
        deadline_ms: 0,
    };
}

/// Where the links live. For an id out of range `link` returns `Link::UNLINKED` and `set_link`
/// does nothing.
pub trait Links {
    fn link(&self, id: u32) -> Link;
    fn set_link(&self, id: u32, link: Link);
}

pub struct Wheel {
    now_ms: u64,
    heads: Box<[u32]>,
    /// One bit per bucket that has a head.
    occupied: [u64; LEVELS],
    len: usize,
    violations: u64,
}

impl Wheel {
    pub fn new(now_ms: u64) -> Wheel {
        Wheel {
            now_ms,
            heads: vec![NONE; BUCKETS].into_boxed_slice(),
            occupied: [0; LEVELS],
            len: 0,
            violations: 0,
        }
    }

    /// Sets the deadline of `id`, replacing one that it has.
    pub fn insert(&mut self, links: &impl Links, id: u32, deadline_ms: u64) {
        self.remove(links, id);
        self.place(links, id, deadline_ms);
    }

    /// Does nothing when `id` is not linked.
    pub fn remove(&mut self, links: &impl Links, id: u32) {
        let Link { prev, next, .. } = links.link(id);
        if prev == NONE {
            return;
        }
        // Unlinked before the neighbours are looked at: a link that was changed to name its own
        // entry then does not point back.
        links.set_link(id, Link::UNLINKED);

        let next = self.checked_next(links, id, next);
        if prev & HEAD != 0 {
            let bucket = (prev & !HEAD) as usize;
            if self.heads.get(bucket) != Some(&id) {
                self.violations += 1;
                return;
            }
            self.set_head(bucket, next);
        } else {
            let before = links.link(prev);
            if before.next != id {
                self.violations += 1;
                return;
            }
            links.set_link(prev, Link { next, ..before });
        }
        if next != NONE {
            let after = links.link(next);
            links.set_link(next, Link { prev, ..after });
        }
        self.len = self.len.saturating_sub(1);
    }

    pub fn is_linked(links: &impl Links, id: u32) -> bool {
        links.link(id).prev != NONE
    }

    /// Appends at most `max` ids whose deadline is not after `now_ms` to `out`, unlinked, earliest
    /// first. What is due may remain, even with fewer than `max` returned, because one call also
    /// bounds the entries it moves between levels: `next_ms` is then not after `now_ms`.
    pub fn expire(&mut self, links: &impl Links, now_ms: u64, max: usize, out: &mut Vec<u32>) {
        let mut steps = max.saturating_mul(STEPS_PER_ID).max(STEPS_AT_LEAST);
        let mut left = max;
        while left > 0 && steps > 0 {
            let due = self.earliest().filter(|&(_, start)| start <= now_ms);
            let Some((bucket, start_ms)) = due else {
                // Nothing occupied up to here, so the clock's time can be taken over whole.
                self.now_ms = self.now_ms.max(now_ms);
                return;
            };
            self.now_ms = start_ms;
            if let Some((id, deadline_ms)) = self.pop(links, bucket) {
                if deadline_ms <= start_ms {
                    out.push(id);
                    left -= 1;
                } else {
                    // Never back into the same bucket: a deadline ahead of `now_ms` differs from
                    // it in the digit that chooses the bucket.
                    self.place(links, id, deadline_ms);
                }
            }
            steps -= 1;
        }
    }

    /// A time not after the earliest deadline; `None` when empty. Exact for what lies within the
    /// current 64 ms, else the start of the earliest bucket: a deadline is woken for at most once
    /// per level.
    pub fn next_ms(&self) -> Option<u64> {
        self.earliest().map(|(_, start_ms)| start_ms)
    }

    /// Number of linked ids. Inexact after a violation until `rebuild`.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.occupied.iter().all(|&bits| bits == 0)
    }

    /// Links found changed by someone else, ever. When it grew, timers may have been lost.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Makes all lists anew from the deadlines of the entries below `ids` that look linked. For
    /// the caller that saw `violations` grow; visits every entry once.
    pub fn rebuild(&mut self, links: &impl Links, ids: u32) {
        self.heads.fill(NONE);
        self.occupied = [0; LEVELS];
        self.len = 0;
        for id in 0..ids {
            let link = links.link(id);
            if link.prev != NONE {
                self.place(links, id, link.deadline_ms);
            }
        }
    }

    /// Puts an unlinked id into its bucket.
    fn place(&mut self, links: &impl Links, id: u32, deadline_ms: u64) {
        if id >= HEAD {
            return;
        }
        let bucket = self.bucket_of(deadline_ms);
        let prev = HEAD | bucket as u32;
        let next = match self.heads.get(bucket) {
            Some(&head) if head == NONE || links.link(head).prev == prev => head,
            _ => {
                self.violations += 1;
                NONE
            }
        };
        links.set_link(
            id,
            Link {
                prev,
                next,
                deadline_ms,
            },
        );
        if links.link(id).prev != prev {
            return; // out of range: nothing was stored, nothing may refer to it
        }
        if next != NONE {
            let after = links.link(next);
            links.set_link(next, Link { prev: id, ..after });
        }
        self.set_head(bucket, id);
        self.len += 1;
    }

    /// Unlinks the first entry of a bucket. `None` when the entry does not name this bucket: the
    /// chain behind it cannot be trusted and is cut.
    fn pop(&mut self, links: &impl Links, bucket: usize) -> Option<(u32, u64)> {
        let id = self.heads.get(bucket).copied().unwrap_or(NONE);
        let link = links.link(id);
        if link.prev != HEAD | bucket as u32 {
            self.violations += 1;
            self.set_head(bucket, NONE);
            return None;
        }
        self.remove(links, id);
        Some((id, link.deadline_ms))
    }

    /// `next` if it points back to `id`, else the end of the list.
    fn checked_next(&mut self, links: &impl Links, id: u32, next: u32) -> u32 {
        if next == NONE || links.link(next).prev == id {
            return next;
        }
        self.violations += 1;
        NONE
    }

    /// The earliest bucket and the time it starts; one that is being cascaded comes first, because
    /// what lies in it may be earlier than what was already moved down from it.
    fn earliest(&self) -> Option<(usize, u64)> {
        let cascading = self
            .occupied
            .iter()
            .enumerate()
            .skip(1)
            .find_map(|(level, bits)| {
                let digit = digit(self.now_ms, level);
                (bits >> digit & 1 == 1).then_some((level * BUCKETS_PER_LEVEL + digit, self.now_ms))
            });
        cascading.or_else(|| {
            let (level, bits) = self
                .occupied
                .iter()
                .enumerate()
                .find(|&(_, &bits)| bits != 0)?;
            let slot = bits.trailing_zeros();
            let shift = shift(level);
            let start_ms = (self.now_ms >> shift & !DIGIT_MASK | u64::from(slot)) << shift;
            Some((level * BUCKETS_PER_LEVEL + slot as usize, start_ms))
        })
    }

    /// What is already due goes to the bucket of `now_ms` itself.
    fn bucket_of(&self, deadline_ms: u64) -> usize {
        let deadline_ms = deadline_ms.max(self.now_ms);
        let highest_bit = (deadline_ms ^ self.now_ms).checked_ilog2().unwrap_or(0);
        let level = (highest_bit / DIGIT_BITS) as usize;
        level * BUCKETS_PER_LEVEL + digit(deadline_ms, level)
    }

    fn set_head(&mut self, bucket: usize, id: u32) {
        if let Some(head) = self.heads.get_mut(bucket) {
            *head = id;
        }
        if let Some(bits) = self.occupied.get_mut(bucket / BUCKETS_PER_LEVEL) {
            let bit = 1 << (bucket % BUCKETS_PER_LEVEL);
            if id == NONE {
                *bits &= !bit;
            } else {
                *bits |= bit;
            }
        }
    }
}

fn shift(level: usize) -> u32 {
    level as u32 * DIGIT_BITS
}

fn digit(time_ms: u64, level: usize) -> usize {
    (time_ms >> shift(level) & DIGIT_MASK) as usize
}

#[cfg(test)]
mod tests;
