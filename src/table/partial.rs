//! P3, parking: the received bytes of an unfinished message, kept in blocks of the slot while
//! nobody reads. Appended once, copied out once when the message is complete.
//!
//! Called in Reading by the reader, and by the supervisor once the connection is Retiring.

use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::sync::Word;
use crate::table::segment::Segment;
use crate::table::slot::Slot;

/// Sets the slot's count and moves the account of `me` by the difference: one step for whoever
/// recovers, because the values are written down first.
fn set_bytes(segment: &Segment, me: Holder, index: u32, slot: &Slot, bytes: u32) {
    let Some(record) = segment.participants().get(me) else {
        return;
    };
    let account = &record.account;
    let before = u64::from(slot.input.partial_bytes.get());
    let partial = account.partial.load_sync().wrapping_sub(before);
    account.redo_bytes.set(bytes);
    account
        .redo_partial
        .set(partial.wrapping_add(u64::from(bytes)));
    account.redo_slot.store_sync(index + 1);
    finish(segment, me);
}

/// Does the step of `me` that is under way, perhaps once more. By itself, or by the supervisor when it
/// is dead and its slots are as it left them.
pub fn finish(segment: &Segment, me: Holder) {
    let Some(record) = segment.participants().get(me) else {
        return;
    };
    let account = &record.account;
    let Some(index) = account.redo_slot.load_sync().checked_sub(1) else {
        return;
    };
    if let Some(slot) = segment.slot(index) {
        slot.input.partial_bytes.set(account.redo_bytes.get());
    }
    account.partial.store_sync(account.redo_partial.get());
    account.redo_slot.store_sync(0);
}

/// Appends `bytes` to the connection's partial message. False: the pool is exhausted; what had
/// been appended stays, the caller closes the connection.
#[must_use]
pub fn append(
    segment: &Segment,
    me: Holder,
    index: u32,
    slot: &Slot,
    generation: u32,
    mut bytes: &[u8],
) -> bool {
    let blocks = segment.partial_blocks();
    let input = &slot.input;
    while !bytes.is_empty() {
        let tail = input.partial_tail.get();
        if input.partial_head.get() != 0 {
            let n = blocks.append(tail, bytes);
            let now = input.partial_bytes.get() + n as u32;
            set_bytes(segment, me, index, slot, now);
            bytes = bytes.get(n..).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
        }
        let Some(block) = blocks.alloc(me) else {
            return false;
        };
        if let Some(head) = blocks.head(block) {
            let stamp = Stamp::new(BlockUse::Partial, me, index, generation);
            head.stamp.store_sync(stamp.0);
        }
        match blocks.head(tail) {
            Some(last) if input.partial_head.get() != 0 => last.next.set(block),
            _ => input.partial_head.set(block),
        }
        input.partial_tail.set(block);
    }
    true
}

/// Copies the partial message to the end of `out` and gives its blocks back.
pub fn take(segment: &Segment, me: Holder, index: u32, slot: &Slot, out: &mut Vec<u8>) {
    segment
        .partial_blocks()
        .copy_chain(slot.input.partial_head.get(), out);
    drop_all(segment, me, index, slot);
}

pub fn drop_all(segment: &Segment, me: Holder, index: u32, slot: &Slot) {
    let blocks = segment.partial_blocks();
    let first = slot.input.partial_head.get();
    if first == 0 {
        return;
    }
    // Ours before they leave the slot: some may carry the stamp of a worker that parked them and has
    // died since, and its recovery, which runs beside us, frees what it finds on no slot.
    blocks.take_chain(first, me);
    set_bytes(segment, me, index, slot, 0);
    // Cleared first: who dies in between leaves blocks that only their stamp names, which
    // recovery frees, never a chain of freed blocks.
    slot.input.partial_head.set(0);
    slot.input.partial_tail.set(0);
    blocks.free_chain(first, me);
}
