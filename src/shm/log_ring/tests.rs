use super::*;
use crate::sync::AtomicU32;

struct Memory(LogHeader, Vec<Record>);

impl Memory {
    fn new(records: usize) -> Memory {
        let records = (0..records).map(|_| Record::default()).collect();
        Memory(LogHeader::default(), records)
    }
    fn ring(&self) -> LogRing<'_> {
        LogRing {
            header: &self.0,
            records: &self.1,
        }
    }
}

fn drained(ring: LogRing, max: usize) -> Vec<Entry> {
    let mut out = Vec::new();
    ring.drain(2, max, &mut out);
    out
}

fn texts(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.text.as_str()).collect()
}

#[test]
fn what_is_written_is_drained_once() {
    let memory = Memory::new(8);
    let ring = memory.ring();
    assert!(!ring.waiting());
    assert!(ring.write(1, 3, 0x4000_0001, 17, 12345, "connection closed"));
    assert!(ring.waiting());
    let expected = Entry {
        level: 3,
        conn_id: 0x4000_0001,
        suppressed: 17,
        time_ms: 12345,
        seq: 0,
        text: "connection closed".into(),
    };
    assert_eq!(drained(ring, 10), [expected]);
    assert!(!ring.waiting());
    assert_eq!(drained(ring, 10), []);
}

#[test]
fn every_field_keeps_its_extremes() {
    let memory = Memory::new(1);
    assert!(
        memory
            .ring()
            .write(1023, u8::MAX, u32::MAX, u32::MAX, u64::MAX, "")
    );
    let entry = drained(memory.ring(), 1).remove(0);
    assert_eq!(
        (entry.level, entry.conn_id, entry.suppressed),
        (u8::MAX, u32::MAX, u32::MAX)
    );
    assert_eq!((entry.time_ms, entry.text.as_str()), (u64::MAX, ""));
}

#[test]
fn long_text_is_cut_at_a_character() {
    let memory = Memory::new(4);
    let ring = memory.ring();
    let exact = "x".repeat(TEXT_MAX_BYTES);
    let long = "y".repeat(TEXT_MAX_BYTES + 1);
    let split = "z".repeat(TEXT_MAX_BYTES - 1) + "\u{e9}";
    for text in [&exact, &long, &split] {
        assert!(ring.write(1, 0, 0, 0, 0, text));
    }
    let out = drained(ring, 10);
    assert_eq!(
        texts(&out),
        [
            &exact,
            &long[..TEXT_MAX_BYTES],
            &split[..TEXT_MAX_BYTES - 1]
        ]
    );
}

#[test]
fn a_shorter_text_shows_nothing_of_the_one_before() {
    let memory = Memory::new(1);
    let ring = memory.ring();
    for text in ["a rather long text, of several words", "short one"] {
        assert!(ring.write(1, 0, 0, 0, 0, text));
        assert_eq!(texts(&drained(ring, 1)), [text]);
    }
}

#[test]
fn a_full_ring_drops_and_counts_and_recovers_with_a_drain() {
    let memory = Memory::new(4);
    let ring = memory.ring();
    for number in 0..6 {
        assert_eq!(ring.write(1, 0, 0, 0, 0, &number.to_string()), number < 4);
    }
    assert_eq!(ring.dropped(), 2);
    assert_eq!(texts(&drained(ring, 9)), ["0", "1", "2", "3"]);
    assert!(ring.write(1, 0, 0, 0, 0, "6"));
    let out = drained(ring, 9);
    assert_eq!(
        (out[0].seq, out[0].text.as_str()),
        (6, "6"),
        "the gap shows the loss"
    );
}

#[test]
fn a_bounded_drain_takes_the_oldest_and_leaves_waiting_true() {
    let memory = Memory::new(8);
    let ring = memory.ring();
    for number in 0..5 {
        assert!(ring.write(1, 0, 0, 0, 0, &number.to_string()));
    }
    assert_eq!(drained(ring, 5).len(), 5);
    for number in 5..13 {
        assert!(ring.write(1, 0, 0, 0, 0, &number.to_string()));
    }
    assert_eq!(texts(&drained(ring, 3)), ["5", "6", "7"]);
    assert!(ring.waiting());
    assert_eq!(texts(&drained(ring, 100)), ["8", "9", "10", "11", "12"]);
    assert!(!ring.waiting());
}

#[test]
fn drain_keeps_what_the_caller_had() {
    let memory = Memory::new(2);
    memory.ring().write(1, 0, 0, 0, 0, "first");
    let mut out = drained(memory.ring(), 1);
    memory.ring().write(1, 0, 0, 0, 0, "second");
    memory.ring().drain(2, 1, &mut out);
    assert_eq!(texts(&out), ["first", "second"]);
}

#[test]
fn an_empty_ring_drops_everything() {
    let memory = Memory::new(0);
    assert!(!memory.ring().write(1, 0, 0, 0, 0, "text"));
    assert_eq!(
        (memory.ring().dropped(), drained(memory.ring(), 1)),
        (1, vec![])
    );
}

