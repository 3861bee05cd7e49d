//! P1: two senders and the supervisor at one gate. The first sender's message is taken by the kernel in part.
//! P10: a worker's batch beside another sender and the supervisor.
//! INBOX-1: two senders push up to a limit while the supervisor moves the inbox to the queue.

use std::sync::Arc;

use loom::thread;

use super::explore::{Exclusive, Size, explore, push, segment, victim};
use crate::pure::words::{BlockUse, GateWord, Holder, Stamp};
use crate::shm::gate::{self, Take};
use crate::sync::{AtomicU64, Ordering, Word};
use crate::table::inbox::{self, Waiting};
use crate::table::queue;
use crate::table::segment::Segment;
use crate::table::slot::Output;

const GENERATION: u32 = 5;
const FIRST: Holder = 2;
const SECOND: Holder = 3;
/// A message is its number in `cookie`, its length 2 bytes.
const LENGTH: u32 = 2;

/// One connection; what its socket took: message and bytes. Who holds the gate is alone with it (GATE-1), or
/// loom reports the race.
struct Connection {
    segment: Arc<Segment>,
    socket: Exclusive<Vec<(u64, u32)>>,
    posts: AtomicU64,
}

impl Connection {
    fn gate(&self) -> &AtomicU64 {
        &self.segment.slots()[0].output.gate
    }
    fn write(&self, message: u64, bytes: u32) {
        self.socket.with(|taken| taken.push((message, bytes)));
    }
    fn output(&self) -> &Output {
        &self.segment.slots()[0].output
    }
    fn post(&self) {
        self.posts.fetch_add(1, Ordering::SeqCst);
    }
    fn message(&self, me: Holder, number: u64) -> u32 {
        let blocks = self.segment.blocks();
        let block = blocks.alloc(me).unwrap();
        let head = blocks.head(block).unwrap();
        head.cookie.set(number);
        head.length.set(LENGTH);
        block
    }
    fn push(&self, block: u32) {
        push(&self.segment, GENERATION, block);
        self.posts.fetch_add(1, Ordering::SeqCst);
    }
    /// As `roles::sender` does; `taken`: bytes that the kernel takes of a direct write.
    fn send(&self, me: Holder, number: u64, block: u32, taken: u32) {
        match gate::take_direct(self.gate(), GENERATION, me) {
            Take::Taken => {
                self.write(number, taken);
                self.output().bytes_out.bump(u64::from(taken));
                if taken == LENGTH {
                    if gate::release(self.gate()) {
                        self.posts.fetch_add(1, Ordering::SeqCst);
                    }
                } else {
                    let output = &self.segment.slots()[0].output;
                    let blocks = self.segment.blocks();
                    blocks.head(block).unwrap().written.set(taken);
                    queue::append(blocks, output, block, LENGTH - taken);
                    gate::release_async(self.gate());
                    self.posts.fetch_add(1, Ordering::SeqCst);
                }
            }
            Take::Busy => self.push(block),
            Take::Gone => panic!("nobody closes"),
        }
    }
    /// As `Call::put_to_batch` does, or what comes instead.
    fn answer(&self, number: u64, block: u32) {
        let gate = self.gate();
        match gate::begin_batch(gate, GENERATION, FIRST) {
            Take::Busy if !gate::take_batch(gate, GENERATION, FIRST) => self.push(block),
            Take::Gone => panic!("nobody closes {number}"),
            Take::Taken | Take::Busy => {
                queue::append(self.segment.blocks(), self.output(), block, LENGTH);
                gate::release_batch(gate);
            }
        }
    }
    /// As `batch::write` does; `taken`: bytes that the kernel takes.
    fn write_batch(&self, taken: u32) {
        let (blocks, output) = (self.segment.blocks(), self.output());
        if !gate::take_batch(self.gate(), GENERATION, FIRST) {
            self.post();
            return;
        }
        let (mut written, mut rest) = (0, taken);
        for first in blocks.list(output.queue_head.get()) {
            let head = blocks.head(first).unwrap();
            assert_eq!(head.written.get(), 0, "BATCH-2");
            let bytes = LENGTH.min(rest);
            if bytes > 0 {
                self.write(head.cookie.get(), bytes);
            }
            (written, rest) = (written + bytes, rest - bytes);
        }
        queue::take_out(blocks, output, FIRST, written);
        if output.queue_head.get() != 0 || !gate::end_async(self.gate()) {
            gate::release_async(self.gate());
            self.post();
        }
    }
    /// What the peer has whole, and what of the queue and the inbox it has not, when the worker has died: P8.
    fn end(&self, held: bool) -> Vec<u64> {
        let (blocks, output) = (self.segment.blocks(), self.output());
        let mut taken = 0;
        if held {
            queue::find_tail(blocks, output);
            let by_kernel = self
                .socket
                .with(|s| s.iter().map(|(_, n)| u64::from(*n)).sum());
            taken = queue::taken(blocks, output, by_kernel);
        }
        let mut reported = vec![];
        for first in blocks.list(output.queue_head.get()) {
            let head = blocks.head(first).unwrap();
            let left = LENGTH - head.written.get();
            if taken < left {
                reported.push(head.cookie.get());
            }
            taken = taken.saturating_sub(left);
        }
        let inbox = gate::take_inbox(self.gate(), |_| ());
        let inbox = blocks
            .list(inbox)
            .map(|b| blocks.head(b).unwrap().cookie.get());
        reported.extend(inbox);
        reported
    }
    /// As `Supervisor::flush` does; False: a sender holds the gate.
    fn flush(&self) -> bool {
        let (blocks, output) = (self.segment.blocks(), &self.segment.slots()[0].output);
        if gate::take_to_flush(self.gate(), 1).is_none() {
            return false;
        }
        loop {
            inbox::take(blocks, output, |_| ());
            while let Some(first) = queue::pop(blocks, output) {
                let head = blocks.head(first).unwrap();
                let left = LENGTH - head.written.get();
                self.write(head.cookie.get(), left);
                output.bytes_out.bump(u64::from(left));
                output.queued_bytes.set(output.queued_bytes.get() - left);
            }
            if gate::end_async(self.gate()) {
                return true;
            }
        }
    }
}

