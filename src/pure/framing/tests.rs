#![allow(clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    max_message_bytes: 65_536,
    accept_no_content_length: false,
};

fn limit(max_message_bytes: u32) -> Limits {
    Limits {
        max_message_bytes,
        ..LIMITS
    }
}

/// What happened on a stream, with offsets from its beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// A CRLF by itself, up to here.
    Crlf {
        end: usize,
    },
    Bad {
        start: usize,
        end: usize,
        error: FrameError,
        header: Option<u32>,
    },
    /// The stream ended in a message that began here.
    Partial {
        start: usize,
    },
}

/// Feeds inputs with their times, parking the framer as words between any two calls.
fn run(inputs: &[(&[u8], u32)], limits: &Limits) -> Vec<Event> {
    let mut events = Vec::new();
    let mut words = [0; 5];
    let mut base = 0;
    let mut message_start = None;
    for &(input, now_ms) in inputs {
        let mut at = 0;
        loop {
            let mut framer = Framer::from_words(words);
            assert_eq!(framer.to_words(), words);
            assert_eq!(framer.in_message(), message_start.is_some());
            let step = framer.feed(&input[at..], now_ms, limits);
            words = framer.to_words();
            assert_eq!(Framer::from_words(words), framer);
            let begun = |start: usize| message_start.unwrap_or(base + at + start);
            if message_start.is_some() {
                match step {
                    Step::More { start }
                    | Step::Message { start, .. }
                    | Step::Bad { start, .. } => assert_eq!(start, 0),
                    Step::Ping { .. } | Step::Crlf { .. } => panic!("ping inside a message"),
                }
            }
            match step {
                Step::More { start } => {
                    assert!(start <= input.len() - at);
                    message_start = framer.in_message().then(|| begun(start));
                    if !framer.in_message() {
                        assert_eq!(start, input.len() - at);
                    }
                    break;
                }
                Step::Message {
                    start,
                    end,
                    header_length,
                    body_length,
                } => {
                    assert!(start < end || message_start.is_some());
                    assert_eq!(framer, Framer::default());
                    let start = begun(start);
                    let total = (header_length + body_length) as usize;
                    assert_eq!(base + at + end - start, total);
                    events.push(Event::Message {
                        start,
                        end: base + at + end,
                        header: header_length,
                        body: body_length,
                    });
                    message_start = None;
                    at += end;
                }
                Step::Ping { end } => {
                    assert_eq!(framer, Framer::default());
                    assert!(end > 0);
                    events.push(Event::Ping {
                        end: base + at + end,
                    });
                    at += end;
                }
                Step::Crlf { end } => {
                    assert_eq!(framer, Framer::default());
                    events.push(Event::Crlf {
                        end: base + at + end,
                    });
                    at += end;
                }
                Step::Bad {
                    start,
                    end,
                    error,
                    header_length,
                } => {
                    assert!(!framer.in_message());
                    let start = begun(start);
                    let end = base + at + end;
                    if let Some(length) = header_length {
                        assert_eq!(end - start, length as usize);
                    }
                    events.push(Event::Bad {
                        start,
                        end,
                        error,
                        header: header_length,
                    });
                    return events;
                }
            }
        }
        base += input.len();
    }
    if let Some(start) = message_start {
        events.push(Event::Partial { start });
    }
    events
}

fn whole(stream: &[u8], limits: &Limits) -> Vec<Event> {
    run(&[(stream, 0)], limits)
}

/// Whole, byte by byte, and cut in two at every place, which must all agree.
fn every_way(stream: &[u8], limits: &Limits) -> Vec<Event> {
    let events = whole(stream, limits);
    let bytes: Vec<(&[u8], u32)> = stream.chunks(1).map(|byte| (byte, 0)).collect();
    assert_eq!(run(&bytes, limits), events, "byte by byte");
    for cut in 0..stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(run(&[(head, 0), (tail, 0)], limits), events, "cut at {cut}");
    }
    events
}

fn message(start: usize, header: u32, body: u32) -> Event {
    Event::Message {
        start,
        end: start + (header + body) as usize,
        header,
        body,
    }
}

/// One message that fills the whole stream.
fn frames(stream: &[u8], body: u32) {
    let header = stream.len() as u32 - body;
    assert_eq!(
        every_way(stream, &LIMITS),
        [message(0, header, body)],
        "{}",
        stream.escape_ascii()
    );
}

fn error_of(stream: &[u8], limits: &Limits) -> FrameError {
    match every_way(stream, limits).last() {
        Some(Event::Bad { error, .. }) => *error,
        other => panic!("{other:?} from {}", stream.escape_ascii()),
    }
}

