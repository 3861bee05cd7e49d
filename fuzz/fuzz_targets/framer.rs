//! The framer: any split of a stream gives the same messages, pings and errors at the same bytes.
//!
//! Input: one byte of settings, four that choose a split, then the stream. What the framer found is
//! also put to whoever relies on it: each message alone is one message, and the answer to a request
//! that cannot be framed is one too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipwire::pure::answer::{self, Kind};
use sipwire::pure::framing::{FrameError, Framer, Limits, Step};

/// What happened, with offsets from the stream's beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Message {
        start: usize,
        end: usize,
        header: u32,
        body: u32,
    },
    Ping {
        end: usize,
    },
    Crlf {
        end: usize,
    },
    Bad {
        start: usize,
        end: usize,
        error: FrameError,
        header: Option<u32>,
    },
    Unfinished {
        start: usize,
    },
}

/// Feeds pieces, each with its time; between any two calls the framer is parked as words.
fn events<'a>(pieces: impl Iterator<Item = (&'a [u8], u32)>, limits: &Limits) -> Vec<Event> {
    let mut events = Vec::new();
    let mut words = Framer::default().to_words();
    let (mut base, mut begun) = (0, None);
    for (piece, now_ms) in pieces {
        let mut at = 0;
        loop {
            let mut framer = Framer::from_words(words);
            assert_eq!(framer.to_words(), words);
            let step = framer.feed(&piece[at..], now_ms, limits);
            words = framer.to_words();
            let from = |start: usize| {
                assert!(
                    begun.is_none() || start == 0,
                    "a message begins inside another one"
                );
                begun.unwrap_or(base + at + start)
            };
            match step {
                Step::More { start } => {
                    begun = framer.in_message().then(|| from(start));
                    break;
                }
                Step::Message {
                    start,
                    end,
                    header_length: header,
                    body_length: body,
                } => {
                    let start = from(start);
                    at += end;
                    events.push(Event::Message {
                        start,
                        end: base + at,
                        header,
                        body,
                    });
                    begun = None;
                }
                Step::Ping { end } => {
                    assert!(begun.is_none() && end > 0);
                    at += end;
                    events.push(Event::Ping { end: base + at });
                }
                Step::Crlf { end } => {
                    assert!(begun.is_none());
                    at += end;
                    events.push(Event::Crlf { end: base + at });
                }
                Step::Bad {
                    start,
                    end,
                    error,
                    header_length: header,
                } => {
                    let start = from(start);
                    events.push(Event::Bad {
                        start,
                        end: base + at + end,
                        error,
                        header,
                    });
                    return events;
                }
            }
        }
        base += piece.len();
    }
    events.extend(begun.map(|start| Event::Unfinished { start }));
    events
}

/// Pieces of 1 to 64 bytes, as the seed has it.
fn split(stream: &[u8], seed: u32) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (stream, seed | 1);
    std::iter::from_fn(move || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = rest
            .len()
            .min(1 + (state as usize >> 8) % [2, 8, 64][state as usize % 3]);
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The message is one for whoever sees it alone, and for whoever counts the answers that are owed.
fn check_message(message: &[u8], header: u32, body: u32, limits: &Limits) {
    assert_eq!(message.len(), (header + body) as usize);
    assert!(message.len() <= limits.max_message_bytes as usize);
    assert_eq!(message[header as usize - 1], b'\n');
    let step = Framer::default().feed(message, 0, limits);
    let (start, end) = (0, message.len());
    assert_eq!(
        step,
        Step::Message {
            start,
            end,
            header_length: header,
            body_length: body
        }
    );
    // What is framed as a request is owed an answer. A status line is judged by who reads the status.
    if !(message[..4].eq_ignore_ascii_case(b"SIP/") && message[7] == b' ') {
        assert!(matches!(answer::kind(message), Kind::Request { .. }));
    }
}

/// The answer is one whole response without a body.
fn check_answer(request: &[u8]) {
    let mut out = Vec::new();
    if answer::error_answer(
        request,
        400,
        "Bad Request",
        Some(("192.0.2.1", 5060)),
        &mut out,
    ) {
        let limits = Limits {
            max_message_bytes: u32::MAX,
            accept_no_content_length: false,
        };
        match Framer::default().feed(&out, 0, &limits) {
            Step::Message {
                start: 0,
                end,
                body_length: 0,
                ..
            } => assert_eq!(end, out.len()),
            step => panic!("{step:?} in {}", out.escape_ascii()),
        }
        assert_eq!(answer::kind(&out), Kind::Response { status: 400 });
    } else {
        assert!(out.is_empty());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[settings, a, b, c, d], stream)) = data.split_first_chunk() else {
        return;
    };
    let limits = Limits {
        max_message_bytes: [65_536, 4_096, 300, 40][settings as usize & 3],
        accept_no_content_length: settings & 4 != 0,
    };
    let now_ms = u32::from_be_bytes([d, c, b, a]);
    let whole = events([(stream, now_ms)].into_iter(), &limits);
    let bytes = stream.chunks(1).map(|byte| (byte, now_ms));
    assert_eq!(events(bytes, &limits), whole, "byte by byte");
    // A ping may be under way for a second.
    let pieces = split(stream, now_ms);
    let timed = pieces.scan(0, |late, piece| {
        let time = (piece, now_ms.wrapping_add(*late));
        *late = (*late + 1).min(1_000);
        Some(time)
    });
    assert_eq!(events(timed, &limits), whole, "split by {now_ms:#x}");

    for event in whole {
        match event {
            Event::Message {
                start,
                end,
                header,
                body,
            } => {
                check_message(&stream[start..end], header, body, &limits);
            }
            Event::Bad {
                start,
                end,
                error,
                header,
            } => {
                assert_eq!(
                    header.is_some(),
                    !matches!(error, FrameError::NotSip | FrameError::HeaderTooLarge)
                );
                if let Some(header) = header {
                    assert_eq!(end - start, header as usize);
                    check_answer(&stream[start..end]);
                }
            }
            Event::Ping { end } => assert_eq!(&stream[end - 4..end], b"\r\n\r\n"),
            // A CR behind the CRLF may have looked like the second half of a ping.
            Event::Crlf { end } => {
                let before = stream[..end].strip_suffix(b"\r").unwrap_or(&stream[..end]);
                assert!(before.ends_with(b"\r\n"));
            }
            Event::Unfinished { start } => check_answer(&stream[start..]),
        }
    }
});
