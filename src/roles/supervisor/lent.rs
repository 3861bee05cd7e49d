//! For each worker the connections lent to it, as a list through the slots. A hint: who owns a
//! connection is said by its owner word alone; entries that are no longer true are dropped when met.

use crate::sync::Word;
use crate::table::segment::Segment;

const HEAD: u32 = 0x8000_0000;
pub const NONE: u32 = u32::MAX;

/// Puts `index` at the head of seat `seat`'s list.
pub fn link(segment: &Segment, heads: &mut [u32], seat: usize, index: u32) {
    unlink(segment, heads, index);
    let (Some(head), Some(slot)) = (heads.get_mut(seat), segment.slot(index)) else {
        return;
    };
    if let Some(first) = segment.slot(*head) {
        first.supervised.lent_prev.set(index);
    }
    slot.supervised.lent_prev.set(HEAD | seat as u32);
    slot.supervised.lent_next.set(*head);
    *head = index;
}

/// The seat whose list `index` is in. Bounded; `None`: in none.
pub fn seat_of(segment: &Segment, index: u32) -> Option<usize> {
    let mut at = index;
    for _ in 0..=segment.slots().len() {
        let prev = segment.slot(at)?.supervised.lent_prev.get();
        if prev == NONE {
            return None;
        }
        if prev & HEAD != 0 {
            return Some((prev & !HEAD) as usize);
        }
        at = prev;
    }
    None
}

pub fn is_linked(segment: &Segment, index: u32) -> bool {
    segment
        .slot(index)
        .is_some_and(|slot| slot.supervised.lent_prev.get() != NONE)
}

pub fn unlink(segment: &Segment, heads: &mut [u32], index: u32) {
    let Some(slot) = segment.slot(index) else {
        return;
    };
    let (prev, next) = (
        slot.supervised.lent_prev.get(),
        slot.supervised.lent_next.get(),
    );
    if prev == NONE {
        return;
    }
    if prev & HEAD != 0 {
        if let Some(head) = heads.get_mut((prev & !HEAD) as usize) {
            *head = next;
        }
    } else if let Some(before) = segment.slot(prev) {
        before.supervised.lent_next.set(next);
    }
    if let Some(after) = segment.slot(next) {
        after.supervised.lent_prev.set(prev);
    }
    reset(segment, index);
}

pub fn reset(segment: &Segment, index: u32) {
    if let Some(slot) = segment.slot(index) {
        slot.supervised.lent_prev.set(NONE);
        slot.supervised.lent_next.set(NONE);
    }
}

/// Up to `max` members of a seat's list, first to last.
pub fn members(segment: &Segment, heads: &[u32], seat: usize, max: usize) -> Vec<u32> {
    let mut at = heads.get(seat).copied().unwrap_or(NONE);
    let mut out = Vec::new();
    while let Some(slot) = segment.slot(at) {
        if out.len() >= max.min(segment.slots().len()) {
            break;
        }
        out.push(at);
        at = slot.supervised.lent_next.get();
    }
    out
}
