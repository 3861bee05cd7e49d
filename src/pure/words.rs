//! The packed words of the protocols: gate (P1), owner (P3), wanted end (P6), block stamp (P7).
//! Packing and legal transitions only; the compare-and-swap that performs one lives in `shm` and
//! `table`.

use super::id::GENERATION_MASK;
use super::reason::Reason;

/// A participant's number inside a word, 1..=1023; 0 is nobody.
pub type Holder = u16;
pub const HOLDER_MASK: u64 = 0x3FF;

// ---------------------------------------------------------------- gate

/// generation (26) | flags (4) | holder (10) | inbox head (24, a block index, 0 = none)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GateWord(pub u64);

impl GateWord {
    /// Connect has not finished: nobody may write yet.
    pub const CONNECTING: u64 = 1 << 34;
    /// Output is queued: every sender queues, only the supervisor writes.
    pub const ASYNC: u64 = 1 << 35;
    /// Nothing more is accepted; the supervisor is ending the connection.
    pub const CLOSING: u64 = 1 << 36;
    /// With ASYNC: all that is in the queue waits there for the next answer of a batch (P10). The kernel was not
    /// offered it yet, so `conn_wq_max` does not count it.
    pub const BATCH: u64 = 1 << 37;
    const FLAGS: u64 = 0xF << 34;

    pub fn new(generation: u32, flags: u64) -> GateWord {
        GateWord((u64::from(generation & GENERATION_MASK) << 38) | (flags & Self::FLAGS))
    }
    pub fn generation(self) -> u32 {
        (self.0 >> 38) as u32
    }
    pub fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }
    pub fn holder(self) -> Holder {
        ((self.0 >> 24) & HOLDER_MASK) as Holder
    }
    pub fn inbox(self) -> u32 {
        (self.0 & 0xFF_FFFF) as u32
    }
    /// A sender may take the gate and write directly.
    pub fn is_direct(self) -> bool {
        self.0 & 0x3F_FFFF_FFFF == 0
    }
    /// Something waits for the kernel, and what is sent now behind it.
    pub fn is_async(self) -> bool {
        (self.has(Self::ASYNC) && !self.has(Self::BATCH)) || self.inbox() != 0
    }
    pub fn with_holder(self, holder: Holder) -> GateWord {
        GateWord(self.0 & !(HOLDER_MASK << 24) | (u64::from(holder) & HOLDER_MASK) << 24)
    }
    pub fn with_inbox(self, block: u32) -> GateWord {
        GateWord(self.0 & !0xFF_FFFF | u64::from(block) & 0xFF_FFFF)
    }
    pub fn with(self, flags: u64) -> GateWord {
        GateWord(self.0 | flags & Self::FLAGS)
    }
    pub fn without(self, flags: u64) -> GateWord {
        GateWord(self.0 & !(flags & Self::FLAGS))
    }
}

// ---------------------------------------------------------------- owner

/// Who may read a connection.
#[deny(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OwnerState {
    /// The slot holds no connection.
    Free = 0,
    /// With the supervisor.
    Idle = 1,
    /// In a worker's lend ring; nobody reads.
    Lent = 2,
    /// The worker polls it; nobody reads at this instant.
    Held = 3,
    /// The worker reads it or runs a callback for it.
    Reading = 4,
    /// The supervisor is ending it; nobody may read any more.
    Retiring = 5,
    /// Retiring, and in a worker's lend ring for its `on_close`.
    Closing = 6,
    /// Retiring, and the worker runs its `on_close`.
    ClosingRun = 7,
    /// Retiring, and the host was told (or does not want to be).
    Told = 8,
}

#[deny(missing_docs)]
impl OwnerState {
    fn from_bits(bits: u64) -> OwnerState {
        match bits {
            1 => OwnerState::Idle,
            2 => OwnerState::Lent,
            3 => OwnerState::Held,
            4 => OwnerState::Reading,
            5 => OwnerState::Retiring,
            6 => OwnerState::Closing,
            7 => OwnerState::ClosingRun,
            8 => OwnerState::Told,
            _ => OwnerState::Free,
        }
    }
}

/// generation (26) | lend number (20) | state (4) | worker's participant number (10) | spare (4)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerWord(pub u64);