fn with_headers(headers: &str) -> Vec<u8> {
    format!("MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{headers}\r\n").into_bytes()
}

// ---------------------------------------------------------------- messages

#[test]
fn pipelined_messages_come_one_by_one() {
    let one = b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 5\r\n\r\nhello";
    let two = b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n";
    let three = b"ACK sip:a@b SIP/2.0\nL:2\n\nxy";
    let stream = [&one[..], two, three].concat();
    let (a, b) = (one.len(), one.len() + two.len());
    assert_eq!(
        every_way(&stream, &LIMITS),
        [
            message(0, a as u32 - 5, 5),
            message(a, two.len() as u32, 0),
            message(b, three.len() as u32 - 2, 2),
        ]
    );
}

#[test]
fn content_length_is_found_in_every_legal_form() {
    for header in [
        "Content-Length: 5\r\n",
        "content-length:5\r\n",
        "CONTENT-LENGTH \t : \t 5 \t \r\n",
        "l:5\r\n",
        "L \t:5\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length:\r\n \r\n\t5\r\n",
        "l\t:\n\t\n 5\n \n",
        "Content-Length: 5\r\n \r\n",
        "Content-Length: 0000000000000000000005\r\n",
        "l: 5\r\nX: y\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nno colon here\r\n\rodd\r\n",
        "l: 5, 5\r\n",
        "l: 5,5 ,\t5\r\n",
        "l: 5,\r\n 5\r\n",
        "l: 5\r\n ,05\r\nContent-Length: 5\r\n",
        "Cont: 9\r\nContent-Lengthy: 9\r\nContent-Length-X: 9\r\nlx: 9\r\nl\r\n : 9\r\nc\r\nl: 5\r\n",
        "Content-Length\r\n : 9\r\nl: 5\r\n",
        "Content_Length: 9\r\nl: 5\r\n",
    ] {
        let mut stream = with_headers(header);
        stream.extend(b"hello");
        frames(&stream, 5);
    }
}

#[test]
fn a_folded_line_never_frames() {
    for header in [
        "Subject: x\r\n Content-Length: 99\r\nl: 5\r\n",
        "Subject: x\r\n l: 99\r\nl: 5\r\n",
        "Subject: x\n\tl: 99\nContent-Length: 5\r\n",
        "l: 5\r\nSubject: x\r\n\tContent-Length: 99\r\n",
        "Subject: x\r\n \r\n l: 99\r\nl: 5\r\n",
    ] {
        let mut stream = with_headers(header);
        stream.extend(b"hello");
        frames(&stream, 5);
    }
    // Behind the first line too.
    frames(b"A b SIP/2.0\r\n l: 99\r\nl: 0\r\n\r\n", 0);
}

#[test]
fn a_folded_line_behind_a_length_belongs_to_its_value() {
    let stream = with_headers("l: 5\r\n l: 99\r\n");
    assert_eq!(error_of(&stream, &LIMITS), FrameError::LengthInvalid);
}

#[test]
fn bodies_are_opaque() {
    let body = b"\0\xFF\r\n\r\nINVITE sip:a SIP/2.0\r\nl: 99\r\n\r\n\n\n";
    let mut stream = with_headers(&format!("l: {}\r\n", body.len()));
    stream.extend(body);
    frames(&stream, body.len() as u32);
}

#[test]
fn a_message_without_length_ends_at_its_empty_line_when_accepted() {
    let limits = Limits {
        accept_no_content_length: true,
        ..LIMITS
    };
    let stream = with_headers("");
    let size = stream.len() as u32;
    assert_eq!(every_way(&stream, &limits), [message(0, size, 0)]);
    assert_eq!(error_of(&stream, &LIMITS), FrameError::LengthMissing);
    let with_body = [&with_headers("l: 2\r\n")[..], b"xy"].concat();
    let header = with_body.len() as u32 - 2;
    assert_eq!(every_way(&with_body, &limits), [message(0, header, 2)]);
}

#[test]
fn first_lines_of_sip_are_recognised() {
    for first in [
        "INVITE sip:a@b SIP/2.0",
        "x-%!*_+`'~.9 sip:a@b sip/2.0",
        "SIP sip:a SIP/2.0",
        "SI sip:a SIP/2.0",
        "SIPS sip:a SIP/2.0",
        "Sip/2.0 180 Ringing",
        "SIP/2.0 ",
        "INVITE sip:a@b;x= SIP/2.0 SIP/2.0",
        "INVITE sip:a@b  SIP/2.0  SIP/2.0",
        "INVITE sip:a@b SIP/2.0 x SIP/2.0",
        "OPTIONS sip:a@b SIP/2.0  ",
        "OPTIONS sip:a@b SIP/2.0 \t ",
        "OPTIONS sip:a@b\t SIP/2.0",
        "OPTIONS sip:a@b SIP/7.0",
        "SIP/3.1 200 OK",
    ] {
        frames(format!("{first}\r\nl: 0\r\n\r\n").as_bytes(), 0);
        frames(format!("{first}\nl: 0\n\n").as_bytes(), 0);
    }
}