#[test]
fn records_of_a_dead_writer_and_reader_hold_nobody_up_and_are_freed() {
    let memory = Memory::new(3);
    let ring = memory.ring();
    memory.1[0].word.store(owned(WRITING, 9), SeqCst);
    memory.1[1].word.store(owned(READING, 9), SeqCst);
    assert!(ring.write(1, 0, 0, 0, 0, "goes on"));
    assert!(!ring.write(1, 0, 0, 0, 0, "full"));
    assert_eq!(texts(&drained(ring, 9)), ["goes on"]);
    assert!(!ring.waiting(), "what others own is not waited for");

    ring.recover(8);
    assert_eq!(ring.dropped(), 1, "not this participant's");
    ring.recover(9);
    assert_eq!(ring.dropped(), 3);
    for _ in 0..3 {
        assert!(ring.write(1, 0, 0, 0, 0, "again"));
    }
}

#[test]
fn recover_leaves_what_is_ready_and_announces_it() {
    let memory = Memory::new(2);
    let ring = memory.ring();
    assert!(ring.write(9, 0, 0, 0, 0, "last words"));
    // As if the writer had died between READY and the count.
    ring.header.ready.store(0, SeqCst);
    assert!(!ring.waiting());
    ring.recover(9);
    ring.recover(0);
    assert!(ring.waiting());
    assert_eq!(texts(&drained(ring, 9)), ["last words"]);
}

#[test]
fn an_overwritten_record_is_still_text() {
    let memory = Memory::new(1);
    assert!(memory.ring().write(1, 0, 0, 0, 0, "text"));
    memory.1[0].meta.store(u64::MAX, SeqCst);
    for word in &memory.1[0].text {
        word.store(u64::MAX, SeqCst);
    }
    let out = drained(memory.ring(), 1);
    assert!(
        out[0]
            .text
            .chars()
            .all(|c| c == char::REPLACEMENT_CHARACTER)
    );
}

/// Three writers, two drainers, one abandoned record: each accepted message comes out once and
/// whole, the rest is counted.
#[test]
fn accepted_messages_come_out_once_and_whole() {
    const EACH: u32 = 20_000;
    let memory = Memory::new(32);
    let ring = memory.ring();
    memory.1[7].word.store(owned(WRITING, 9), SeqCst);
    let writing = AtomicU32::new(3);
    let body =
        |writer: u16, number: u32| format!("{writer}:{number} ").repeat(1 + number as usize % 20);

    let (accepted, mut seen) = std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=3u16)
            .map(|writer| {
                let writing = &writing;
                scope.spawn(move || {
                    let accepted: Vec<(u32, u32)> = (0..EACH)
                        .filter(|&number| {
                            let text = body(writer, number);
                            ring.write(
                                writer,
                                writer as u8,
                                number,
                                writer.into(),
                                number.into(),
                                &text,
                            )
                        })
                        .map(|number| (writer.into(), number))
                        .collect();
                    writing.fetch_sub(1, SeqCst);
                    accepted
                })
            })
            .collect();
        let drainers: Vec<_> = (4..=5u16)
            .map(|reader| {
                let writing = &writing;
                scope.spawn(move || {
                    let mut out = Vec::new();
                    loop {
                        let last = writing.load(SeqCst) == 0;
                        let before = out.len();
                        if ring.waiting() {
                            ring.drain(reader, 10, &mut out);
                        }
                        assert!(out[before..].is_sorted_by_key(|entry| entry.seq));
                        if last && !ring.waiting() {
                            return out;
                        }
                    }
                })
            })
            .collect();
        let accepted: Vec<_> = writers
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        let seen: Vec<_> = drainers
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        (accepted, seen)
    });

    for entry in &seen {
        let text = body(entry.level.into(), entry.conn_id);
        assert_eq!(entry.text, text[..text.len().min(TEXT_MAX_BYTES)]);
        assert_eq!(
            (entry.suppressed, entry.time_ms),
            (entry.level.into(), entry.conn_id.into())
        );
    }
    seen.sort_by_key(|entry| (entry.level, entry.conn_id));
    let seen: Vec<_> = seen
        .iter()
        .map(|e| (u32::from(e.level), e.conn_id))
        .collect();
    assert_eq!(seen, accepted);
    assert_eq!(accepted.len() as u64 + ring.dropped(), 3 * u64::from(EACH));
    let held = memory
        .1
        .iter()
        .filter(|record| record.word.load(SeqCst) != FREE)
        .count();
    assert_eq!(held, 1, "only the abandoned one");
}

/// Few messages a round, so that the last one is often made ready while a drain ends: `waiting`
/// must not become false over it.
#[test]
fn waiting_stays_true_until_the_last_message_is_drained() {
    const ROUNDS: u32 = 20_000;
    let memory = Memory::new(8);
    let ring = memory.ring();
    let start = std::sync::Barrier::new(2);
    let written = AtomicU32::new(0);
    let mut missed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                start.wait();
                for _ in 0..2 {
                    ring.write(1, 0, 0, 0, 0, "text");
                }
                written.fetch_add(1, SeqCst);
            }
        });
        for round in 1..=ROUNDS {
            start.wait();
            let mut out = Vec::new();
            while written.load(SeqCst) < round {
                // Not asked first: also a drain that finds nothing must not hide what comes.
                ring.drain(2, 8, &mut out);
            }
            while ring.waiting() {
                ring.drain(2, 8, &mut out);
            }
            // Asserted at the end: a panic here would leave the other thread at the barrier.
            missed += u32::from(out.len() != 2);
        }
    });
    assert_eq!(missed, 0);
}
