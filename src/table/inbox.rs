//! A connection's inbox: messages that were pushed at its gate and wait to be moved to the queue (P1). Anybody
//! pushes and counts; the gate's holder takes, or the supervisor alone with a closing connection.
//!
//! Invariant:
//! INBOX-1 what waits is counted once at every instant, also while the inbox is on its way to the queue: nobody is
//!         refused by `conn_wq_max` with room left, and a sender passes it by the message it is sending at most. (What
//!         else passes it: docs/internals.md, deviation 18.)
//!
//! Gate and count are two words, so one of them changes first. The count does, with a mark (COUNTED) that says how
//! much of the inbox it holds already; whoever counts meanwhile leaves that out of the inbox.
//!
//! A gate may come back to the same word between a sender's count and its push, when another's message comes into the
//! inbox and leaves it: that is when the limit is passed. Should even the block of the newest message have come back
//! as another one's, what the sender says of those below it is wrong until the supervisor takes them.

use crate::pure::words::GateWord;
use crate::shm::blocks::Blocks;
use crate::shm::gate;
use crate::sync::Word;
use crate::table::queue::{self, MOST};
use crate::table::slot::Output;

/// In `Output::queued_bytes`: it holds a part of the inbox too, from the newest message down whose
/// `Head::inbox_bytes` has the same mark. What is counted ends below it.
const COUNTED: u32 = MOST + 1;

/// Bytes that wait on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub in_queue: u64,
    pub in_inbox: u64,
}

impl Waiting {
    pub fn all(self) -> u64 {
        self.in_queue + self.in_inbox
    }
    /// What `conn_wq_max` counts of it (BATCH-3). `word` is the gate for which it was counted.
    pub fn limited(self, word: GateWord) -> u64 {
        match word.has(GateWord::BATCH) {
            true => self.in_inbox,
            false => self.all(),
        }
    }
}

/// Bytes of the queue as its holder left them; of an inbox that is on its way there, too.
pub fn in_queue(output: &Output) -> u64 {
    u64::from(output.queued_bytes.load_sync() & MOST)
}

/// While the gate has the inbox of `word` nothing is added to that, so this is no more than what waited when it began,
/// and no less than what waits when it ends but for what the gate's holder put to the queue meanwhile. If the gate has
/// moved on, what moved may be counted twice: the caller looks.
pub fn waiting(blocks: Blocks<'_>, output: &Output, word: GateWord) -> Waiting {
    count(blocks, word, || output.queued_bytes.load_sync())
}

/// `queued`: reads `Output::queued_bytes`.
fn count(blocks: Blocks<'_>, word: GateWord, mut queued: impl FnMut() -> u32) -> Waiting {
    let bytes_down_from = |first: u32| {
        let head = blocks.head(first);
        head.map_or(0, |head| head.inbox_bytes.load_sync())
    };
    let mut with_mark = queued();
    let mut counted = 0;
    // The mark that is found may be of a later attempt than the count that was read, which lacks what was pushed
    // between the two: so until the count stays. For one word it changes twice at most.
    for _ in 0..4 {
        if with_mark & COUNTED == 0 {
            counted = 0;
            break;
        }
        let mut inbox = blocks.list(word.inbox()).map(bytes_down_from);
        counted = inbox.find(|bytes| bytes & COUNTED != 0).unwrap_or(0) & MOST;
        let before = core::mem::replace(&mut with_mark, queued());
        if with_mark == before {
            break;
        }
    }
    let in_inbox = bytes_down_from(word.inbox()) & MOST;
    Waiting {
        in_queue: u64::from(with_mark & MOST),
        in_inbox: u64::from(in_inbox.saturating_sub(counted)),
    }
}

