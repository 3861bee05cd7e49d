//! The first page of the segment: what it is, who is the supervisor, what all must see at once.

use super::journal::Journal;
use super::region::shared;
use crate::pure::reason::REASON_COUNT;
use crate::pure::settings::LIVE_WORDS;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word};

pub const MAGIC: u64 = 0x5349_5057_4952_4531; // "SIPWIRE1"

/// Goes up with each change of what a word of the segment means or where it is: who looks from outside
/// may be of another build.
pub const LAYOUT_VERSION: u64 = 2;

/// Words of `Header::shape`: room for more than there are now.
pub const SHAPE_WORDS: usize = 12;

#[repr(C, align(64))]
pub struct Header {
    /// These three stay where they are in every version. The magic comes last of what makes a segment.
    pub magic: AtomicU64,
    /// Hash of offsets, counts and sizes of everything in the segment.
    pub layout: AtomicU64,
    pub version: AtomicU64,
    /// Who is the supervisor: number of the claim (32) | pid (32); 0: nobody ever was. Taken by a CAS
    /// from the value read, so that of several that want to follow a dead one a single one does.
    pub claim: AtomicU64,
    /// The claim of which a participant or the parent saw that it is over.
    pub claim_over: AtomicU64,
    /// The process in which the fd numbers of the slots mean something; 0 while a new supervisor
    /// has not yet set right what it found.
    pub supervisor_pid: AtomicU32,
    /// Counts words of the host that some process died; see `Record::tell_end`.
    pub deaths_told: AtomicU32,
    /// Counts wishes for listeners; see `table::listeners`.
    pub listeners_asked: AtomicU32,
    /// Moves on with each supervisor that serves; senders notice by it that their channel is a dead
    /// one's.
    pub epoch: AtomicU64,
    /// `sipwire_stop` was called: every loop ends.
    pub stopping: AtomicU32,
    /// A violation (P12) was met; the instance goes on, marked.
    pub degraded: AtomicU32,
    /// Monotonic ms by which a drain must be over, 0: no drain.
    pub drain_ms: AtomicU64,
    /// Bumped after each change of `live` and of the texts.
    pub live_version: AtomicU64,

    /// The counts from which the layout follows, see `table::segment::Shape`.
    pub shape: [AtomicU32; SHAPE_WORDS],
    /// When the instance was made, monotonic ms.
    pub made_ms: AtomicU64,
    /// The setting of that name, which cannot change.
    pub partial_max: AtomicU64,

    pub line_sleep: SleepLine,
    pub line_dial: DialLine,
    pub journal: Journal,
    pub gauges: Gauges,
    pub live: [AtomicU64; LIVE_WORDS],
}

/// Written by the supervisor around its poll, read by every poster.
#[repr(C, align(64))]
pub struct SleepLine {
    pub sleeping: AtomicU32,
}

/// The dial list's head: a block index, pushed by senders, taken whole by the supervisor.
#[repr(C, align(64))]
pub struct DialLine {
    pub head: AtomicU32,
}

/// What is true now; written by the supervisor.
#[repr(C, align(64))]
pub struct Gauges {
    pub connections: AtomicU64,
    pub slots_used: AtomicU64,
    /// Slots from this index on were never used: who only looks makes no pages of them.
    pub slots_touched: AtomicU64,
    pub accept_paused: AtomicU64,
    /// 1 from when a worker met `partial_max` until the supervisor saw that there is room again.
    pub partial_full: AtomicU64,
    /// Accepted connections whose PROXY header is awaited.
    pub proxy_waiting: AtomicU64,
    pub closed_by_reason: [AtomicU64; REASON_COUNT],
}

shared!(Header);

impl Header {
    /// There was a supervisor, and it is known to have ended.
    pub fn supervisor_gone(&self) -> bool {
        let claim = self.claim.load_sync();
        claim != 0 && self.claim_over.load_sync() == claim
    }

    /// A supervisor claimed the place and is not known to have ended.
    pub fn supervised(&self) -> bool {
        self.claim.load_sync() != 0 && !self.supervisor_gone()
    }

    /// The pid of the claim, 0: nobody ever was supervisor.
    pub fn claim_pid(&self) -> u32 {
        self.claim.load_sync() as u32
    }

    /// The claim is over. One that is older than what is known already changes nothing.
    pub fn note_gone(&self, claim: u64) {
        self.claim_over.fetch_max(claim, Ordering::SeqCst);
    }

    /// Takes the supervisor's place as `pid`, if it is still as `before` says. The claim: no other one, earlier
    /// or later, is the same.
    pub fn claim(&self, before: u64, pid: u32) -> Option<u64> {
        let next = (before >> 32).wrapping_add(1) << 32 | u64::from(pid);
        self.claim
            .compare_exchange(before, next, Ordering::SeqCst, Ordering::SeqCst)
            .ok()
            .map(|_| next)
    }

    /// Stages of `stopping` only go up.
    pub fn stop(&self, stage: u32) {
        self.stopping.fetch_max(stage, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::region::{Layout, Region};

    #[test]
    fn one_of_two_takes_the_place_and_a_late_word_hits_no_successor() {
        let mut layout = Layout::default();
        let span = layout.span::<Header>(1);
        let region = Region::new("sipwire-test", &layout).unwrap();
        let header = &region.slice(span)[0];
        assert!(!header.supervised() && !header.supervisor_gone());
        assert!(header.claim(0, 77).is_some());
        assert!(header.claim(0, 78).is_none());
        let first = header.claim.load_sync();
        header.note_gone(first);
        assert!(header.supervisor_gone());
        assert!(
            header.claim(first, 77).is_some(),
            "the same pid, used again"
        );
        assert!(header.supervised());
        header.note_gone(first); // who noticed late
        assert!(header.supervised());
    }
}