impl OwnerWord {
    pub fn new(generation: u32, lend: u32, state: OwnerState, worker: Holder) -> OwnerWord {
        OwnerWord(
            (u64::from(generation & GENERATION_MASK) << 38)
                | ((u64::from(lend) & 0xF_FFFF) << 18)
                | ((state as u64) << 14)
                | ((u64::from(worker) & HOLDER_MASK) << 4),
        )
    }
    pub fn generation(self) -> u32 {
        (self.0 >> 38) as u32
    }
    pub fn lend(self) -> u32 {
        ((self.0 >> 18) & 0xF_FFFF) as u32
    }
    pub fn state(self) -> OwnerState {
        OwnerState::from_bits((self.0 >> 14) & 0xF)
    }
    pub fn worker(self) -> Holder {
        ((self.0 >> 4) & HOLDER_MASK) as Holder
    }
    /// The same connection and lend in another state.
    pub fn to(self, state: OwnerState) -> OwnerWord {
        OwnerWord::new(self.generation(), self.lend(), state, self.worker())
    }
    /// Back with the supervisor.
    pub fn to_supervisor(self, state: OwnerState) -> OwnerWord {
        OwnerWord::new(self.generation(), self.lend(), state, 0)
    }
    /// Given to `worker` under a new lend number, so that an old ring entry cannot match.
    pub fn lent_to(self, state: OwnerState, worker: Holder) -> OwnerWord {
        OwnerWord::new(self.generation(), self.lend() + 1, state, worker)
    }
}

// ---------------------------------------------------------------- wanted end

/// That a participant other than the supervisor wants a connection to end, and why:
/// low bits of the generation (16) | errno (8) | abort (1) | reason (7, 0 = nobody wants it).
///
/// The generation is in the word because who wants the end may hold neither the gate nor the read
/// side: without it, one that was stopped in between would end the slot's next connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted(pub u32);

impl Wanted {
    const ABORT: u32 = 1 << 7;
    /// Linux's number. The kernel tells a connection's error once, and this to all who come later.
    pub const TOLD_ELSEWHERE: i32 = 32;

    /// A connection that nobody wants to end.
    pub fn nothing(generation: u32) -> Wanted {
        Wanted(generation << 16)
    }
    fn is_of(self, generation: u32) -> bool {
        self.0 >> 16 == generation & 0xFFFF
    }
    /// Reason, errno and whether queued output is to be reported instead of written.
    pub fn end(self, generation: u32) -> Option<(Reason, i32, bool)> {
        let reason = self.0 & 0x7F;
        (self.is_of(generation) && reason != 0).then(|| {
            let errno = (self.0 >> 8 & 0xFF) as i32;
            (
                Reason::from_number(reason),
                errno,
                self.0 & Self::ABORT != 0,
            )
        })
    }
    /// The word after one more wish: the first reason stays, but an abort is stronger than a graceful
    /// end, and an error then is the reason, because it is why the output is not written. So is the
    /// error itself when the word only says that it was told elsewhere. `None`: nothing changes, or the
    /// word is another connection's by now.
    pub fn and(self, generation: u32, reason: Reason, errno: i32, abort: bool) -> Option<Wanted> {
        let abort = if abort { Self::ABORT } else { 0 };
        // Linux has no errno above 133.
        let errno = u32::from(u8::try_from(errno).unwrap_or(0));
        let first = self.0 & 0x7F == 0;
        let graceful = self.0 & Self::ABORT == 0;
        let told_elsewhere = self.0 >> 8 & 0xFF == Self::TOLD_ELSEWHERE as u32
            && errno != Self::TOLD_ELSEWHERE as u32;
        let better = abort != 0 && errno != 0 && (graceful || told_elsewhere);
        if !self.is_of(generation) {
            None
        } else if first || better {
            Some(Wanted(
                self.0 & !0xFFFF | errno << 8 | abort | reason as u32 & 0x7F,
            ))
        } else {
            (self.0 & abort != abort).then_some(Wanted(self.0 | abort))
        }
    }
}

// ---------------------------------------------------------------- block stamp

/// What a block is used for and by whom; allocation is the CAS from `Free` to `Private`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BlockUse {
    Free = 0,
    /// Being filled by a participant, or kept by it in reserve.
    Private = 1,
    /// Part of a queued message: in a slot's inbox or queue.
    Message = 2,
    /// Part of a message on the dial list.
    Dial = 3,
    /// Part of a connection's partial message.
    Partial = 4,
    /// A notice for the host that waits with the supervisor.
    Notice = 5,
    /// A notice in a worker's lend ring.
    NoticeLent = 6,
    /// A notice whose callback runs.
    NoticeRun = 7,
}

/// use (4) | participant (10) | slot (20) | generation or lend number (26) | spare (4)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(pub u64);

impl Stamp {
    pub const FREE: Stamp = Stamp(0);