// ---------------------------------------------------------------- errors

#[test]
fn foreign_protocols_are_refused_as_soon_as_they_show() {
    for (stream, end) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], 1),
        (b"\0\x01\0\x08", 1),
        (b"\x80abc", 1),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 16),
        (b"HTTP/1.1 200 OK\r\n", 5),
        (b"SIP/x.0 200 OK\r\n", 5),
        (b"SIP/20.0 200 OK\r\n", 6),
        (b"SIP/2.0\r\n\r\n", 8),
        (b"SIP/2.01 200", 8),
        (b"INVITE\r\nl: 0\r\n", 7),
        (b"INVITE\tsip:a SIP/2.0\r\n", 7),
        (b"{\"json\":1}", 1),
        (b": x\r\n", 1),
        (b"INVITE sip:a SIP/7.x\r\n", 22),
        (b"INVITE sip:a SIP/10.0\r\n", 23),
        (b"INVITE sip:aSIP/2.0\r\n", 21),
        (b"INVITE sip:a\tSIP/2.0\r\n", 22),
        (b"INVITE sip:a SIP/2.0 \tSIP/2.0\r\n", 31),
        (b"INVITE sip:a SIP/2.0 SIP/2\r\n", 28),
        (b"INVITE sip:a SIP/2.0x\r\n", 23),
        (b"INVITE sip:a \n", 14),
    ] {
        let expected = Event::Bad {
            start: 0,
            end,
            error: FrameError::NotSip,
            header: None,
        };
        assert_eq!(
            every_way(stream, &LIMITS),
            [expected],
            "{}",
            stream.escape_ascii()
        );
    }
}

#[test]
fn a_first_line_without_end_is_not_sip() {
    let mut stream = b"INVITE sip:".to_vec();
    stream.resize(8192 - 10, b'x');
    stream.extend(b" SIP/2.0\r\n");
    assert_eq!(stream.len(), 8192);
    let full = whole(&stream, &LIMITS);
    assert_eq!(full, [Event::Partial { start: 0 }]);
    stream.insert(8000, b'x');
    let expected = Event::Bad {
        start: 0,
        end: 8192,
        error: FrameError::NotSip,
        header: None,
    };
    assert_eq!(whole(&stream, &LIMITS), std::slice::from_ref(&expected));
    let bytes: Vec<(&[u8], u32)> = stream.chunks(1).map(|byte| (byte, 0)).collect();
    assert_eq!(run(&bytes, &LIMITS), [expected]);
}

#[test]
fn values_that_are_no_number_are_invalid() {
    for header in [
        "Content-Length:\r\n",
        "Content-Length: \r\n \r\n",
        "l: -5\r\n",
        "l: +5\r\n",
        "l: 5x\r\n",
        "l: 0x5\r\n",
        "l: 5,\r\n",
        "l: ,5\r\n",
        "l: 5,,5\r\n",
        "l: 5, 5x\r\n",
        "l: 5;a\r\n",
        "l: 4294967296\r\n",
        "l: 99999999999\r\nl: 5\r\n",
        "l: 5, 99999999999999999999999999999999999999999999\r\n",
        "l: 5 5\r\n",
        "l: 5\r\n 5\r\n",
        "l: 5\r 5\r\n",
        "l: \r5\r\n",
        "l: 5\r\r\n",
        "l: \"5\"\r\n",
        "l:: 5\r\n",
        "l: 5\0\r\n",
        "l: 5\x0c\r\n",
        // The worse error wins, wherever it stands.
        "l: 5\r\nl: 6\r\nl:\r\n",
        "l:\r\nl: 5\r\nl: 6\r\n",
    ] {
        let stream = with_headers(header);
        let expected = Event::Bad {
            start: 0,
            end: stream.len(),
            error: FrameError::LengthInvalid,
            header: Some(stream.len() as u32),
        };
        assert_eq!(every_way(&stream, &LIMITS), [expected], "{header:?}");
    }
}

