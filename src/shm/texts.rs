//! Texts that are replaced whole while others read them: what does not fit one word. Any process
//! publishes and dies in the middle, everyone reads, nobody waits.
//!
//! There are a few cells more than texts. A publisher claims a cell that is nobody's by the CAS that
//! writes its pid there, fills it, and makes it the text by one CAS on `current`; before that CAS nobody
//! reads the cell, and after it nobody changes it. A reader copies between two loads of the same
//! `current`, whose number only grows, and takes anything else as a text that is being replaced.
//!
//! Invariants: TEXT-1 a cell that some `current` names is claimed by nobody who will write it; TEXT-2 a
//! reader gets one publisher's whole text. A claim of a process that died is the next publisher's: the
//! claim is a pid, because who publishes need not be a participant.

use super::region::shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word, fence};

/// The longest text.
pub const TEXT_BYTES: usize = 16 << 10;
/// Cells beyond one for each text: publishers at one time, living or stopped.
pub const SPARE_CELLS: usize = 4;
/// Each new try means that somebody has published meanwhile.
const TRIES: usize = 16;

#[repr(C, align(64))]
pub struct Cell {
    /// Pid of who fills it, 0: nobody does.
    claim: AtomicU32,
    length: AtomicU32,
    words: [AtomicU64; TEXT_BYTES / 8],
}
shared!(Cell);

/// What `current` says: number (48) | cell + 1 (16), 0: there never was a text.
#[derive(Clone, Copy)]
struct Current(u64);

impl Current {
    fn cell(self) -> Option<usize> {
        (self.0 as u16).checked_sub(1).map(usize::from)
    }
    fn next(self, cell: usize) -> Current {
        Current((self.0 >> 16).wrapping_add(1) << 16 | (cell as u64 + 1))
    }
}

impl Cell {
    fn fill(&self, text: &str) {
        // With the one in `read`: who sees a byte of ours sees that the cell's last text was replaced.
        fence(Ordering::SeqCst);
        for (word, bytes) in self.words.iter().zip(text.as_bytes().chunks(8)) {
            let mut whole = [0; 8];
            for (to, from) in whole.iter_mut().zip(bytes) {
                *to = *from;
            }
            word.set(u64::from_le_bytes(whole));
        }
        self.length.set(text.len() as u32);
    }