    pub fn new(usage: BlockUse, participant: Holder, slot: u32, number: u32) -> Stamp {
        Stamp(
            ((usage as u64) << 60)
                | ((u64::from(participant) & HOLDER_MASK) << 50)
                | ((u64::from(slot) & 0xF_FFFF) << 30)
                | (u64::from(number & GENERATION_MASK) << 4),
        )
    }
    pub fn private(participant: Holder) -> Stamp {
        Stamp::new(BlockUse::Private, participant, 0, 0)
    }
    pub fn usage(self) -> BlockUse {
        match self.0 >> 60 {
            0 => BlockUse::Free,
            1 => BlockUse::Private,
            2 => BlockUse::Message,
            3 => BlockUse::Dial,
            4 => BlockUse::Partial,
            5 => BlockUse::Notice,
            6 => BlockUse::NoticeLent,
            // An unknown use (scribbled) is never freed by mistake: it reads as in use.
            _ => BlockUse::NoticeRun,
        }
    }
    pub fn participant(self) -> Holder {
        ((self.0 >> 50) & HOLDER_MASK) as Holder
    }
    pub fn slot(self) -> u32 {
        ((self.0 >> 30) & 0xF_FFFF) as u32
    }
    pub fn number(self) -> u32 {
        ((self.0 >> 4) as u32) & GENERATION_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_word_keeps_its_parts_apart() {
        let word = GateWord::new(0x3FF_FFFF, GateWord::ASYNC)
            .with_holder(1023)
            .with_inbox(0xFF_FFFF);
        assert_eq!(word.generation(), 0x3FF_FFFF);
        assert!(word.has(GateWord::ASYNC) && !word.has(GateWord::CLOSING | GateWord::CONNECTING));
        assert_eq!((word.holder(), word.inbox()), (1023, 0xFF_FFFF));
        let cleared = word.without(GateWord::ASYNC).with_holder(0).with_inbox(0);
        assert!(cleared.is_direct());
        assert_eq!(cleared.generation(), 0x3FF_FFFF);
        assert!(!cleared.with(GateWord::CLOSING).is_direct());
    }

    #[test]
    fn an_owner_word_keeps_its_parts_apart() {
        let word = OwnerWord::new(5, 0xF_FFFF, OwnerState::Held, 1023);
        assert_eq!(
            (word.generation(), word.lend(), word.worker()),
            (5, 0xF_FFFF, 1023)
        );
        assert_eq!(word.state(), OwnerState::Held);
        let lent = word.lent_to(OwnerState::Lent, 3);
        assert_eq!((lent.generation(), lent.lend(), lent.worker()), (5, 0, 3));
        assert_eq!(lent.to_supervisor(OwnerState::Idle).worker(), 0);
    }

    #[test]
    fn an_error_that_was_told_elsewhere_is_replaced_by_the_one_that_was_told() {
        let elsewhere = Wanted::TOLD_ELSEWHERE;
        let nothing = Wanted::nothing(7);
        let guess = nothing.and(7, Reason::PeerReset, elsewhere, true).unwrap();
        let known = guess.and(7, Reason::IoError, 110, true).unwrap();
        assert_eq!(known.end(7), Some((Reason::IoError, 110, true)));
        for (reason, errno) in [(Reason::PeerReset, elsewhere), (Reason::Host, 0)] {
            assert_eq!(guess.and(7, reason, errno, true), None);
            assert_eq!(known.and(7, reason, errno, true), None);
        }
    }

    #[test]
    fn the_first_reason_stays_and_an_abort_is_stronger() {
        let graceful = Wanted::nothing(0x3FF_0007)
            .and(0x3FF_0007, Reason::CloseAfterSend, 0, false)
            .unwrap();
        let end = |word: Wanted| word.end(0x3FF_0007);
        assert_eq!(end(graceful), Some((Reason::CloseAfterSend, 0, false)));
        assert_eq!(graceful.and(0x3FF_0007, Reason::Host, 0, false), None);
        let full = graceful.and(0x3FF_0007, Reason::ConnQueueFull, 0, true);
        assert_eq!(end(full.unwrap()), Some((Reason::CloseAfterSend, 0, true)));
        let cut = graceful
            .and(0x3FF_0007, Reason::PeerReset, 32, true)
            .unwrap();
        assert_eq!(end(cut), Some((Reason::PeerReset, 32, true)));
        let told = cut.and(0x3FF_0007, Reason::PeerReset, 104, true).unwrap();
        assert_eq!(end(told), Some((Reason::PeerReset, 104, true)));
        assert_eq!(told.and(0x3FF_0007, Reason::IoError, 5, true), None);
        let reset = Wanted::nothing(7)
            .and(7, Reason::PeerReset, 104, true)
            .unwrap();
        assert_eq!(reset.end(7), Some((Reason::PeerReset, 104, true)));
    }

    #[test]
    fn a_wish_never_ends_the_next_connection() {
        let next = Wanted::nothing(8);
        assert_eq!(next.and(7, Reason::Host, 0, true), None);
        assert_eq!(next.end(8), None);
        let old = Wanted::nothing(7).and(7, Reason::Host, 0, true).unwrap();
        assert_eq!(old.end(8), None);
    }

    #[test]
    fn a_stamp_keeps_its_parts_apart() {
        let stamp = Stamp::new(BlockUse::Message, 1023, 0xF_FFFF, 0x3FF_FFFF);
        assert_eq!(stamp.usage(), BlockUse::Message);
        assert_eq!(
            (stamp.participant(), stamp.slot(), stamp.number()),
            (1023, 0xF_FFFF, 0x3FF_FFFF)
        );
        assert_eq!(Stamp::FREE.usage(), BlockUse::Free);
    }
}
