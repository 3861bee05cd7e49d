//! P1, the gate: who may write a connection. One word in the slot; every transition is one
//! compare-and-swap that expects the generation.
//!
//! Invariants:
//! GATE-1 a byte is written to the socket only by the holder;
//! GATE-2 a sender takes the gate only from {no flag, no holder, no inbox}, so a message never
//!        overtakes one that waits in inbox or queue;
//! GATE-3 from CLOSING on nothing is accepted; the generation moves on only at holder 0.
//!
//! Called by senders (`take_direct`, `push`, `release*`), by the worker of a batch (`*_batch`, `end_async`) and by the
//! supervisor (all others).

use crate::pure::words::{GateWord, Holder};
use crate::sync::{AtomicU64, Ordering, Word};

pub fn load(gate: &AtomicU64) -> GateWord {
    GateWord(gate.load_sync())
}

#[cfg_attr(crash_points, track_caller)]
fn swap(gate: &AtomicU64, from: GateWord, to: GateWord) -> Result<(), GateWord> {
    gate.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst)
        .map(drop)
        .map_err(GateWord)
}

/// What a sender finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Take {
    /// The caller is the holder and must release.
    Taken,
    /// Queue instead.
    Busy,
    /// Closing, or another connection by now.
    Gone,
}

/// A sender takes the gate to write directly.
pub fn take_direct(gate: &AtomicU64, generation: u32, me: Holder) -> Take {
    take_free(gate, generation, me, 0)
}

/// A worker takes the gate as for a direct write and begins a batch instead. The flag is there before the first
/// answer is: `conn_wq_max` counts that at no instant (BATCH-3).
pub fn begin_batch(gate: &AtomicU64, generation: u32, me: Holder) -> Take {
    take_free(gate, generation, me, GateWord::ASYNC | GateWord::BATCH)
}

fn take_free(gate: &AtomicU64, generation: u32, me: Holder, flags: u64) -> Take {
    let mut word = load(gate);
    loop {
        if word.generation() != generation || word.has(GateWord::CLOSING) {
            return Take::Gone;
        }
        if !word.is_direct() {
            return Take::Busy;
        }
        match swap(gate, word, word.with(flags).with_holder(me)) {
            Ok(()) => return Take::Taken,
            Err(now) => word = now,
        }
    }
}

/// The worker of a batch takes the gate while nothing waits but the batch: it may put a message to it, as the
/// last one, or write it.
pub fn take_batch(gate: &AtomicU64, generation: u32, me: Holder) -> bool {
    let batch = GateWord::new(generation, GateWord::ASYNC | GateWord::BATCH);
    swap(gate, batch, batch.with_holder(me)).is_ok()
}

/// All that is in the queue is a batch. Is not posted: its worker writes it, or whoever comes before.
pub fn release_batch(gate: &AtomicU64) {
    release_with(gate, |word| word.with(GateWord::ASYNC | GateWord::BATCH));
}

/// The holder has written all. True: somebody queued meanwhile (or the close came), the connection
/// is now in async mode and must be posted to the supervisor.
#[must_use]
pub fn release(gate: &AtomicU64) -> bool {
    let mut word = load(gate);
    loop {
        let post = word.inbox() != 0 || word.has(GateWord::CLOSING);
        let to = if word.inbox() != 0 {
            word.with(GateWord::ASYNC)
        } else {
            word
        };
        match swap(gate, word, to.with_holder(0)) {
            Ok(()) => return post,
            Err(now) => word = now,
        }
    }
}

/// The holder left something in the slot's queue: async mode begins (or goes on). Must be posted.
pub fn release_async(gate: &AtomicU64) {
    release_with(gate, |word| {
        word.with(GateWord::ASYNC).without(GateWord::BATCH)
    });
}

fn release_with(gate: &AtomicU64, flags: impl Fn(GateWord) -> GateWord) {
    let mut word = load(gate);
    while let Err(now) = swap(gate, word, flags(word).with_holder(0)) {
        word = now;
    }
}

