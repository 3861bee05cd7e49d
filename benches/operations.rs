//! The operations whose cost is of interest alone: each closure does one, ready to be done again.

#![allow(clippy::indexing_slicing, clippy::expect_used)] // a bench that cannot go on ends

use sipwire::pure::addr::Addr;
use sipwire::pure::framing::{Framer, Limits, Step};
use sipwire::pure::settings::Settings;
use sipwire::pure::words::{OwnerState, OwnerWord, Stamp};
use sipwire::shm::gate;
use sipwire::sync::Word;
use sipwire::table::inbox::{self, Waiting};
use sipwire::table::index;
use sipwire::table::queue;
use sipwire::table::segment::Segment;
use std::hint::black_box;

const LIMITS: Limits = Limits {
    max_message_bytes: 65_536,
    accept_no_content_length: false,
};
/// Connections in the table while one is looked up.
const CONNECTIONS: u32 = 10_000;
const GENERATION: u32 = 1;
const ME: u16 = 7;

pub type Operation = Box<dyn FnMut()>;
pub type Made = (&'static str, fn() -> Operation);

/// By name; each of the machine's own memory, so that they do not disturb each other.
pub fn all() -> Vec<Made> {
    vec![
        ("memchr_of_a_request", memchr_of_a_request),
        ("frame_a_request", frame_a_request),
        ("frame_it_in_two_reads", frame_it_in_two_reads),
        ("frame_eight_in_one_read", frame_eight_in_one_read),
        ("gate_direct", gate_direct),
        ("inbox_push_and_take", inbox_push_and_take),
        ("mailbox_post_and_take", mailbox_post_and_take),
        ("index_find", index_find),
        ("block_alloc_and_free", block_alloc_and_free),
        ("ring_push_and_pop", ring_push_and_pop),
    ]
}

/// 600 bytes, as a phone sends them.
pub fn request() -> Vec<u8> {
    let head = "OPTIONS sip:bench@192.0.2.1:5060;transport=tcp SIP/2.0\r\n\
        Via: SIP/2.0/TCP 192.0.2.77:49152;rport;branch=z9hG4bK0123456789\r\n\
        From: \"Alice\" <sip:alice@example.com>;tag=3f7a1b\r\n\
        To: <sip:bench@example.com>\r\n\
        Call-ID: 0123456789abcdef@192.0.2.77\r\n\
        CSeq: 1 OPTIONS\r\n\
        Contact: <sip:alice@192.0.2.77:49152;transport=tcp>\r\n\
        Max-Forwards: 70\r\n\
        User-Agent: bench\r\n\
        Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY\r\n\
        Supported: path, outbound, gruu\r\n";
    let tail = "Content-Length: 0\r\n\r\n";
    let missing = 600 - head.len() - tail.len() - "X-Fill: \r\n".len();
    format!("{head}X-Fill: {}\r\n{tail}", "x".repeat(missing)).into_bytes()
}

fn memchr_of_a_request() -> Operation {
    let bytes = request();
    Box::new(move || {
        black_box(memchr::memchr_iter(b'\n', black_box(&bytes)).count());
    })
}

/// Feeds all and says how many messages came out.
fn feed(framer: &mut Framer, bytes: &[u8]) -> usize {
    let (mut at, mut messages) = (0, 0);
    while at < bytes.len() {
        match framer.feed(&bytes[at..], 1, &LIMITS) {
            Step::Message { end, .. } => {
                at += end;
                messages += 1;
            }
            _ => break,
        }
    }
    messages
}

fn framing(pieces: Vec<Vec<u8>>, expected: usize) -> Operation {
    Box::new(move || {
        let mut framer = Framer::default();
        let messages: usize = pieces
            .iter()
            .map(|piece| feed(&mut framer, black_box(piece)))
            .sum();
        assert_eq!(messages, expected);
    })
}

fn frame_a_request() -> Operation {
    framing(vec![request()], 1)
}

fn frame_it_in_two_reads() -> Operation {
    let (first, second) = request().split_at(250).to_owned_pair();
    framing(vec![first, second], 1)
}

fn frame_eight_in_one_read() -> Operation {
    framing(vec![request().repeat(8)], 8)
}

trait Owned {
    fn to_owned_pair(self) -> (Vec<u8>, Vec<u8>);
}
impl Owned for (&[u8], &[u8]) {
    fn to_owned_pair(self) -> (Vec<u8>, Vec<u8>) {
        (self.0.to_vec(), self.1.to_vec())
    }
}

fn remote(n: u32) -> Addr {
    Addr::v4([10, (n >> 16) as u8, (n >> 8) as u8, n as u8], 5060)
}

/// A segment with connections in it.
fn segment() -> &'static Segment {
    let settings = Settings::new(2);
    let segment = Box::leak(Box::new(
        Segment::new(&settings, &[], false).expect("shared memory for the bench"),
    ));
    for n in 0..CONNECTIONS {
        let slot = segment.slot(n).expect("max_connections is larger");
        slot.set_addresses(&remote(n), &Addr::v4([10, 255, 0, 1], 5060));
        gate::open(&slot.output.gate, GENERATION, 0);
        let idle = OwnerWord::new(GENERATION, 0, OwnerState::Idle, 0);
        slot.input.owner.store_sync(idle.0);
        index::insert(segment, n);
    }
    segment
}

fn gate_direct() -> Operation {
    let gate = &segment().slot(0).expect("there is one").output.gate;
    Box::new(move || {
        assert!(gate::take_direct(gate, GENERATION, ME) == gate::Take::Taken);
        assert!(!gate::release(gate));
    })
}

/// A message pushed behind async mode, moved to the queue and taken out of it.
fn inbox_push_and_take() -> Operation {
    let segment = segment();
    let blocks = segment.blocks();
    let output = &segment.slot(1).expect("there is one").output;
    let message = blocks.alloc(ME).expect("the pool is empty");
    blocks.head(message).expect("a block").length.set(600);
    Box::new(move || {
        let admit = |_, waiting: Waiting| match waiting.all() {
            0 => Ok(()),
            more => Err(more),
        };
        let pushed = inbox::push(blocks, output, GENERATION, message, admit);
        assert!(pushed.is_ok());
        assert!(gate::take_to_flush(&output.gate, 1).is_some());
        assert_eq!(inbox::take(blocks, output, |_| {}), [message]);
        assert_eq!(queue::pop(blocks, output), Some(message));
        output.queued_bytes.set(0);
        assert!(gate::end_async(&output.gate));
    })
}

fn mailbox_post_and_take() -> Operation {
    let segment = segment();
    Box::new(move || {
        segment.mailbox().post(4_711);
        let mut taken = 0;
        segment.mailbox().take(|slot| taken += slot);
        assert_eq!(taken, 4_711);
    })
}

fn index_find() -> Operation {
    let segment = segment();
    let mut n = 0;
    Box::new(move || {
        n = (n + 7_919) % CONNECTIONS;
        let found = index::find(segment, &remote(n), &Addr::none());
        assert_eq!(found.map(|found| found.slot), Some(n));
    })
}

fn block_alloc_and_free() -> Operation {
    let blocks = segment().blocks();
    Box::new(move || {
        let index = blocks.alloc(ME).expect("the pool is empty");
        blocks.free_chain(black_box(index), ME);
    })
}

fn ring_push_and_pop() -> Operation {
    let segment = segment();
    let stamp = Stamp::FREE;
    Box::new(move || {
        let ring = segment.ring(0).expect("there is a worker");
        assert!(ring.push(1, black_box(stamp).0));
        assert!(ring.pop().is_some());
    })
}
