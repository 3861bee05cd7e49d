//! Log records in the segment: written where no host code may run (in the supervisor, with a gate
//! held), drained by workers and attached hosts, which pass them to the host's log callback (P9).
//!
//! Each record is owned by the one whose stamp its word carries: FREE → WRITING(writer) → READY →
//! READING(reader) → FREE. The first and third step are CAS, the others stores by the owner. No
//! lock and no waiting: a writer that finds no free record within a few drops its message and
//! counts it, and one that stops midway holds back one record and nobody.
//!
//! Invariants:
//! - The fields of a record are touched only by the owner its word names, so plain `Relaxed`
//!   accesses suffice for them: the store that makes a record READY or FREE releases them, the CAS
//!   that claims it acquires them. The words themselves and the header are sequentially consistent.
//! - An owner that died is found by its stamp (`recover`); its record is lost and counted.
//! - `ready` and `served` are hints: `waiting` may be true with nothing there, and may be false
//!   with a record there only if its writer died or is stopped between its last two steps;
//!   `recover` or the next record makes it true. `drain` looks at the words alone.

use crate::sync::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

const TEXT_WORDS: usize = 35;

/// Longer text is cut at a character's end.
pub const TEXT_MAX_BYTES: usize = TEXT_WORDS * 8;

/// Records a writer looks at before it drops its message: it may be holding a gate.
const PROBES: usize = 16;

const FREE: u64 = 0;
const WRITING: u64 = 1;
const READY: u64 = 2;
const READING: u64 = 3;
const STATE_BITS: u32 = 2;

/// The word of a record that `participant` owns in `state`.
fn owned(state: u64, participant: u16) -> u64 {
    u64::from(participant) << STATE_BITS | state
}

/// All zero is a free record.
#[repr(C, align(64))]
pub struct Record {
    /// Participant | state.
    word: AtomicU64,
    seq: AtomicU64,
    time_ms: AtomicU64,
    /// Text length in bytes | level (8 bits).
    meta: AtomicU64,
    /// Suppressed | connection id (32 bits).
    origin: AtomicU64,
    text: [AtomicU64; TEXT_WORDS],
}

const _: () = assert!(size_of::<Record>() == 320);

impl Default for Record {
    fn default() -> Record {
        Record {
            word: AtomicU64::new(FREE),
            seq: AtomicU64::new(0),
            time_ms: AtomicU64::new(0),
            meta: AtomicU64::new(0),
            origin: AtomicU64::new(0),
            text: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// All zero at first.
#[repr(C, align(64))]
#[derive(Default)]
pub struct LogHeader {
    /// Number of the next message, a dropped one included: a gap in the numbers is a loss.
    next_seq: AtomicU64,
    /// Counts records made ready.
    ready: AtomicU64,
    /// The value of `ready` up to which everything has been drained.
    served: AtomicU64,
    dropped: AtomicU64,
}

/// A record as drained.
#[deny(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1: error, 2: warning, 3: notice, 4: information, 5: debugging.
    pub level: u8,
    /// The connection it is about, 0: none.
    pub conn_id: u32,
    /// Messages of this kind that the rate limit held back before this one.
    pub suppressed: u32,
    /// CLOCK_REALTIME, milliseconds.
    pub time_ms: u64,
    /// Its place among all.
    pub seq: u64,
    /// One line.
    pub text: String,
}

#[derive(Clone, Copy)]
pub struct LogRing<'a> {
    pub header: &'a LogHeader,
    pub records: &'a [Record],
}

impl LogRing<'_> {
    /// False when no record was free nearby: dropped and counted.
    pub fn write(
        &self,
        writer: u16,
        level: u8,
        conn_id: u32,
        suppressed: u32,
        time_ms: u64,
        text: &str,
    ) -> bool {
        let seq = self.header.next_seq.fetch_add(1, SeqCst);
        let mine = owned(WRITING, writer);
        let claimed = self.oldest_first(seq).take(PROBES).find(|record| {
            record
                .word
                .compare_exchange(FREE, mine, SeqCst, SeqCst)
                .is_ok()
        });
        let Some(record) = claimed else {
            self.header.dropped.fetch_add(1, SeqCst);
            return false;
        };
        record.seq.store(seq, Relaxed);
        record.time_ms.store(time_ms, Relaxed);
        record
            .origin
            .store(u64::from(suppressed) << 32 | u64::from(conn_id), Relaxed);
        let length = record.write_text(text);
        record
            .meta
            .store((length as u64) << 8 | u64::from(level), Relaxed);
        record.word.store(READY, SeqCst);
        // After READY: who sees this count and then scans finds the record.
        self.header.ready.fetch_add(1, SeqCst);
        true
    }