#[test]
fn two_senders_lose_and_double_nothing() {
    model(Size::Small, &[10], &[20], false);
}

#[test]
fn a_sender_and_the_supervisor_lose_and_double_nothing() {
    model(Size::Small, &[10], &[], true);
}

#[test]
fn no_message_is_overtaken() {
    model(Size::Large, &[10, 11], &[20], true);
}

/// The messages of the first sender, of whose first one the kernel takes a part, and of the second; whether
/// the supervisor flushes beside them, or only afterwards.
fn model(size: Size, numbers: &'static [u64], others: &'static [u64], flushing: bool) {
    let segment = segment();
    gate::open(&segment.slots()[0].output.gate, GENERATION, 0);
    explore(size, move |changes| {
        let posts = AtomicU64::new(0);
        let socket = Exclusive::new(vec![]);
        let connection = Connection {
            segment: segment.clone(),
            socket,
            posts,
        };
        // All words are used once before the threads start; the gate is direct again afterwards.
        let blocks = [10, 11, 20].map(|number| connection.message(FIRST, number));
        connection.push(connection.message(FIRST, 1));
        assert!(connection.flush());
        connection.posts.swap(0, Ordering::SeqCst);

        let connection = Arc::new(connection);
        let [a, b] = [(); 2].map(|()| connection.clone());
        let first = victim(changes, move || {
            for (number, block) in numbers.iter().zip(blocks) {
                a.send(
                    FIRST,
                    *number,
                    block,
                    if *number == 10 { 1 } else { LENGTH },
                );
            }
        });
        let second = thread::spawn(move || {
            for number in others {
                b.send(SECOND, *number, blocks[2], LENGTH);
            }
        });
        if flushing {
            // What a sender keeps it from flushing now, that sender has to post again.
            connection.posts.swap(0, Ordering::SeqCst);
            connection.flush();
        }
        let stopped = first.join().unwrap().is_none();
        second.join().unwrap();

        let word = gate::load(connection.gate());
        let mut sent_whole = vec![];
        if stopped {
            // P8: a gate that the dead one held ends the connection, whatever is queued is reported.
            let held = gate::evict(connection.gate(), FIRST);
            let _ = held || connection.flush();
            let told = gate::take_inbox(connection.gate(), |_| ());
            sent_whole.extend(
                segment
                    .blocks()
                    .list(told)
                    .map(|b| segment.blocks().head(b).unwrap().cookie.get()),
            );
        } else if connection.posts.load_sync() > 0 {
            assert!(
                connection.flush(),
                "GATE-1: nobody holds it any more: {word:?}"
            );
        } else {
            assert!(word.is_direct(), "who queues posts: {word:?}");
        }
        let socket = connection.socket.with(|taken| taken.clone());
        let mut at = socket
            .iter()
            .filter(|(number, _)| *number != 1)
            .copied()
            .peekable();
        while let Some((number, mut bytes)) = at.next() {
            if bytes < LENGTH && at.peek().is_some_and(|next| next.0 == number) {
                bytes += at.next().unwrap().1;
            }
            assert!(
                bytes == LENGTH || stopped,
                "GATE-2: {number} is interrupted: {socket:?}"
            );
            sent_whole.push(number);
        }
        let place = |number| sent_whole.iter().position(|sent| *sent == number);
        let count = |number| sent_whole.iter().filter(|sent| **sent == number).count();
        for number in others {
            assert_eq!(count(*number), 1, "the other's message: {socket:?}");
        }
        assert!(
            numbers.iter().all(|number| count(*number) <= 1),
            "doubled: {socket:?}"
        );
        let places = numbers.iter().map(|number| place(*number));
        assert!(
            stopped || places.is_sorted(),
            "GATE-2: overtaken: {socket:?}"
        );
        let lost = numbers.iter().any(|number| count(*number) == 0);
        assert!(stopped || !lost, "lost: {socket:?}");
    });
}