#[test]
fn lengths_that_differ_conflict() {
    for header in [
        "l: 0\r\nContent-Length: 4\r\n",
        "l: 4\r\nX: y\r\nl: 4\r\nl: 5\r\n",
        "l: 5\r\nl: 4\r\nl: 5\r\n",
        "l: 5, 6\r\n",
        "l: 5, 5\r\nl: 6\r\n",
        "l: 4294967295\r\nl: 5\r\n",
    ] {
        let error = error_of(&with_headers(header), &LIMITS);
        assert_eq!(error, FrameError::LengthConflict, "{header:?}");
    }
}

#[test]
fn length_errors_wait_for_the_empty_line() {
    let stream = b"MESSAGE sip:a@b SIP/2.0\r\nl: -5\r\nl: 4\r\n";
    assert_eq!(every_way(stream, &LIMITS), [Event::Partial { start: 0 }]);
}

#[test]
fn a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let stream = [&with_headers("l: 5\r\n")[..], b"hello"].concat();
    let size = stream.len() as u32;
    assert_eq!(every_way(&stream, &limit(size)), [message(0, size - 5, 5)]);
    let expected = Event::Bad {
        start: 0,
        end: stream.len() - 5,
        error: FrameError::TooLarge,
        header: Some(size - 5),
    };
    assert_eq!(every_way(&stream, &limit(size - 1)), [expected]);
}

#[test]
fn huge_lengths_are_too_large_at_any_limit() {
    for digits in ["65536", "4294967295"] {
        let stream = with_headers(&format!("l: {digits}\r\n"));
        assert_eq!(error_of(&stream, &LIMITS), FrameError::TooLarge);
    }
    let stream = with_headers("l: 4294967295\r\n");
    assert_eq!(error_of(&stream, &limit(u32::MAX)), FrameError::TooLarge);
}

#[test]
fn a_header_block_that_passes_the_limit_is_cut_there() {
    let stream = with_headers("Subject: a long story\r\nl: 0\r\n");
    let size = stream.len();
    frames(&stream, 0);
    for max in 1..size {
        let expected = Event::Bad {
            start: 2,
            end: 2 + max,
            error: FrameError::HeaderTooLarge,
            header: None,
        };
        let stream = [b"\r\n", &stream[..]].concat();
        assert_eq!(
            every_way(&stream, &limit(max as u32)),
            [Event::Crlf { end: 2 }, expected],
            "limit {max}"
        );
    }
}

#[test]
fn a_limit_lowered_inside_a_header_block_holds_at_once() {
    let mut framer = Framer::default();
    framer.feed(b"INVITE sip:a@b SIP/2.0\r\nX: y", 0, &LIMITS);
    assert_eq!(
        framer.feed(b"yy", 0, &limit(10)),
        Step::Bad {
            start: 0,
            end: 0,
            error: FrameError::HeaderTooLarge,
            header_length: None
        }
    );
}

#[test]
fn a_limit_of_nothing_admits_nothing() {
    assert_eq!(
        error_of(b"\r\nINVITE", &limit(0)),
        FrameError::HeaderTooLarge
    );
}

#[test]
fn a_lost_stream_stays_lost() {
    let stream = with_headers("l: x\r\n");
    let mut framer = Framer::default();
    framer.feed(&stream, 0, &LIMITS);
    let mut framer = Framer::from_words(framer.to_words());
    assert_eq!(
        framer.feed(b"INVITE sip:a SIP/2.0\r\nl: 0\r\n\r\n", 0, &LIMITS),
        Step::Bad {
            start: 0,
            end: 0,
            error: FrameError::LengthInvalid,
            header_length: Some(stream.len() as u32)
        }
    );
}

// ---------------------------------------------------------------- between messages