/// Pushes a finished message (its first block) on the inbox. `link` stores the word it is given in
/// the message before each attempt: the head below it, or an error that ends the push (limits).
/// Ok: must be posted. The inner error `None` says the connection is gone.
pub fn push<E>(
    gate: &AtomicU64,
    generation: u32,
    block: u32,
    mut link: impl FnMut(GateWord) -> Result<(), E>,
) -> Result<(), Option<E>> {
    let mut word = load(gate);
    loop {
        if word.generation() != generation || word.has(GateWord::CLOSING) {
            return Err(None);
        }
        if let Err(refused) = link(word) {
            // What a limit was computed from belongs to this word; if that has changed meanwhile, the
            // same bytes may have been counted in inbox and queue.
            let now = load(gate);
            if now == word {
                return Err(Some(refused));
            }
            word = now;
            continue;
        }
        match swap(gate, word, word.with_inbox(block)) {
            Ok(()) => return Ok(()),
            Err(now) => word = now,
        }
    }
}

/// The supervisor takes the gate to flush; the connection is in async mode while it holds it.
/// `None`: held by a sender (which posts when it releases), or closing.
pub fn take_to_flush(gate: &AtomicU64, me: Holder) -> Option<GateWord> {
    let mut word = load(gate);
    loop {
        if word.holder() != 0 || word.has(GateWord::CLOSING) {
            return None;
        }
        let taken = word.with(GateWord::ASYNC).without(GateWord::BATCH);
        match swap(gate, word, taken.with_holder(me)) {
            Ok(()) => return Some(word),
            Err(now) => word = now,
        }
    }
}

/// The holder takes the whole inbox; the newest message's first block, 0: empty. `mark` is called with
/// the newest before each attempt, so that all below it can be marked as taken.
pub fn take_inbox(gate: &AtomicU64, mut mark: impl FnMut(u32)) -> u32 {
    let mut word = load(gate);
    loop {
        if word.inbox() == 0 {
            return 0;
        }
        mark(word.inbox());
        match swap(gate, word, word.with_inbox(0)) {
            Ok(()) => return word.inbox(),
            Err(now) => word = now,
        }
    }
}

/// The holder, with an empty queue, ends async mode. False: the inbox is not empty, it still holds the gate
/// and goes on.
#[must_use]
pub fn end_async(gate: &AtomicU64) -> bool {
    let mut word = load(gate);
    loop {
        if word.inbox() != 0 {
            return false;
        }
        let direct = word.without(GateWord::ASYNC | GateWord::BATCH);
        match swap(gate, word, direct.with_holder(0)) {
            Ok(()) => return true,
            Err(now) => word = now,
        }
    }
}

/// The supervisor marks the connection as closing: from here on every message is either in the
/// inbox or was refused. Returns the word as it was.
pub fn close(gate: &AtomicU64) -> GateWord {
    GateWord(gate.fetch_or(GateWord::CLOSING, Ordering::SeqCst))
}

/// The supervisor ends the connecting phase: queued output may be flushed.
pub fn connected(gate: &AtomicU64) {
    gate.fetch_and(!GateWord::CONNECTING, Ordering::SeqCst);
}

/// The supervisor takes a dead holder's gate away. False: it was not the holder.
pub fn evict(gate: &AtomicU64, dead: Holder) -> bool {
    let mut word = load(gate);
    loop {
        if word.holder() != dead {
            return false;
        }
        match swap(gate, word, word.with_holder(0)) {
            Ok(()) => return true,
            Err(now) => word = now,
        }
    }
}

