//! One connection's record: 256 bytes in four cache lines, each with one writing side, so that a
//! sender's writes never slow a reader's line down and the other way round.
//!
//! Invariants:
//! TBL-1 the generation in gate and owner word agree except between the two stores that open or
//!       free a slot; who needs both compares both;
//! TBL-2 `Identity` changes only while the owner word says Free;
//! TBL-3 `fd` means something only in the supervisor's process, and is read only inside the gate or
//!       in Reading (P4);
//! TBL-4 the queue fields are touched only by the gate's holder, the partial fields only in Reading
//!       or, once Retiring, by the supervisor;
//! TBL-5 where the queue ends in the stream is known whenever its writer dies: see `queue::taken`.

use crate::pure::addr::Addr;
use crate::pure::framing::Framer;
use crate::pure::reason::Reason;
use crate::pure::words::{OwnerState, OwnerWord, Wanted};
use crate::shm::region::shared;
use crate::sync::{AtomicI32, AtomicU32, AtomicU64, Ordering, Word};

/// Reason bits of a post (P2).
///
/// `PEER_FIN`, `NO_ROOM` and `PONG` are noted only by who has the connection in Reading, because until
/// it lets go the slot cannot be another connection's. All others may be noted at any time: on the
/// slot's next connection they make the supervisor look, and nothing more; `WANTS_ROOM` and `WANTS_EMPTY`
/// make it say that there is room.
pub mod post {
    /// Output waits in inbox or queue.
    pub const WRITE: u32 = 1;
    /// A worker gave the connection back: arm it.
    pub const RETURN: u32 = 2;
    /// A worker gave the connection back and has armed it itself, so nobody is woken for this.
    pub const ARMED: u32 = 8;
    /// Somebody wants the end: `wanted` says how.
    pub const END: u32 = 4;
    /// Look whether a half-closed connection is done.
    pub const ANSWERED: u32 = 16;
    /// Lent, but the worker had no fd for it.
    pub const NO_FD: u32 = 32;
    /// A ping came while output waits: the pong goes behind it.
    pub const PONG: u32 = 64;
    /// The peer's FIN was read.
    pub const PEER_FIN: u32 = 128;
    /// A sender filled the queue above high-water, or was refused above low-water: say when it is down
    /// to low-water.
    pub const WANTS_ROOM: u32 = 1024;
    /// A sender was refused although the queue was at low-water: say when it is empty.
    pub const WANTS_EMPTY: u32 = 1 << 16;
    /// The host wants it to be read again.
    pub const RESUME: u32 = 1 << 17;
    /// Not read, because all partial messages together are at their bound.
    pub const NO_ROOM: u32 = 2048;
    /// Lifetime or another time was changed by the host, or a pong came: the next deadline is another one.
    pub const TIMES: u32 = 512;
}

/// `Identity::flags`
pub mod flag {
    pub const OUTBOUND: u32 = 1;
    /// The addresses are those of a PROXY header; see `wire`.
    pub const PROXIED: u32 = 2;
    /// The upper bits: the lane of its destination that a dialled connection serves, see `pure::choice`.
    pub const LANE_SHIFT: u32 = 24;
}

/// Written by the supervisor before the slot opens.
#[repr(C, align(64))]
pub struct Identity {
    remote: [AtomicU32; 6],
    /// family | port, and the ip; scope is the remote's.
    local: [AtomicU32; 5],
    pub flags: AtomicU32,
    /// Listener index + 1, 0: dialled.
    pub listener: AtomicU32,
    pub fd: AtomicI32,
    /// Next slot in the address index, see `index`.
    pub index_next: AtomicU32,
    pub index_bucket: AtomicU32,
}

/// Written by senders (and the supervisor as gate holder).
#[repr(C, align(64))]
pub struct Output {
    pub gate: AtomicU64,
    pub posted: AtomicU32,
    /// Requests delivered (not ACK) minus final answers sent; for half-close.
    pub pending_answers: AtomicI32,
    pub user: AtomicU64,
    pub bytes_out: AtomicU64,
    pub last_send_ms: AtomicU64,
    pub messages_out: AtomicU32,
    /// 0: the setting's.
    pub lifetime_ms: AtomicU32,
    /// First blocks of the first and last queued message.
    pub queue_head: AtomicU32,
    pub queue_tail: AtomicU32,
    /// And a mark: see `inbox`.
    pub queued_bytes: AtomicU32,
    /// `Wanted`: who else than the supervisor wants the end, and why.
    pub wanted: AtomicU32,
}

/// Written by the reader.
#[repr(C, align(64))]
pub struct Input {
    pub owner: AtomicU64,
    pub bytes_in: AtomicU64,
    /// First byte of the unfinished message was read then; 0: none.
    pub message_started_ms: AtomicU64,
    pub messages_in: AtomicU32,
    pub partial_head: AtomicU32,
    pub partial_tail: AtomicU32,
    pub partial_bytes: AtomicU32,
    pub framer: [AtomicU32; 5],
    /// `on_open` was called.
    pub opened: AtomicU32,
}

/// Written by the supervisor.
#[repr(C, align(64))]
pub struct Supervised {
    pub timer_prev: AtomicU32,
    pub timer_next: AtomicU32,
    pub timer_deadline_ms: AtomicU64,
    pub lent_prev: AtomicU32,
    pub lent_next: AtomicU32,
    /// A bit for each participant (1 to 63, one for all above) that keeps a duplicate of the fd.
    pub duplicates: AtomicU64,
    pub created_ms: AtomicU64,
    /// Last progress of output, or of the current ending.
    pub progress_ms: AtomicU64,
    /// Last return from a worker.
    pub activity_ms: AtomicU64,
    /// Close reason (low 8 bits) and errno (above).
    pub close_reason: AtomicU32,
    /// `Phase` bits of the supervisor.
    pub phase: AtomicU32,
}