#[test]
fn a_batch_loses_and_doubles_nothing() {
    batch(Size::Small, 4, false);
}

#[test]
fn a_batch_that_the_kernel_takes_in_part_loses_and_doubles_nothing() {
    batch(Size::Small, 3, false);
}

#[test]
fn a_batch_is_not_overtaken() {
    batch(Size::Large, 3, true);
}

/// A worker's two answers wait for each other and are written, of which the kernel takes `taken` bytes; beside
/// another sender, and the supervisor.
fn batch(size: Size, taken: u32, flushing: bool) {
    let segment = segment();
    gate::open(&segment.slots()[0].output.gate, GENERATION, 0);
    explore(size, move |changes| {
        let connection = Connection {
            segment: segment.clone(),
            socket: Exclusive::new(vec![]),
            posts: AtomicU64::new(0),
        };
        let blocks = [10, 11, 20].map(|number| connection.message(FIRST, number));
        for block in blocks {
            let stamp = Stamp::new(BlockUse::Message, FIRST, 0, GENERATION);
            segment.blocks().stamp_chain(block, stamp);
        }
        // All words are used once before the threads start.
        connection.push(connection.message(FIRST, 1));
        assert!(connection.flush());
        connection.posts.swap(0, Ordering::SeqCst);

        let connection = Arc::new(connection);
        let accepted = Arc::new(std::sync::Mutex::new(vec![20]));
        let (a, b, returned) = (connection.clone(), connection.clone(), accepted.clone());
        let worker = victim(changes, move || {
            for (number, block) in [(10, blocks[0]), (11, blocks[1])] {
                a.answer(number, block);
                returned.lock().unwrap().push(number);
            }
            a.write_batch(taken);
        });
        let sender = thread::spawn(move || b.send(SECOND, 20, blocks[2], LENGTH));
        if flushing {
            connection.posts.swap(0, Ordering::SeqCst);
            connection.flush();
        }
        let stopped = worker.join().unwrap().is_none();
        sender.join().unwrap();

        let mut reported = vec![];
        if stopped {
            let held = gate::evict(connection.gate(), FIRST);
            reported = connection.end(held);
        } else if connection.posts.load_sync() > 0 {
            assert!(connection.flush(), "GATE-1: nobody holds it any more");
        } else {
            assert!(gate::load(connection.gate()).is_direct(), "BATCH-1");
        }
        let socket = connection.socket.with(|taken| taken.clone());
        let bytes = |number| {
            let parts = socket.iter().filter(|(of, _)| *of == number);
            parts.map(|(_, bytes)| *bytes).sum::<u32>()
        };
        for number in [10, 11, 20] {
            let told = reported.iter().filter(|of| **of == number).count();
            let whole = usize::from(bytes(number) == LENGTH);
            assert!(
                bytes(number) <= LENGTH && told + whole <= 1,
                "doubled: {socket:?} {reported:?}"
            );
            let lost = told + whole == 0 && accepted.lock().unwrap().contains(&number);
            assert!(!lost, "{number} is lost: {socket:?} {reported:?}");
        }
        let mut order: Vec<u64> = socket.iter().map(|(number, _)| *number).collect();
        order.dedup();
        let mut once = order.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(order.len(), once.len(), "interrupted: {socket:?}");
        let own: Vec<&u64> = order.iter().filter(|number| **number != 20).collect();
        assert!(own.is_sorted(), "overtaken: {socket:?}");
    });
}