    /// True when a drain would probably find something.
    pub fn waiting(&self) -> bool {
        self.header.ready.load(SeqCst) != self.header.served.load(SeqCst)
    }

    /// Messages lost, ever: no free record, or an owner that died.
    pub fn dropped(&self) -> u64 {
        self.header.dropped.load(SeqCst)
    }

    /// Appends at most `max` records to `out` in the order of their numbers and frees them. Outside
    /// the gate: it allocates. Several may drain at once; each record goes to one of them.
    pub fn drain(&self, reader: u16, max: usize, out: &mut Vec<Entry>) {
        let first = out.len();
        let mine = owned(READING, reader);
        // Before the scan: what becomes ready later is not taken for served. And stored only after
        // it: a drainer that stops in the middle leaves `waiting` true for the others.
        let ready = self.header.ready.load(SeqCst);
        let mut scan = self.oldest_first(self.header.next_seq.load(SeqCst));
        let complete = loop {
            if out.len() - first >= max {
                break false;
            }
            let Some(record) = scan.next() else {
                break true;
            };
            // A look first: a CAS on every free record would take its cache line from the writers.
            if record.word.load(SeqCst) == READY
                && record
                    .word
                    .compare_exchange(READY, mine, SeqCst, SeqCst)
                    .is_ok()
            {
                out.push(record.copy());
                record.word.store(FREE, SeqCst);
            }
        };
        if complete {
            self.header.served.store(ready, SeqCst);
        }
        if let Some(drained) = out.get_mut(first..) {
            drained.sort_by_key(|entry| entry.seq);
        }
    }

    /// Frees what a dead participant was writing or reading. For the supervisor, once it has proof
    /// that `dead` takes no further step.
    pub fn recover(&self, dead: u16) {
        for record in self.records {
            let word = record.word.load(SeqCst);
            if word == owned(WRITING, dead) || word == owned(READING, dead) {
                record.word.store(FREE, SeqCst);
                self.header.dropped.fetch_add(1, SeqCst);
            }
        }
        // It may have died between READY and the count.
        self.header.ready.fetch_add(1, SeqCst);
    }

    /// Records that somebody is writing or reading.
    #[cfg(crash_points)]
    pub fn unfinished(&self) -> u32 {
        let busy = |record: &&Record| !matches!(record.word.load(SeqCst), FREE | READY);
        self.records.iter().filter(busy).count() as u32
    }

    /// All records, first the one where message `next_seq` begins to look for room: in a ring that
    /// is full the oldest.
    fn oldest_first(&self, next_seq: u64) -> impl Iterator<Item = &Record> {
        let start = next_seq.checked_rem(self.records.len() as u64).unwrap_or(0);
        let (newer, older) = self
            .records
            .split_at_checked(start as usize)
            .unwrap_or_default();
        older.iter().chain(newer)
    }
}

impl Record {
    /// Returns the length stored.
    fn write_text(&self, text: &str) -> usize {
        let mut length = text.len().min(TEXT_MAX_BYTES);
        while !text.is_char_boundary(length) {
            length -= 1; // ends at 0 at the latest, which is a boundary
        }
        let kept = text.as_bytes().get(..length).unwrap_or_default();
        for (place, chunk) in self.text.iter().zip(kept.chunks(8)) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            place.store(u64::from_le_bytes(word), Relaxed);
        }
        length
    }

    /// Whatever the bytes are, the result is text: they lie in memory that the host can overwrite.
    fn copy(&self) -> Entry {
        let meta = self.meta.load(Relaxed);
        let origin = self.origin.load(Relaxed);
        let length = usize::try_from(meta >> 8)
            .unwrap_or(usize::MAX)
            .min(TEXT_MAX_BYTES);
        let mut bytes = Vec::with_capacity(TEXT_MAX_BYTES);
        for word in self.text.iter().take(length.div_ceil(8)) {
            bytes.extend_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        bytes.truncate(length);
        Entry {
            level: meta as u8,
            conn_id: origin as u32,
            suppressed: (origin >> 32) as u32,
            time_ms: self.time_ms.load(Relaxed),
            seq: self.seq.load(Relaxed),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