#[repr(C, align(64))]
pub struct Slot {
    pub identity: Identity,
    pub output: Output,
    pub input: Input,
    pub supervised: Supervised,
}
const _: () = assert!(size_of::<Slot>() == 256);
const _: () = assert!(size_of::<Identity>() == 64 && size_of::<Output>() == 64);
const _: () = assert!(size_of::<Input>() == 64 && size_of::<Supervised>() == 64);
#[allow(unsafe_code)] // layout marker
mod marker {
    use super::{Slot, shared};
    shared!(Slot);
}

/// By it a connection is known in polls: in the supervisor's, where a worker may arm it, and in its worker's.
pub fn token(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

impl Slot {
    pub fn remote(&self) -> Addr {
        Addr::from_words(core::array::from_fn(|i| {
            self.identity.remote.get(i).map_or(0, Word::get)
        }))
    }
    pub fn local(&self) -> Addr {
        let mut words: [u32; 6] =
            core::array::from_fn(|i| self.identity.remote.get(i).map_or(0, Word::get));
        let scope = words[1];
        for (i, word) in words.iter_mut().enumerate() {
            *word = match i {
                0 => self.identity.local[0].get(),
                1 => scope,
                _ => self.identity.local.get(i - 1).map_or(0, Word::get),
            };
        }
        Addr::from_words(words)
    }
    /// Supervisor's process only: the number is one of its descriptors.
    pub fn close_fd(&self) {
        crate::sys::sock::close(self.identity.fd.swap(-1, Ordering::SeqCst));
    }
    /// Supervisor, while Free.
    pub fn set_addresses(&self, remote: &Addr, local: &Addr) {
        for (cell, word) in self.identity.remote.iter().zip(remote.to_words()) {
            cell.set(word);
        }
        let words = local.to_words();
        let kept = [words[0], words[2], words[3], words[4], words[5]];
        for (cell, word) in self.identity.local.iter().zip(kept) {
            cell.set(word);
        }
    }

    pub fn owner(&self) -> OwnerWord {
        OwnerWord(self.input.owner.load_sync())
    }
    /// The single step that takes a connection from one owner to another.
    #[cfg_attr(crash_points, track_caller)]
    #[must_use]
    pub fn swap_owner(&self, from: OwnerWord, to: OwnerWord) -> bool {
        self.input
            .owner
            .compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
    pub fn is_open(&self) -> bool {
        self.owner().state() != OwnerState::Free
    }
    /// When something last happened here: given back by a worker, sent to, output that moved, opened.
    pub fn active_ms(&self) -> u64 {
        let supervised = &self.supervised;
        let moved = supervised
            .activity_ms
            .get()
            .max(supervised.progress_ms.get());
        moved.max(self.output.last_send_ms.get())
    }
    pub fn is_outbound(&self) -> bool {
        self.identity.flags.get() & flag::OUTBOUND != 0
    }

    pub fn lane(&self) -> u32 {
        self.identity.flags.get() >> flag::LANE_SHIFT
    }

    pub fn framer_words(&self) -> [u32; 5] {
        core::array::from_fn(|i| self.input.framer.get(i).map_or(0, Word::get))
    }
    /// Bytes of input that were discarded after our FIN. The framer's first word: nobody frames any
    /// more.
    pub fn discarded(&self) -> &AtomicU32 {
        &self.input.framer[0]
    }
    /// Bytes are parked that the framer has not seen: read, and not delivered before reading stopped.
    /// In Reading by the reader, while Idle by the supervisor.
    pub fn has_kept_input(&self) -> bool {
        self.input.partial_head.get() != 0 && !Framer::from_words(self.framer_words()).in_message()
    }
    pub fn set_framer_words(&self, words: [u32; 5]) {
        for (cell, word) in self.input.framer.iter().zip(words) {
            cell.set(word);
        }
    }

    /// Notes a posting's reason; the mailbox bit comes after (P2).
    #[cfg_attr(crash_points, track_caller)]
    pub fn note(&self, bits: u32) {
        self.output.posted.fetch_or(bits, Ordering::SeqCst);
    }
    /// Says that this connection is to end: gracefully, or (`abort`) with its output reported. The
    /// caller posts END. Allowed at any time: nothing happens if the slot is another's by now.
    #[cfg_attr(crash_points, track_caller)]
    pub fn want(&self, generation: u32, reason: Reason, errno: i32, abort: bool) {
        let more = |word: u32| {
            Wanted(word)
                .and(generation, reason, errno, abort)
                .map(|word| word.0)
        };
        let _ = self
            .output
            .wanted
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }
    /// What of an end is wanted for the connection that is open now.
    pub fn wanted(&self) -> Option<(Reason, i32, bool)> {
        Wanted(self.output.wanted.load_sync()).end(self.owner().generation())
    }

    /// An answered request: never below zero, a host may answer twice.
    pub fn answered(&self) -> i32 {
        let less = |n: i32| (n > 0).then(|| n - 1);
        match self
            .output
            .pending_answers
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        {
            Ok(before) => before - 1,
            Err(now) => now,
        }
    }
}

pub fn pack_reason(reason: u32, errno: i32) -> u32 {
    reason & 0xFF | ((errno as u32) & 0xFF_FFFF) << 8
}
pub fn unpack_reason(word: u32) -> (u32, i32) {
    (word & 0xFF, (word >> 8) as i32)
}