/// Pushes a finished message (its first block) if `admit` lets it, which is given what waits before it. Ok: must be
/// posted. The inner error `None` says the connection is gone.
pub fn push<E>(
    blocks: Blocks<'_>,
    output: &Output,
    generation: u32,
    first: u32,
    mut admit: impl FnMut(GateWord, Waiting) -> Result<(), E>,
) -> Result<(), Option<E>> {
    gate::push(&output.gate, generation, first, |word| {
        // Refused once, it is counted again: the block of a message that has left may be the inbox's newest anew,
        // and the first count may have been half of each.
        if admit(word, waiting(blocks, output, word)).is_err() {
            admit(word, waiting(blocks, output, word))?;
        }
        let below = blocks.head(word.inbox());
        let below = below.map_or(0, |head| head.inbox_bytes.get() & MOST);
        if let Some(head) = blocks.head(first) {
            let bytes = below.saturating_add(head.length.get());
            head.inbox_bytes.set(bytes.min(MOST));
            head.link.set(word.inbox());
        }
        Ok(())
    })
}

/// Moves the inbox to the end of the queue, whoever may. The messages, newest first. `mark_taken` is given the newest
/// before each attempt, see `gate::take_inbox`.
pub fn take(blocks: Blocks<'_>, output: &Output, mark_taken: impl Fn(u32)) -> Vec<u32> {
    let before = output.queued_bytes.get() & MOST;
    let newest = gate::take_inbox(&output.gate, |newest| {
        mark_taken(newest);
        if output.queued_bytes.get() & COUNTED != 0 {
            // Behind an attempt that failed: what was pushed since is marked while nothing of it is counted.
            output.queued_bytes.store_sync(before);
        }
        let Some(head) = blocks.head(newest) else {
            return;
        };
        let bytes = head.inbox_bytes.get() & MOST;
        head.inbox_bytes.store_sync(bytes | COUNTED);
        let with_inbox = before.saturating_add(bytes).min(MOST);
        output.queued_bytes.store_sync(with_inbox | COUNTED);
    });
    let with_inbox = output.queued_bytes.get();
    if with_inbox & COUNTED != 0 {
        output.queued_bytes.store_sync(with_inbox & MOST);
    }
    let messages: Vec<u32> = blocks.list(newest).collect();
    // What a message says of those below may be wrong: its sender has read it from a block that left and came back.
    let heads = messages.iter().filter_map(|first| blocks.head(*first));
    let bytes: u64 = heads.map(|head| u64::from(head.length.get())).sum();
    let after = (u64::from(before) + bytes).min(u64::from(MOST)) as u32;
    if after != output.queued_bytes.get() {
        output.queued_bytes.store_sync(after);
    }
    for first in messages.iter().rev() {
        queue::add_last(blocks, output, *first);
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::blocks::tests::pool;
    use crate::shm::region::{Layout, Region};
    use crate::table::slot::Slot;

    const GENERATION: u32 = 5;

    fn with_output(run: impl FnOnce(Blocks<'_>, &Output)) {
        let mut layout = Layout::default();
        let span = layout.span::<Slot>(1);
        let region = Region::new("sipwire-test", &layout).unwrap();
        let output = &region.slice(span)[0].output;
        gate::open(&output.gate, GENERATION, GateWord::ASYNC);
        pool(16, |blocks| run(blocks, output));
    }

    fn message(blocks: Blocks<'_>, length: u32) -> u32 {
        let first = blocks.alloc(2).unwrap();
        blocks.head(first).unwrap().length.set(length);
        first
    }

    fn push_all(blocks: Blocks<'_>, output: &Output, first: u32) {
        push(blocks, output, GENERATION, first, |_, _| Ok::<(), ()>(())).unwrap();
    }

    fn now(blocks: Blocks<'_>, output: &Output) -> (u64, u64) {
        let waiting = waiting(blocks, output, gate::load(&output.gate));
        (waiting.in_queue, waiting.in_inbox)
    }

    #[test]
    fn what_is_pushed_is_taken_in_order_and_counted_once() {
        with_output(|blocks, output| {
            let all = [10, 20, 30].map(|length| message(blocks, length));
            push_all(blocks, output, all[0]);
            push_all(blocks, output, all[1]);
            assert_eq!(now(blocks, output), (0, 30));
            assert_eq!(take(blocks, output, |_| ()), [all[1], all[0]]);
            assert_eq!(now(blocks, output), (30, 0));
            push_all(blocks, output, all[2]);
            assert_eq!(now(blocks, output), (30, 30));
            assert_eq!(take(blocks, output, |_| ()), [all[2]]);
            assert!(take(blocks, output, |_| ()).is_empty());
            assert_eq!(now(blocks, output), (60, 0));
            let listed: Vec<u32> = blocks.list(output.queue_head.get()).collect();
            assert_eq!(listed, all);
        });
    }

    #[test]
    fn what_is_pushed_while_the_inbox_is_taken_is_counted_once() {
        with_output(|blocks, output| {
            let all = [10, 20, 30].map(|length| message(blocks, length));
            push_all(blocks, output, all[0]);
            let attempts = core::cell::Cell::new(0);
            let taken = take(blocks, output, |_| {
                // The mark of the first attempt is on the first message, and the count holds it.
                attempts.set(attempts.get() + 1);
                if let Some(next) = all.get(attempts.get()) {
                    push_all(blocks, output, *next);
                }
                let waits: u32 = [10, 20, 30][..=attempts.get().min(2)].iter().sum();
                let (queue, inbox) = now(blocks, output);
                assert_eq!(queue + inbox, u64::from(waits));
            });
            assert_eq!(taken, [all[2], all[1], all[0]]);
            assert_eq!(attempts.get(), 3);
            assert_eq!(now(blocks, output), (60, 0));
        });
    }

    /// No order that loom tries has it.
    #[test]
    fn what_an_attempt_counts_and_marks_between_two_reads_is_counted_once() {
        for behind_the_first_read in [true, false] {
            with_output(|blocks, output| {
                let all = [10, 20].map(|length| message(blocks, length));
                let mark = |first: u32| {
                    let head = blocks.head(first).unwrap();
                    head.inbox_bytes.set(head.inbox_bytes.get() | COUNTED);
                };
                push_all(blocks, output, all[0]);
                mark(all[0]);
                push_all(blocks, output, all[1]);
                let mut reads = 0;
                let waiting = count(blocks, gate::load(&output.gate), || {
                    reads += 1;
                    if reads == 1 + u32::from(!behind_the_first_read) {
                        mark(all[1]);
                    }
                    if reads == 1 {
                        10 | COUNTED
                    } else {
                        30 | COUNTED
                    }
                });
                assert_eq!(waiting.all(), 30);
            });
        }
    }

    #[test]
    fn a_message_that_is_wrong_about_those_below_it_does_no_lasting_harm() {
        with_output(|blocks, output| {
            let all = [10, 20, 30].map(|length| message(blocks, length));
            for first in all {
                push_all(blocks, output, first);
            }
            blocks.head(all[2]).unwrap().inbox_bytes.set(4_000);
            assert_eq!(take(blocks, output, |_| ()), [all[2], all[1], all[0]]);
            assert_eq!(now(blocks, output), (60, 0));
        });
    }

    #[test]
    fn a_count_that_a_dead_supervisor_left_is_no_number() {
        with_output(|blocks, output| {
            push_all(blocks, output, message(blocks, 10));
            output.queued_bytes.set(COUNTED | 20);
            assert_eq!(take(blocks, output, |_| ()).len(), 1);
            assert_eq!(now(blocks, output), (30, 0));
            output.queued_bytes.set(COUNTED | 20);
            assert!(take(blocks, output, |_| ()).is_empty());
            assert_eq!(now(blocks, output), (20, 0));
        });
    }

    #[test]
    fn a_refused_message_changes_nothing() {
        with_output(|blocks, output| {
            let [first, second] = [10, 20].map(|length| message(blocks, length));
            push_all(blocks, output, first);
            let refused = push(blocks, output, GENERATION, second, |_, waiting| {
                if waiting.all() + 20 > 29 {
                    Err(())
                } else {
                    Ok(())
                }
            });
            assert_eq!(refused, Err(Some(())));
            assert_eq!(now(blocks, output), (0, 10));
            assert_eq!(take(blocks, output, |_| ()), [first]);
        });
    }
}