/// Length of the message that waits before those of the senders.
const BEFORE: u32 = 3;

#[test]
fn what_fits_is_admitted_while_the_inbox_is_moved() {
    limit(2 * LENGTH, [&[10], &[20]], 2, false);
}

#[test]
fn what_does_not_fit_is_refused_while_the_inbox_is_moved() {
    limit(2 * LENGTH - 1, [&[10, 20], &[]], 1, false);
}

/// The block of what is written is had again, for a message of another length, and the gate comes back to the same word.
#[test]
fn what_fits_is_admitted_while_the_inbox_is_written() {
    limit(2 * LENGTH, [&[10], &[20]], 2, true);
}

/// One message waits, two senders push those of these numbers, and the supervisor moves the inbox twice and writes, if
/// `written`, what it has moved first. `room`: so many of theirs are admitted, of which `most` bytes fit behind the first.
fn limit(most: u32, numbers: [&'static [u64]; 2], room: usize, written: bool) {
    let segment = segment();
    explore(Size::Deep, move |changes| {
        let (blocks, output) = (segment.blocks(), &segment.slots()[0].output);
        gate::open(&output.gate, GENERATION, GateWord::ASYNC);
        for word in [&output.queue_head, &output.queue_tail, &output.queued_bytes] {
            word.set(0);
        }
        output.bytes_out.set(0);
        let first = blocks.alloc(FIRST).unwrap();
        blocks.head(first).unwrap().length.set(BEFORE);
        push(&segment, GENERATION, first);
        let [first, second] = numbers.map(|numbers| {
            let segment = segment.clone();
            move || {
                let (blocks, output) = (segment.blocks(), &segment.slots()[0].output);
                let push = |number: &&u64| {
                    let block = blocks.alloc(FIRST).unwrap();
                    let head = blocks.head(block).unwrap();
                    head.cookie.set(**number);
                    head.length.set(LENGTH);
                    let admit = |_, waiting: Waiting| match waiting.all() + u64::from(LENGTH) {
                        bytes if bytes > u64::from(BEFORE + most) => Err(()),
                        _ => Ok(()),
                    };
                    inbox::push(blocks, output, GENERATION, block, admit).is_ok()
                };
                numbers.iter().filter(push).count()
            }
        });
        let first = victim(changes, first);
        let second = thread::spawn(second);
        gate::take_to_flush(&output.gate, 1).unwrap();
        inbox::take(blocks, output, |_| ());
        if written {
            queue::take_out(blocks, output, 1, output.queued_bytes.get());
        }
        inbox::take(blocks, output, |_| ());
        let first = first.join().unwrap();
        let second = second.join().unwrap();

        let waiting = inbox::waiting(blocks, output, gate::load(&output.gate));
        inbox::take(blocks, output, |_| ());
        let lasting = inbox::waiting(blocks, output, gate::load(&output.gate));
        assert!(written || waiting.all() == lasting.all(), "INBOX-1");
        let heads = blocks.list(output.queue_head.get());
        let lengths = heads.map(|first| u64::from(blocks.head(first).unwrap().length.get()));
        assert_eq!(lasting.all(), lengths.sum::<u64>(), "INBOX-1");
        let all = lasting.all() + output.bytes_out.get();
        let fits = u64::from(BEFORE) + room as u64 * u64::from(LENGTH);
        assert!(all <= fits, "INBOX-1: {all} bytes are queued");
        if let Some(first) = first {
            assert_eq!((first + second, all), (room, fits), "INBOX-1");
        }
    });
}
