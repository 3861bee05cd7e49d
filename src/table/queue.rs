//! A connection's output queue: messages (chains of blocks) in the order in which they are to be
//! written. Touched only by the gate's holder (TBL-4).
//!
//! A message leaves the queue whole: its blocks are kept until its last byte is written, so that a
//! message that fails can be reported with all its bytes.

use std::io::IoSlice;

use crate::pure::words::Holder;
use crate::shm::blocks::Blocks;
use crate::sync::Word;
use crate::table::slot::Output;

/// The most bytes that are counted; no `conn_wq_max` is more than about half of it. All bits of a count; the one above
/// is a mark of `inbox`.
pub const MOST: u32 = (1 << 31) - 1;

/// Appends one message (first block `first`), `length` bytes of it not yet written. They are counted before the
/// list has them: see `taken`.
pub fn append(blocks: Blocks<'_>, queue: &Output, first: u32, length: u32) {
    let counted = queue.queued_bytes.get().saturating_add(length);
    queue.queued_bytes.set(counted.min(MOST));
    add_last(blocks, queue, first);
}

/// Makes a message that is counted already the last one.
pub fn add_last(blocks: Blocks<'_>, queue: &Output, first: u32) {
    let Some(head) = blocks.head(first) else {
        return;
    };
    head.link.set(0);
    match blocks.head(queue.queue_tail.get()) {
        Some(tail) if queue.queue_head.get() != 0 => tail.link.set(first),
        _ => queue.queue_head.set(first),
    }
    queue.queue_tail.set(first);
}

/// Whoever appended may have died before it noted the new tail; the next message would then take the place
/// of the last one, of which nobody would hear again. As gate holder, or alone with a closing connection.
pub fn find_tail(blocks: Blocks<'_>, queue: &Output) {
    let last = blocks.list(queue.queue_head.get()).last();
    queue.queue_tail.set(last.unwrap_or(0));
}

/// Takes the first message out. Before that it is marked with what becomes of it.
pub fn pop(blocks: Blocks<'_>, queue: &Output) -> Option<u32> {
    let first = queue.queue_head.get();
    let head = blocks.head(first)?;
    queue.queue_head.set(head.link.get());
    if head.link.get() == 0 {
        queue.queue_tail.set(0);
    }
    Some(first)
}

/// The unwritten bytes at the head of the queue: as many `slices` as there are, and about `max_bytes`.
pub fn gather<'a, 's>(
    blocks: Blocks<'a>,
    queue: &Output,
    slices: &'s mut [IoSlice<'a>],
    max_bytes: usize,
) -> &'s [IoSlice<'a>] {
    let (mut n, mut bytes) = (0, 0);
    'all: for first in blocks.list(queue.queue_head.get()) {
        let Some(head) = blocks.head(first) else {
            break;
        };
        let (mut from, mut before) = (head.at_block.get(), head.at_bytes.get());
        if from == 0 || before > head.written.get() {
            (from, before) = (first, 0);
        }
        let mut skip = (head.written.get() - before) as usize;
        for index in blocks.chain(from) {
            let all = blocks.bytes(index, 0);
            if skip >= all.len() {
                skip -= all.len();
                before += all.len() as u32;
                continue;
            }
            let Some(slice) = slices.get_mut(n).filter(|_| bytes < max_bytes) else {
                break 'all;
            };
            if n == 0 {
                // With a block that is not the one of these bytes nobody gathers any more: between the two
                // the gate's holder has died.
                head.at_bytes.set(before);
                head.at_block.set(index);
            }
            let part = blocks.bytes(index, skip);
            skip = 0;
            bytes += part.len();
            *slice = IoSlice::new(part);
            n += 1;
        }
    }
    slices.get(..n).unwrap_or_default()
}

/// The gate's holder `me` has written `n` bytes: messages that are written whole leave the queue, so many. In an order
/// by which `taken` knows how far it came.
pub fn take_out(blocks: Blocks<'_>, queue: &Output, me: Holder, n: u32) -> u32 {
    let (mut rest, mut whole) = (n, 0);
    while let Some(head) = blocks.head(queue.queue_head.get())
        && rest > 0
    {
        let left = head.length.get().saturating_sub(head.written.get());
        if rest < left {
            head.written.set(head.written.get() + rest);
            break;
        }
        rest -= left;
        if let Some(first) = pop(blocks, queue) {
            blocks.free_chain(first, me);
        }
        queue.messages_out.bump(1);
        whole += 1;
    }
    queue.bytes_out.bump(u64::from(n));
    let queued = queue.queued_bytes.get();
    queue.queued_bytes.set(queued.saturating_sub(n));
    whole
}

/// The gate's holder has died, anywhere in `append` or between its write and the end of `take_out`. Of what the list
/// has, how many bytes are written? `by_kernel`: of all that was written to the connection.
///
/// `bytes_out` and `queued_bytes` together are the place in the stream where the queue ends; a place behind it if one
/// of the two functions was left between its stores: after the list in `take_out`, before it in `append`. Then
/// nothing of the list is written.
pub fn taken(blocks: Blocks<'_>, queue: &Output, by_kernel: u64) -> u32 {
    let heads = blocks.list(queue.queue_head.get());
    let heads = heads.filter_map(|first| blocks.head(first));
    let listed: u64 = heads
        .map(|head| u64::from(head.length.get().saturating_sub(head.written.get())))
        .sum();
    let end = queue.bytes_out.get() + u64::from(queue.queued_bytes.get());
    by_kernel
        .saturating_sub(end.saturating_sub(listed))
        .min(listed) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::blocks::tests::pool;
    use crate::shm::region::{Layout, Region};
    use crate::table::slot::Slot;

    #[test]
    fn what_was_appended_last_is_not_lost_when_its_writer_died_before_the_tail() {
        let mut layout = Layout::default();
        let span = layout.span::<Slot>(1);
        let region = Region::new("sipwire-test", &layout).unwrap();
        let queue = &region.slice(span)[0].output;
        pool(16, |blocks| {
            let messages: Vec<u32> = (0..3).map(|_| blocks.alloc(2).unwrap()).collect();
            append(blocks, queue, messages[0], 10);
            append(blocks, queue, messages[1], 10);
            queue.queue_tail.set(messages[0]);
            find_tail(blocks, queue);
            append(blocks, queue, messages[2], 10);
            let listed: Vec<u32> = blocks.list(queue.queue_head.get()).collect();
            assert_eq!(listed, messages);
            queue.queue_head.set(0);
            find_tail(blocks, queue);
            assert_eq!(queue.queue_tail.get(), 0);
        });
    }
}
