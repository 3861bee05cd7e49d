//! P3, parking: the received bytes of an unfinished message, kept in blocks of the slot while
//! nobody reads. Appended once, copied out once when the message is complete.
//!
//! Called in Reading by the reader, and by the supervisor once the connection is Retiring.

use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::sync::Word;
use crate::table::segment::Segment;
use crate::table::slot::Slot;

fn account(segment: &Segment, me: Holder, bytes: i64) {
    if let Some(record) = segment.participants().get(me) {
        let cell = &record.own.partial;
        cell.store_sync(cell.load_sync().wrapping_add(bytes as u64));
    }
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
    let blocks = segment.blocks();
    let input = &slot.input;
    while !bytes.is_empty() {
        let tail = input.partial_tail.get();
        let n = if input.partial_head.get() == 0 {
            0
        } else {
            blocks.append(tail, bytes)
        };
        input
            .partial_bytes
            .set(input.partial_bytes.get() + n as u32);
        account(segment, me, n as i64);
        bytes = bytes.get(n..).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        let Some(block) = blocks.alloc(me) else {
            return false;
        };
        if let Some(head) = blocks.head(block) {
            head.stamp
                .store_sync(Stamp::new(BlockUse::Partial, me, index, generation).0);
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
pub fn take(segment: &Segment, me: Holder, slot: &Slot, out: &mut Vec<u8>) {
    segment
        .blocks()
        .copy_chain(slot.input.partial_head.get(), out);
    drop_all(segment, me, slot);
}

fn input_bytes(slot: &Slot) -> i64 {
    i64::from(slot.input.partial_bytes.get())
}

pub fn drop_all(segment: &Segment, me: Holder, slot: &Slot) {
    let blocks = segment.blocks();
    let first = slot.input.partial_head.get();
    let bytes = input_bytes(slot);
    // Ours before they leave the slot: some may carry the stamp of a worker that parked them and has
    // died since, and its recovery, which runs beside us, frees what it finds on no slot.
    blocks.stamp_chain(first, Stamp::private(me));
    // Cleared first: who dies in between leaves blocks that only their stamp names, which
    // recovery frees, never a chain of freed blocks.
    slot.input.partial_head.set(0);
    slot.input.partial_tail.set(0);
    slot.input.partial_bytes.set(0);
    blocks.free_chain(first);
    account(segment, me, -bytes);
}
