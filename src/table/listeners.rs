//! What the instance listens on, in the segment: whoever wants a listener or wants one no more says so
//! here, the supervisor does it and says what came of it, and a supervisor that follows a dead one finds
//! all that is to be open.
//!
//! A record's word is state | inherited | errno | pid. Who asks takes a record by the CAS that writes its
//! pid there (it need not be a participant), writes the address, and publishes it by one store. Who dies
//! between the two leaves a record that the next one takes over. Nobody waits for anybody.
//!
//! | from | to | by |
//! |---|---|---|
//! | Free, Failed, Closed, or Asking of a dead process | Asking | who adds |
//! | Asking | Wanted | the same |
//! | Wanted | Open, Failed | the supervisor |
//! | Wanted, Open, Failed | Unwanted | who removes |
//! | Open | Failed | a new supervisor that cannot bind it again |
//! | Wanted, Open, Unwanted | Closed | the supervisor |

use crate::pure::addr::Addr;
use crate::shm::region::shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word};

/// Records beyond those of the listeners that the instance was made with.
pub const SPARE_LISTENERS: usize = 64;

/// What `word` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Free,
    /// This process is writing the address.
    Asking(u32),
    Wanted,
    Open,
    /// Could not be opened, for this errno.
    Failed(i32),
    Unwanted,
    Closed,
}

#[repr(C, align(64))]
pub struct Record {
    word: AtomicU64,
    /// By the supervisor: the higher, the later it was closed or failed.
    ended: AtomicU64,
    /// Where to listen, perhaps on port 0; by who adds.
    wanted: [AtomicU32; 6],
    /// Where it listens; by the supervisor, before it says Open. Kept when it is closed.
    bound: [AtomicU32; 6],
}
const _: () = assert!(size_of::<Record>() == 64);

#[allow(unsafe_code)] // layout marker
mod marker {
    use super::{Record, shared};
    shared!(Record);
}

const INHERITED: u64 = 1 << 8;

fn pack(state: State, inherited: bool) -> u64 {
    let (number, detail) = match state {
        State::Free => (0, 0),
        State::Asking(pid) => (1, pid),
        State::Wanted => (2, 0),
        State::Open => (3, 0),
        State::Failed(errno) => (4, errno.unsigned_abs()),
        State::Unwanted => (5, 0),
        State::Closed => (6, 0),
    };
    number | u64::from(inherited) << 8 | u64::from(detail) << 32
}

fn unpack(word: u64) -> State {
    let detail = (word >> 32) as u32;
    match word as u8 {
        1 => State::Asking(detail),
        2 => State::Wanted,
        3 => State::Open,
        4 => State::Failed(detail as i32),
        5 => State::Unwanted,
        6 => State::Closed,
        // Also what was scribbled on (P12).
        _ => State::Free,
    }
}

fn read(cells: &[AtomicU32; 6]) -> Addr {
    Addr::from_words(cells.each_ref().map(Word::get))
}

fn write(cells: &[AtomicU32; 6], addr: &Addr) {
    for (cell, word) in cells.iter().zip(addr.to_words()) {
        cell.set(word);
    }
}

impl Record {
    pub fn state(&self) -> State {
        unpack(self.word.load_sync())
    }

    /// Its socket was made before any fork: every process has a descriptor of it.
    pub fn is_inherited(&self) -> bool {
        self.word.load_sync() & INHERITED != 0
    }

    pub fn wanted(&self) -> Addr {
        read(&self.wanted)
    }

    /// None: it never was open.
    pub fn bound(&self) -> Addr {
        read(&self.bound)
    }