/// A new connection in the slot, or (flags CLOSING) none. Supervisor only, at holder 0.
pub fn open(gate: &AtomicU64, generation: u32, flags: u64) {
    gate.store_sync(GateWord::new(generation, flags).0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_writes_directly_only_when_nothing_is_queued() {
        let gate = AtomicU64::new(0);
        open(&gate, 5, 0);
        assert_eq!(take_direct(&gate, 4, 2), Take::Gone);
        assert_eq!(take_direct(&gate, 5, 2), Take::Taken);
        assert_eq!(take_direct(&gate, 5, 3), Take::Busy);
        assert!(push(&gate, 5, 77, |_| Ok::<(), ()>(())).is_ok());
        assert!(release(&gate), "an inbox appeared: post");
        assert!(load(&gate).has(GateWord::ASYNC));
        assert_eq!(take_direct(&gate, 5, 2), Take::Busy);
        assert!(take_to_flush(&gate, 1).is_some());
        assert!(!end_async(&gate), "the inbox is not empty");
        assert_eq!(take_inbox(&gate, |_| {}), 77);
        assert!(end_async(&gate));
        assert_eq!(take_direct(&gate, 5, 2), Take::Taken);
    }

    #[test]
    fn a_batch_is_its_workers_until_somebody_queues_or_flushes() {
        let gate = AtomicU64::new(0);
        open(&gate, 5, 0);
        assert!(!take_batch(&gate, 5, 2), "there is none");
        assert_eq!(begin_batch(&gate, 5, 2), Take::Taken);
        assert!(load(&gate).has(GateWord::BATCH), "before it has an answer");
        release_batch(&gate);
        assert!(
            !load(&gate).is_async(),
            "it waits for nobody but its worker"
        );
        assert_eq!(take_direct(&gate, 5, 3), Take::Busy);
        assert!(take_batch(&gate, 5, 2));
        release_batch(&gate);
        push(&gate, 5, 77, |_| Ok::<(), ()>(())).unwrap();
        assert!(!take_batch(&gate, 5, 2), "it would overtake");
        assert!(take_to_flush(&gate, 1).is_some());
        assert_eq!(take_inbox(&gate, |_| {}), 77);
        release_async(&gate);
        assert!(!take_batch(&gate, 5, 2), "the supervisor has touched it");
        assert!(load(&gate).is_async());
    }

    #[test]
    fn a_closing_connection_accepts_nothing_and_keeps_its_inbox_for_the_closer() {
        let gate = AtomicU64::new(0);
        open(&gate, 5, GateWord::ASYNC);
        push(&gate, 5, 9, |_| Ok::<(), ()>(())).unwrap();
        assert!(!close(&gate).has(GateWord::CLOSING));
        assert_eq!(take_inbox(&gate, |_| {}), 9);
        assert_eq!(push(&gate, 5, 10, |_| Ok::<(), ()>(())), Err(None));
        assert_eq!(take_direct(&gate, 5, 2), Take::Gone);
        assert!(take_to_flush(&gate, 1).is_none());
    }

    #[test]
    fn a_refused_push_leaves_the_gate_alone() {
        let gate = AtomicU64::new(0);
        open(&gate, 5, GateWord::ASYNC);
        assert_eq!(push(&gate, 5, 9, |_| Err("full")), Err(Some("full")));
        assert_eq!(load(&gate).inbox(), 0);
    }

    #[test]
    fn a_dead_holder_loses_the_gate_and_nobody_else_does() {
        let gate = AtomicU64::new(0);
        open(&gate, 5, 0);
        assert_eq!(take_direct(&gate, 5, 8), Take::Taken);
        assert!(!evict(&gate, 7));
        assert!(evict(&gate, 8));
        assert_eq!(load(&gate).holder(), 0);
    }

    #[test]
    fn many_senders_and_one_flusher_lose_and_double_nothing() {
        use std::sync::atomic::AtomicU32 as Count;
        use std::sync::atomic::AtomicU64 as Links;
        const SENDERS: u32 = 4;
        const EACH: u32 = 5_000;
        let gate = AtomicU64::new(0);
        open(&gate, 5, 0);
        let links: Vec<Links> = (0..=SENDERS * EACH).map(|_| Links::new(0)).collect();
        let written = Count::new(0);
        let flush = |me| {
            if take_to_flush(&gate, me).is_none() {
                return;
            }
            loop {
                let mut head = take_inbox(&gate, |_| {});
                while head != 0 {
                    written.fetch_add(1, Ordering::SeqCst);
                    head = links[head as usize].load(Ordering::SeqCst) as u32;
                }
                if end_async(&gate) {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (gate, links, written) = (&gate, &links, &written);
                scope.spawn(move || {
                    for i in 0..EACH {
                        if take_direct(gate, 5, sender as u16 + 2) == Take::Taken {
                            written.fetch_add(1, Ordering::SeqCst);
                            let _ = release(gate);
                        } else {
                            let block = sender * EACH + i + 1;
                            push(gate, 5, block, |word| {
                                links[block as usize]
                                    .store(u64::from(word.inbox()), Ordering::SeqCst);
                                Ok::<(), ()>(())
                            })
                            .unwrap();
                        }
                    }
                });
            }
            for _ in 0..20_000 {
                flush(1);
            }
        });
        flush(1);
        assert_eq!(written.load(Ordering::SeqCst), SENDERS * EACH);
    }
}