#[test]
fn what_precedes_a_message_is_no_part_of_it() {
    let one = b"A b SIP/2.0\nl:0\n\n";
    for (before, pings) in [
        (&b"\r\n"[..], 0),
        (b"\n", 0),
        (b"\n\n\n\n", 0),
        (b"\r", 0),
        (b" \t ", 0),
        (b"\r\n\r", 0),
        (b"\r\n\n", 0),
        (b"\r\n \r\n", 0),
        (b"\n\r\n\r", 0),
        (b"\r\n\r\n", 1),
        (b"\r\n\r\n\r\n", 1),
        (b"\n\r\n\r\n", 1),
        (b"\r\r\n\r\n", 1),
        (b"\r\n\r\r\n\r\n", 1),
        (b" \r\n\r\n", 1),
        (b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n", 3),
    ] {
        let stream = [before, one].concat();
        let mut events = every_way(&stream, &LIMITS);
        events.retain(|event| !matches!(event, Event::Crlf { .. }));
        let found = events.len() - 1;
        assert_eq!(found, pings, "{}", before.escape_ascii());
        assert_eq!(
            events.last(),
            Some(&message(before.len(), one.len() as u32, 0)),
            "{}",
            before.escape_ascii()
        );
    }
}

#[test]
fn bytes_of_a_lone_crlf_start_no_message() {
    let mut framer = Framer::default();
    for byte in [b"\r", b"\n", b"\r"] {
        assert_eq!(framer.feed(byte, 0, &LIMITS), Step::More { start: 1 });
        assert!(!framer.in_message());
    }
    assert_eq!(framer.feed(b" ", 0, &LIMITS), Step::Crlf { end: 0 });
    assert_eq!(framer.feed(b" ", 0, &LIMITS), Step::More { start: 1 });
    assert!(!framer.in_message());
}

#[test]
fn lone_crlfs_never_add_up_to_a_ping() {
    let pongs: Vec<(&[u8], u32)> = (0..100).map(|n| (&b"\r\n"[..], n * 1001)).collect();
    assert_eq!(run(&pongs, &LIMITS), []);
    // The age counts from the first byte, so single bytes cannot keep old ones alive.
    let bytes: [(&[u8], u32); 4] = [(b"\r", 0), (b"\n", 600), (b"\r", 1200), (b"\n", 1800)];
    assert_eq!(run(&bytes, &LIMITS), []);
}

#[test]
fn a_split_ping_counts_while_it_is_young_also_over_the_clock_wrap() {
    let wrap = u32::MAX - 300;
    let bytes: [(&[u8], u32); 4] = [
        (b"\r", wrap),
        (b"\n", wrap + 300),
        (b"\r", wrap.wrapping_add(600)),
        (b"\n", wrap.wrapping_add(1000)),
    ];
    assert_eq!(run(&bytes, &LIMITS), [Event::Ping { end: 4 }]);
    let late: [(&[u8], u32); 2] = [(b"\r\n", wrap), (b"\r\n", wrap.wrapping_add(1001))];
    assert_eq!(run(&late, &LIMITS), []);
}

#[test]
fn a_ping_leaves_nothing_behind() {
    let inputs: [(&[u8], u32); 3] = [(b"\r\n\r\n\r\n", 0), (b"\r", 10), (b"\n", 20)];
    assert_eq!(
        run(&inputs, &LIMITS),
        [Event::Ping { end: 4 }, Event::Ping { end: 8 }]
    );
}

#[test]
fn an_old_residue_does_not_make_a_new_byte_old() {
    let inputs: [(&[u8], u32); 3] = [(b"\r\n", 0), (b"\r\n", 5000), (b"\r\n", 5900)];
    assert_eq!(run(&inputs, &LIMITS), [Event::Ping { end: 6 }]);
}

// ---------------------------------------------------------------- the end of the stream

#[test]
fn only_a_message_in_its_body_can_be_answered_when_the_stream_ends() {
    let header = with_headers("l: 5\r\n");
    let mut framer = Framer::default();
    assert_eq!(framer.header_before_body(), None);
    framer.feed(&header[..header.len() - 1], 0, &LIMITS);
    assert_eq!(framer.header_before_body(), None);
    framer.feed(b"\n", 0, &LIMITS);
    assert_eq!(framer.header_before_body(), Some(header.len() as u32));
    framer.feed(b"hell", 0, &LIMITS);
    assert_eq!(framer.header_before_body(), Some(header.len() as u32));
    framer.feed(b"o", 0, &LIMITS);
    assert_eq!(framer.header_before_body(), None);
}

/// What a reader that awaits a pong makes of reads with their times: (pongs, pings).
fn awaiting(reads: &[(&[u8], u32)]) -> (usize, usize) {
    let mut framer = Framer::default();
    let (mut pongs, mut pings, mut awaited) = (0, 0, true);
    for &(read, now_ms) in reads {
        let mut at = 0;
        if awaited {
            framer.await_pong(now_ms);
        }
        while at < read.len() {
            match framer.feed(&read[at..], now_ms, &LIMITS) {
                Step::More { .. } => at = read.len(),
                Step::Ping { end } => (at, pings) = (at + end, pings + 1),
                Step::Crlf { end } => {
                    at += end;
                    pongs += usize::from(core::mem::take(&mut awaited));
                }
                Step::Message { end, .. } => at += end,
                Step::Bad { .. } => panic!("bad"),
            }
        }
        if awaited && framer.take_crlf() {
            awaited = false;
            pongs += 1;
        }
    }
    (pongs, pings)
}

#[test]
fn an_awaited_pong_is_told_from_a_ping() {
    let message = with_headers("l: 0\r\n");
    let glued = [b"\r\n", message.as_slice()].concat();
    let behind = [message.as_slice(), b"\r\n"].concat();
    let blanks = b"\r\n \r\n";
    assert_eq!(awaiting(&[(b"\r\n", 0)]), (1, 0), "whole");
    assert_eq!(awaiting(&[(b"\r", 0), (b"\n", 9)]), (1, 0), "in two pieces");
    assert_eq!(awaiting(&[(b"\r", 0), (b"\n", 5000)]), (1, 0), "slowly");
    assert_eq!(awaiting(&[(&glued, 0)]), (1, 0), "in front of a message");
    assert_eq!(
        awaiting(&[(b"\r", 0), (&glued[1..], 1)]),
        (1, 0),
        "split there"
    );
    assert_eq!(awaiting(&[(&behind, 0)]), (1, 0), "behind a message");
    assert_eq!(awaiting(&[(blanks, 0)]), (1, 0), "one of two lone ones");
    assert_eq!(awaiting(&[(&message, 0)]), (0, 0), "a message is none");
    assert_eq!(awaiting(&[(b"\r", 0)]), (0, 0), "half of one is none");
}

#[test]
fn a_ping_at_the_same_instant_is_a_ping_and_the_pong_a_pong() {
    assert_eq!(awaiting(&[(b"\r\n\r\n", 0)]), (0, 1), "only a ping");
    assert_eq!(awaiting(&[(b"\r\n\r\n\r\n", 0)]), (1, 1), "together");
    let (ping, pong): (&[u8], &[u8]) = (b"\r\n\r\n", b"\r\n");
    assert_eq!(awaiting(&[(ping, 0), (pong, 1)]), (1, 1));
    assert_eq!(awaiting(&[(pong, 0), (ping, 1)]), (1, 1));
    let cut: [(&[u8], u32); 2] = [(b"\r\n\r", 0), (b"\n\r\n", 1)];
    assert_eq!(awaiting(&cut), (1, 1), "cut inside the ping");
    let halves: [(&[u8], u32); 3] = [(pong, 0), (pong, 1), (pong, 2)];
    assert_eq!(awaiting(&halves), (1, 1), "each CRLF by itself");
}

#[test]
fn a_crlf_from_before_and_a_pong_are_no_ping() {
    let mut framer = Framer::default();
    assert_eq!(framer.feed(b"\r\n", 0, &LIMITS), Step::More { start: 2 });
    // Here our ping goes out.
    framer.await_pong(10);
    assert_eq!(framer.feed(b"\r\n", 10, &LIMITS), Step::More { start: 2 });
    assert!(framer.take_crlf() && !framer.take_crlf());
    assert_eq!(framer, Framer::default());
}

// ---------------------------------------------------------------- words

#[test]
fn zero_words_are_between_messages() {
    assert_eq!(Framer::default().to_words(), [0; 5]);
    assert_eq!(Framer::from_words([0; 5]), Framer::default());
}

#[test]
fn impossible_words_are_a_lost_stream() {
    let mut framer = Framer::default();
    framer.feed(&with_headers("l: 5\r\n"), 0, &LIMITS);
    let good = framer.to_words();
    assert!(Framer::from_words(good).in_message());
    for (index, value) in [
        (0, u32::MAX),
        (0, good[0] | 0x0001_0000),
        (0, good[0] & 0x00FF_FFFF),
        (1, u32::MAX),
        (2, 4),
        (3, 0),
        (3, 6),
    ] {
        let mut words = good;
        words[index] = value;
        let step = Framer::from_words(words).feed(b"hello", 0, &LIMITS);
        assert!(
            matches!(
                step,
                Step::Bad {
                    error: FrameError::NotSip,
                    header_length: None,
                    ..
                }
            ),
            "{words:x?}: {step:?}"
        );
    }
}

// ---------------------------------------------------------------- against a reference

/// The same rules over the whole stream at once: lines are split, unfolded and compared as text.
fn reference(stream: &[(u8, u32)], limits: &Limits) -> Vec<Event> {
    let bytes: Vec<u8> = stream.iter().map(|(byte, _)| *byte).collect();
    let mut events = Vec::new();
    let mut at = 0;
    let mut residue = String::new();
    let mut residue_ms = 0;
    while at < bytes.len() {
        let (byte, now_ms) = stream[at];
        if now_ms - residue_ms > 1000 {
            residue.clear();
        }
        let goes_on = "\r\n\r\n".starts_with(&format!("{residue}{}", char::from(byte)));
        if residue.starts_with("\r\n") && !goes_on {
            events.push(Event::Crlf { end: at });
            residue.clear();
        }
        if !b"\r\n \t".contains(&byte) {
            residue.clear();
            match reference_message(&bytes[at..], limits) {
                None => {
                    events.push(Event::Partial { start: at });
                    return events;
                }
                Some(Ok((header, body))) => {
                    events.push(message(at, header as u32, body as u32));
                    at += header + body;
                }
                Some(Err((end, error, known))) => {
                    events.push(Event::Bad {
                        start: at,
                        end: at + end,
                        error,
                        header: known.then_some(end as u32),
                    });
                    return events;
                }
            }
            continue;
        }
        residue.push(char::from(byte));
        while !"\r\n\r\n".starts_with(&residue) {
            residue.remove(0);
        }
        if residue == "\r" {
            residue_ms = now_ms;
        }
        at += 1;
        if residue == "\r\n\r\n" {
            events.push(Event::Ping { end: at });
            residue.clear();
        }
    }
    events
}

type Verdict = Result<(usize, usize), (usize, FrameError, bool)>;

/// Of a message at the beginning of `bytes`: its lengths, or where and how it is bad, or nothing
/// while more bytes are needed.
fn reference_message(bytes: &[u8], limits: &Limits) -> Option<Verdict> {
    let max = limits.max_message_bytes as usize;
    for seen in 0..bytes.len() {
        if seen == max {
            return Some(Err((seen, FrameError::HeaderTooLarge, false)));
        }
        if !could_begin(&bytes[..=seen]) {
            return Some(Err((seen + 1, FrameError::NotSip, false)));
        }
        if bytes[seen] == b'\n' {
            break;
        }
    }
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut end = 0;
    loop {
        let Some(length) = bytes[end..].iter().position(|byte| *byte == b'\n') else {
            let cut = bytes.len() >= max;
            return cut.then_some(Err((max, FrameError::HeaderTooLarge, false)));
        };
        let line = &bytes[end..end + length];
        end += length + 1;
        if end > max {
            return Some(Err((max, FrameError::HeaderTooLarge, false)));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        match lines.last_mut() {
            Some(last) if b" \t".contains(&line[0]) => {
                last.push(b'\n');
                last.extend(line);
            }
            _ => lines.push(line.to_vec()),
        }
        if end == max {
            return Some(Err((max, FrameError::HeaderTooLarge, false)));
        }
    }
    let mut values: Vec<Option<u32>> = Vec::new();
    for line in &lines[1..] {
        let text: String = line.iter().map(|byte| char::from(*byte)).collect();
        let Some((name, value)) = text.split_once(':') else {
            continue;
        };
        let name = name.trim_end_matches([' ', '\t']).to_ascii_lowercase();
        if name == "l" || name == "content-length" {
            for value in value.split(',') {
                let value = value.trim_matches([' ', '\t', '\n']);
                let plain = value.bytes().all(|byte| byte.is_ascii_digit());
                values.push(plain.then(|| value.parse().ok()).flatten());
            }
        }
    }
    let bad = |error| Some(Err((end, error, true)));
    if values.contains(&None) {
        return bad(FrameError::LengthInvalid);
    }
    let body = match values.first() {
        None if limits.accept_no_content_length => 0,
        None => return bad(FrameError::LengthMissing),
        Some(first) if values.iter().any(|value| value != first) => {
            return bad(FrameError::LengthConflict);
        }
        Some(first) => first.unwrap_or(0),
    };
    if end as u64 + u64::from(body) > max as u64 {
        return bad(FrameError::TooLarge);
    }
    let body = body as usize;
    (bytes.len() >= end + body).then_some(Ok((end, body)))
}

/// Whether a first line may begin, or with its LF be, like this.
fn could_begin(bytes: &[u8]) -> bool {
    let text: String = bytes
        .iter()
        .map(|byte| char::from(byte.to_ascii_uppercase()))
        .collect();
    let word: String = text.chars().take_while(|c| is_token(*c as u8)).collect();
    let version: String = text
        .chars()
        .take(8)
        .enumerate()
        .map(|(at, c)| match at {
            4 if c.is_ascii_digit() => '2',
            6 if c.is_ascii_digit() => '0',
            _ => c,
        })
        .collect();
    let status = version.starts_with("SIP/2.0 ") || "SIP/2.0 ".starts_with(&version);
    let method = !word.is_empty() && (word == text || text[word.len()..].starts_with(' '));
    match text.strip_suffix('\n') {
        None if bytes.len() >= 8192 => false,
        None => status || method,
        Some(_) if bytes.len() > 8192 => false,
        Some(line) => {
            status
                || method
                    && (0..100).any(|n| {
                        line.trim_end_matches([' ', '\t', '\r']).ends_with(&format!(
                            " SIP/{}.{}",
                            n / 10,
                            n % 10
                        ))
                    })
        }
    }
}

/// Pieces that meet the framer's decisions far more often than random bytes would.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\r\n\r\n",
        "INVITE sip:a@b SIP/2.0",
        "INVITE sip:a@b SIP/2.0\r\n",
        "SIP/2.0 200 OK\r\n",
        " SIP/2.0",
        "SIP",
        "l",
        "L",
        "Content-Length",
        "content-",
        "length",
        ":",
        ": 3\r\n",
        "\r\nl: 0\r\n",
        "\r\nl: 3\r\n\r\nabc",
        "0",
        "3",
        ",",
        "SIP/7.1",
        "4294967295",
        "99999999999",
        "Via: SIP/2.0/TCP h\r\n",
        "To",
        "x",
    ]);
    prop_oneof![
        12 => text.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}

