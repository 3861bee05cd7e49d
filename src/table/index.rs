//! P5, the address index: chained hash from remote address to slot, in the segment. The
//! supervisor is its only writer; readers take no lock.
//!
//! Invariants: IDX-1 insert and remove are one store each; nothing moves; IDX-2 the end of a chain
//! is a marker that carries its bucket's number: a reader whose slot was removed and put in another
//! chain meanwhile ends on another bucket's marker and starts again, boundedly.

use crate::pure::addr::Addr;
use crate::pure::words::{GateWord, OwnerState};
use crate::sync::Word;
use crate::table::segment::Segment;
use crate::table::slot::Slot;

const END: u32 = 0x8000_0000;

pub fn init(segment: &Segment) {
    for (i, bucket) in segment.buckets().iter().enumerate() {
        bucket.store_sync(END | i as u32);
    }
}

fn bucket_of(segment: &Segment, remote: &Addr) -> u32 {
    remote.hash32() & (segment.buckets().len() as u32).wrapping_sub(1)
}

/// Supervisor. The slot's addresses are set.
pub fn insert(segment: &Segment, index: u32) {
    let Some(slot) = segment.slot(index) else {
        return;
    };
    let bucket = bucket_of(segment, &slot.remote());
    let Some(head) = segment.buckets().get(bucket as usize) else {
        return;
    };
    slot.identity.index_bucket.set(bucket + 1);
    slot.identity.index_next.store_sync(head.load_sync());
    head.store_sync(index);
}

/// Supervisor. No-op when it is not in the index.
pub fn remove(segment: &Segment, index: u32) {
    let Some(slot) = segment.slot(index) else {
        return;
    };
    let Some(bucket) = slot.identity.index_bucket.get().checked_sub(1) else {
        return;
    };
    slot.identity.index_bucket.set(0);
    let Some(mut link) = segment.buckets().get(bucket as usize) else {
        return;
    };
    for _ in 0..=segment.slots().len() {
        let next = link.load_sync();
        if next == index {
            link.store_sync(slot.identity.index_next.load_sync());
            return;
        }
        match segment.slot(next) {
            Some(other) if next & END == 0 => link = &other.identity.index_next,
            _ => return,
        }
    }
}

/// What a sender needs to know of the connection it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub slot: u32,
    pub generation: u32,
}

/// A connection to `remote` (from `local`, unless that is none; its port 0 matches any) that still
/// accepts messages. `None` may be wrong while the supervisor changes the chain: the dial list,
/// where a miss leads, looks again.
pub fn find(segment: &Segment, remote: &Addr, local: &Addr) -> Option<Found> {
    walk(segment, remote, local, |found, _, at| {
        *found = Some(at);
        false
    })
}

/// The sum over all such connections. One that is opened or ends meanwhile is in it or not.
pub fn sum(segment: &Segment, remote: &Addr, local: &Addr, of: impl Fn(&Slot) -> u64) -> u64 {
    walk(segment, remote, local, |sum: &mut u64, slot, _| {
        *sum += of(slot);
        true
    })
}

/// Visits the connections of a chain that match, until told to stop (false). Where it has to start
/// again, so does the result.
fn walk<T: Default>(
    segment: &Segment,
    remote: &Addr,
    local: &Addr,
    mut visit: impl FnMut(&mut T, &Slot, Found) -> bool,
) -> T {
    let bucket = bucket_of(segment, remote);
    let Some(head) = segment.buckets().get(bucket as usize) else {
        return T::default();
    };
    let mut result = T::default();
    for _ in 0..8 {
        result = T::default();
        let mut at = head.load_sync();
        for _ in 0..=segment.slots().len() {
            if at & END != 0 {
                break;
            }
            let Some(slot) = segment.slot(at) else {
                return result;
            };
            let gate = GateWord(slot.output.gate.load_sync());
            let owner = slot.owner();
            let alive = owner.state() != OwnerState::Free
                && owner.generation() == gate.generation()
                && !gate.has(GateWord::CLOSING);
            let found = Found {
                slot: at,
                generation: gate.generation(),
            };
            if alive
                && slot.remote() == *remote
                && local_matches(&slot.local(), local)
                && !visit(&mut result, slot, found)
            {
                return result;
            }
            at = slot.identity.index_next.load_sync();
        }
        // Who ended in another chain starts again; a walk without end was in a scribbled one.
        if at & END == 0 || at == END | bucket {
            break;
        }
    }
    result
}

fn local_matches(have: &Addr, want: &Addr) -> bool {
    want.is_none()
        || ((want.is_unspecified() || have.same_host(want))
            && (want.port == 0 || want.port == have.port))
}