    fn step(&self, from: u64, to: u64) -> bool {
        self.word
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Before any fork: a listener that the instance is made with.
    pub fn inherit(&self, bound: &Addr) {
        write(&self.wanted, bound);
        write(&self.bound, bound);
        self.word.store_sync(pack(State::Open, true));
    }

    /// By the supervisor. False: it is wanted no more.
    pub fn opened(&self, bound: &Addr) -> bool {
        write(&self.bound, bound);
        self.step(pack(State::Wanted, false), pack(State::Open, false))
    }

    /// By the supervisor, from what it saw. Nothing changes if somebody asks for something else meanwhile.
    pub fn end(&self, all: &[Record], seen: State, ended: State) {
        let latest = all.iter().map(|record| record.ended.get()).max();
        self.ended.set(latest.unwrap_or(0).wrapping_add(1));
        let inherited = self.is_inherited();
        let _ = self.step(pack(seen, inherited), pack(ended, inherited));
    }
}

/// Asks for a listener: its number. None: every record is in use. `pid` is the caller's; `lives`: there is
/// a process with this pid. The supervisor is to be told.
pub fn add(
    records: &[Record],
    addr: &Addr,
    pid: u32,
    lives: impl Fn(u32) -> bool,
) -> Option<usize> {
    for _ in 0..=records.len() {
        // A number is given out again as late as possible: connections name it.
        let free = records.iter().enumerate().filter_map(|(number, record)| {
            let word = record.word.load_sync();
            let ended = record.ended.get();
            match unpack(word) {
                State::Free => Some((0, number, word)),
                State::Failed(_) | State::Closed => Some((ended, number, word)),
                State::Asking(holder) if !lives(holder) => Some((ended, number, word)),
                _ => None,
            }
        });
        let (_, number, word) = free.min()?;
        let record = records.get(number)?;
        // Another one may have taken it: look again.
        if record.step(word, pack(State::Asking(pid), false)) {
            write(&record.bound, &Addr::none());
            write(&record.wanted, addr);
            record.word.store_sync(pack(State::Wanted, false));
            return Some(number);
        }
    }
    None
}

/// Says that a listener is wanted no more. False: it is none. The supervisor is to be told, once more by
/// who comes second: the first may have died before it could.
pub fn remove(record: &Record) -> bool {
    loop {
        let word = record.word.load_sync();
        match unpack(word) {
            State::Wanted | State::Open | State::Failed(_) => {
                let inherited = word & INHERITED != 0;
                if record.step(word, pack(State::Unwanted, inherited)) {
                    return true;
                }
            }
            State::Unwanted => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::region::{Layout, Region, Span};

    struct Memory {
        region: Region,
        records: Span<Record>,
    }
    impl Memory {
        fn new(count: usize) -> Memory {
            let mut layout = Layout::default();
            let records = layout.span(count);
            let region = Region::new("sipwire-test", &layout).unwrap();
            Memory { region, records }
        }
        fn records(&self) -> &[Record] {
            self.region.slice(self.records)
        }
    }

    fn addr(port: u16) -> Addr {
        Addr::v4([127, 0, 0, 1], port)
    }
    fn all_live(_: u32) -> bool {
        true
    }

    #[test]
    fn a_listener_comes_and_goes() {
        let memory = Memory::new(3);
        let records = memory.records();
        records[0].inherit(&addr(5060));
        assert!(records[0].is_inherited() && records[0].state() == State::Open);
        assert_eq!(add(records, &addr(0), 7, all_live), Some(1));
        let added = &records[1];
        assert_eq!((added.state(), added.wanted()), (State::Wanted, addr(0)));
        assert!(added.bound().is_none() && !added.is_inherited());
        assert!(added.opened(&addr(40_000)));
        assert_eq!((added.state(), added.bound()), (State::Open, addr(40_000)));
        assert!(remove(added) && remove(&records[0]));
        assert_eq!(added.state(), State::Unwanted);
        assert!(records[0].is_inherited(), "or nobody would close it");
        assert!(remove(added), "who asked before may have died");
        assert!(!remove(&records[2]));
        records[0].end(records, State::Open, State::Closed);
        assert_eq!(records[0].state(), State::Unwanted, "seen too early");
        records[0].end(records, State::Unwanted, State::Closed);
        assert_eq!(records[0].state(), State::Closed);
    }

    #[test]
    fn one_that_is_removed_before_it_is_open_is_not_opened() {
        let memory = Memory::new(1);
        let records = memory.records();
        assert_eq!(add(records, &addr(1), 7, all_live), Some(0));
        assert!(remove(&records[0]));
        assert!(!records[0].opened(&addr(1)));
        assert_eq!(records[0].state(), State::Unwanted);
    }

    #[test]
    fn numbers_are_given_out_again_as_late_as_possible() {
        let memory = Memory::new(3);
        let records = memory.records();
        for port in 1..=3 {
            assert!(add(records, &addr(port), 7, all_live).is_some());
        }
        assert_eq!(add(records, &addr(4), 7, all_live), None);
        records[1].end(records, State::Wanted, State::Failed(98));
        assert_eq!(records[1].state(), State::Failed(98));
        records[0].end(records, State::Wanted, State::Closed);
        assert_eq!(add(records, &addr(5), 7, all_live), Some(1));
        assert_eq!(add(records, &addr(6), 7, all_live), Some(0));
        assert_eq!(add(records, &addr(7), 7, all_live), None);
    }

    #[test]
    fn what_a_dead_one_was_asking_for_is_nobodys() {
        let memory = Memory::new(1);
        let records = memory.records();
        records[0].word.store_sync(pack(State::Asking(8), false));
        assert_eq!(add(records, &addr(1), 7, all_live), None);
        assert!(!remove(&records[0]));
        assert_eq!(add(records, &addr(1), 7, |pid| pid != 8), Some(0));
        assert_eq!(records[0].wanted(), addr(1));
    }

    #[test]
    fn a_scribbled_word_is_free() {
        assert_eq!(unpack(u64::MAX), State::Free);
        for state in [
            State::Free,
            State::Asking(u32::MAX),
            State::Failed(98),
            State::Closed,
        ] {
            assert_eq!(unpack(pack(state, true)), state);
        }
    }
}