/// A whole good message.
fn good_message() -> impl Strategy<Value = Vec<u8>> {
    let filler = prop::sample::select(vec![
        "",
        "Via: SIP/2.0/TCP h\r\n",
        "Subject: x\r\n l: 77\r\n",
        "c: t\n",
        "Cseq: 1 A\r\nno colon\r\n",
    ]);
    let name = prop::sample::select(vec!["l:", "Content-Length: ", "CONTENT-length \t:\r\n "]);
    let body = prop::collection::vec(any::<u8>(), 0..20);
    (filler.clone(), name, filler, body, any::<bool>()).prop_map(
        |(before, name, after, body, request)| {
            let first = if request {
                "A b SIP/2.0"
            } else {
                "SIP/2.0 200 OK"
            };
            let length = body.len();
            let text = format!("{first}\r\n{before}{name}{length}\r\n{after}\r\n");
            [text.into_bytes(), body].concat()
        },
    )
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        2 => good_message(),
        1 => prop::sample::select(vec!["\r\n", "\r\n\r\n", "\r", "\n", " "])
            .prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::collection::vec(piece(), 1..12).prop_map(|pieces| pieces.concat()),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_agrees_with_the_reference(
        stream in stream(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0u32..1500), 0..8),
        max_message_bytes in prop_oneof![Just(65_536), 0u32..120],
        accept_no_content_length in any::<bool>(),
    ) {
        let limits = Limits { max_message_bytes, accept_no_content_length };
        let mut places: Vec<(usize, u32)> = cuts
            .iter()
            .map(|(place, wait_ms)| (place.index(stream.len() + 1), *wait_ms))
            .collect();
        places.sort_unstable();
        let mut inputs: Vec<(&[u8], u32)> = Vec::new();
        let mut timed = Vec::new();
        let (mut begin, mut now_ms) = (0, 0);
        for (place, wait_ms) in places.into_iter().chain([(stream.len(), 0)]) {
            inputs.push((&stream[begin..place], now_ms));
            timed.extend(stream[begin..place].iter().map(|byte| (*byte, now_ms)));
            begin = place;
            now_ms += wait_ms;
        }
        prop_assert_eq!(run(&inputs, &limits), reference(&timed, &limits));
    }

    #[test]
    fn single_bytes_agree_with_the_whole(stream in stream()) {
        let bytes: Vec<(&[u8], u32)> = stream.chunks(1).map(|byte| (byte, 0)).collect();
        prop_assert_eq!(run(&bytes, &LIMITS), whole(&stream, &LIMITS));
    }

    #[test]
    fn any_words_are_some_state(
        tag in 0u8..16,
        argument in 0u8..18,
        second in 0u8..3,
        length_state in 0u8..9,
        rest in any::<[u32; 4]>(),
        input in prop::collection::vec(piece(), 0..8),
    ) {
        let first = u32::from_le_bytes([tag, argument, second, length_state]);
        let [a, b, c, d] = rest;
        let mut framer = Framer::from_words([first, a, b, c, d]);
        prop_assert_eq!(Framer::from_words(framer.to_words()), framer);
        let input = input.concat();
        match framer.feed(&input, 7, &limit(u32::MAX)) {
            Step::More { start } => prop_assert!(start <= input.len()),
            Step::Ping { end } | Step::Crlf { end } => prop_assert!(end <= input.len()),
            Step::Message { start, end, header_length, body_length } => {
                prop_assert!(start <= end && end <= input.len());
                prop_assert!(header_length.checked_add(body_length).is_some());
            }
            Step::Bad { start, end, .. } => prop_assert!(start <= end && end <= input.len()),
        }
    }
}