    fn copy(&self) -> Vec<u8> {
        // P12: the length is not believed.
        let length = (self.length.get() as usize).min(TEXT_BYTES);
        let words = self.words.iter().take(length.div_ceil(8));
        let mut bytes: Vec<u8> = words.flat_map(|word| word.get().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

#[derive(Clone, Copy)]
pub struct Texts<'a> {
    /// One word for each text.
    pub current: &'a [AtomicU64],
    pub cells: &'a [Cell],
}

impl Texts<'_> {
    /// Replaces a text; of two who do so at once the later one. False: it is too long, or others are in
    /// the middle of publishing in every spare cell. `pid` is the caller's; `lives`: there is a process
    /// with this pid.
    pub fn publish(&self, text: usize, value: &str, pid: u32, lives: impl Fn(u32) -> bool) -> bool {
        let Some(current) = self.current.get(text).filter(|_| value.len() <= TEXT_BYTES) else {
            return false;
        };
        let Some((number, cell)) = self.claim(pid, lives) else {
            return false;
        };
        cell.fill(value);
        let mut before = current.load_sync();
        loop {
            let after = Current(before).next(number).0;
            match current.compare_exchange(before, after, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        cell.claim.store_sync(0);
        true
    }

    /// None: there is none yet, it is replaced again and again, or it was scribbled on.
    pub fn read(&self, text: usize) -> Option<String> {
        let current = self.current.get(text)?;
        for _ in 0..TRIES {
            let before = current.load_sync();
            let bytes = self.cells.get(Current(before).cell()?)?.copy();
            fence(Ordering::SeqCst);
            if current.load_sync() == before {
                return String::from_utf8(bytes).ok();
            }
        }
        None
    }

    fn claim(&self, pid: u32, lives: impl Fn(u32) -> bool) -> Option<(usize, &Cell)> {
        // More than once: what others give up and claim meanwhile may be missed each time.
        let all = || self.cells.iter().enumerate();
        for (number, cell) in (0..TRIES).flat_map(|_| all()) {
            let holder = cell.claim.load_sync();
            if self.is_current(number) || (holder != 0 && lives(holder)) {
                continue;
            }
            let taken =
                cell.claim
                    .compare_exchange(holder, pid, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_err() {
                continue;
            }
            // Only who has the claim makes a cell a text, but the one before may just have done so.
            if !self.is_current(number) {
                return Some((number, cell));
            }
            cell.claim.store_sync(0);
        }
        None
    }

    fn is_current(&self, number: usize) -> bool {
        let mut all = self.current.iter();
        all.any(|current| Current(current.load_sync()).cell() == Some(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::region::{Layout, Region, Span};

    struct Memory {
        region: Region,
        current: Span<AtomicU64>,
        cells: Span<Cell>,
    }

    impl Memory {
        fn new(texts: usize) -> Memory {
            let mut layout = Layout::default();
            let (current, cells) = (layout.span(texts), layout.span(texts + SPARE_CELLS));
            let region = Region::new("sipwire-test", &layout).unwrap();
            Memory {
                region,
                current,
                cells,
            }
        }
        fn texts(&self) -> Texts<'_> {
            Texts {
                current: self.region.slice(self.current),
                cells: self.region.slice(self.cells),
            }
        }
    }

    fn all_live(_: u32) -> bool {
        true
    }

    #[test]
    fn what_was_published_last_is_read() {
        let memory = Memory::new(2);
        let texts = memory.texts();
        assert_eq!(texts.read(0), None);
        for i in 0..100 {
            assert!(texts.publish(0, &format!("one {i}"), 7, all_live));
            assert!(texts.publish(1, "", 7, all_live));
            assert_eq!(texts.read(0).unwrap(), format!("one {i}"));
            assert_eq!(texts.read(1).unwrap(), "");
        }
        let longest = "x".repeat(TEXT_BYTES);
        assert!(texts.publish(1, &longest, 7, all_live));
        assert_eq!(texts.read(1).unwrap(), longest);
        assert!(!texts.publish(1, &format!("{longest}y"), 7, all_live));
        assert!(!texts.publish(2, "no such text", 7, all_live));
        assert_eq!(texts.read(1).unwrap(), longest);
    }

    #[test]
    fn a_claim_is_taken_over_from_the_dead_only() {
        let memory = Memory::new(1);
        let texts = memory.texts();
        assert!(texts.publish(0, "first", 7, all_live));
        while texts.claim(8, all_live).is_some() {} // stopped in the middle, each of them
        assert!(!texts.publish(0, "second", 7, all_live));
        assert_eq!(texts.read(0).unwrap(), "first");
        assert!(texts.publish(0, "third", 7, |pid| pid != 8));
        assert_eq!(texts.read(0).unwrap(), "third");
    }

    #[test]
    fn a_claim_that_a_dead_process_left_on_a_text_costs_nothing() {
        let memory = Memory::new(1);
        let texts = memory.texts();
        assert!(texts.publish(0, "dead", 8, all_live));
        let current = Current(texts.current[0].load_sync()).cell().unwrap();
        texts.cells[current].claim.store_sync(8); // died before its last step
        for i in 0..20 {
            assert!(texts.publish(0, &i.to_string(), 7, |pid| pid != 8));
            assert_eq!(texts.read(0).unwrap(), i.to_string());
        }
    }

    #[test]
    fn a_scribbled_text_is_none() {
        let memory = Memory::new(1);
        let texts = memory.texts();
        assert!(texts.publish(0, "text", 7, all_live));
        texts
            .cells
            .iter()
            .for_each(|cell| cell.length.set(u32::MAX));
        assert_eq!(texts.read(0).unwrap().len(), TEXT_BYTES);
        texts
            .cells
            .iter()
            .for_each(|cell| cell.words[0].set(u64::MAX));
        assert_eq!(texts.read(0), None);
        texts.current[0].store_sync(u64::MAX);
        assert_eq!(texts.read(0), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "many steps")]
    fn nobody_reads_half_of_two_texts() {
        let memory = Memory::new(1);
        let texts = memory.texts();
        let whole = |letter: u8| String::from_utf8(vec![letter; 999]).unwrap();
        assert!(texts.publish(0, &whole(b'a'), 1, all_live));
        std::thread::scope(|scope| {
            for pid in 1..=3u32 {
                let whole = &whole;
                scope.spawn(move || {
                    for i in 0..2000u32 {
                        let letter = b'a' + ((i + pid) % 26) as u8;
                        // Three at once have a cell each.
                        assert!(texts.publish(0, &whole(letter), pid, all_live));
                    }
                });
            }
            for _ in 0..2000 {
                if let Some(text) = texts.read(0) {
                    assert_eq!(text, whole(text.as_bytes()[0]), "TEXT-2");
                }
            }
        });
    }
}
