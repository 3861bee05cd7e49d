//! Sending, by any participant: directly when nothing is queued on the connection and this process
//! has its fd, else into the connection's queue (P1), or onto the dial list (P5). Never waits.

use std::cell::Cell;
use std::io::IoSlice;

use crate::pure::addr::Addr;
use crate::pure::answer::{Kind, kind};
use crate::pure::choice::Wish;
use crate::pure::error::{Error, Result};
use crate::pure::limits::{Full, QueueState, admit};
use crate::pure::reason::Reason;
use crate::pure::settings::{QueueFull, Settings};
use crate::pure::words::{BlockUse, Stamp};
use crate::roles::capture::{self, Ends};
use crate::roles::context::{Context, failed_because};
use crate::roles::host::Captured;
use crate::roles::member::Member;
use crate::roles::notice::{KIND_ALIAS, KIND_END};
use crate::roles::target::{Sent, Target};
use crate::shm::counters::Counter;
use crate::shm::gate::{self, Take};
use crate::sync::{Ordering, Word};
use crate::sys::{self, sock};
use crate::table::slot::{Slot, post};
use crate::table::{blacklist, flow, inbox, index, phase, queue};

/// The library's own bytes (pong, error answer): nobody waits for a report of them.
pub const UNREPORTED: u32 = 0x8000_0000;
/// If the kernel takes nothing of it now, it is not queued.
const ALL_OR_NOTHING: u32 = 0x2000_0000;
/// A final answer: counted against the requests it may belong to when it enters the queue.
pub const FINAL_ANSWER: u32 = 0x4000_0000;
/// Our ping: when it is written, the wait for its pong begins.
pub const PING: u32 = 0x1000_0000;
/// Entries of one sender on the dial list beside which no alias is put there: it takes a block, and no limit
/// counts it.
const MOST_LISTED_ALIASES: u64 = 256;
/// Pieces a message may come in; the caller puts more together.
pub const MAX_PARTS: usize = 64;
/// A message that is no longer than this is written as one part.
const TOGETHER_MAX_BYTES: usize = 4096;

pub(super) struct Call<'a> {
    pub(super) context: &'a Context,
    pub(super) member: &'a Member,
    pub(super) settings: &'a Settings,
    parts: &'a [&'a [u8]],
    pub(super) length: usize,
    target: Target,
    cookie: u64,
    pub(super) now_ms: u64,
    /// When the message came, if it is to be shown (`capture`).
    shown_us: Option<u64>,
    /// Between whom it then goes; none: it waits for a dial.
    ends: Cell<Option<Ends>>,
}

pub fn send(
    context: &Context,
    member: &Member,
    target: Target,
    parts: &[&[u8]],
    cookie: u64,
) -> Result<Sent> {
    let settings = member.live(context);
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let now_ms = sys::clock::monotonic_ms();
    let mut call = Call {
        context,
        member,
        settings: &settings,
        parts,
        length,
        target,
        cookie,
        now_ms,
        // Before the first byte goes out: the peer's answer is never shown as the older one.
        shown_us: capture::begin(context, member),
        ends: Cell::new(None),
    };
    let result = call.run();
    member.trim_reserve(context);
    match result {
        Ok(Sent::Directly) => member.count(context, Counter::SendsDirect, 1),
        Ok(Sent::Queued) => member.count(context, Counter::SendsQueued, 1),
        Err(_) => member.count(context, Counter::SendsRefused, 1),
    }
    if let (Some(time_us), Ok(sent)) = (call.shown_us, result) {
        let own = target.flags & UNREPORTED != 0;
        let what = Captured::Accepted { sent, cookie, own };
        let ends = call.ends.get();
        let ends = ends.unwrap_or_else(|| Ends::not_dialled(target.remote, target.local));
        capture::show(context, member, time_us, what, ends, parts);
    }
    result
}

/// A few bytes of the library's own, now or not at all: false, when nothing of them went out.
pub fn send_directly(
    context: &Context,
    member: &Member,
    (index, slot, generation): (u32, &Slot, u32),
    bytes: &[u8],
) -> bool {
    let settings = member.live(context);
    let call = Call {
        context,
        member,
        settings: &settings,
        parts: &[bytes],
        length: bytes.len(),
        target: Target {
            conn_id: 0,
            remote: Addr::none(),
            local: Addr::none(),
            flags: UNREPORTED | ALL_OR_NOTHING,
            hash: 0,
        },
        cookie: 0,
        now_ms: sys::clock::monotonic_ms(),
        shown_us: None,
        ends: Cell::new(None),
    };
    member.ensure_reserve(context, bytes.len())
        && call.has_fd(index, generation)
        && gate::take_direct(&slot.output.gate, generation, member.holder) == Take::Taken
        && call.write_directly(index, slot, generation).is_ok()
}

/// Asks the supervisor to make `alias` (the connection's remote address with another port) lead to this
/// connection, too. By the dial list, so that what the caller sends there next looks behind it.
pub fn post_alias(context: &Context, member: &Member, conn_id: u32, alias: Addr) -> Result<()> {
    let now_ms = sys::clock::monotonic_ms();
    member.refresh(context, now_ms);
    if context.segment.header().supervisor_gone() {
        return Err(Error::SupervisorGone);
    }
    let settings = member.live(context);
    let call = Call {
        context,
        member,
        settings: &settings,
        parts: &[],
        length: 0,
        target: Target {
            conn_id,
            remote: alias,
            local: Addr::none(),
            flags: 0,
            hash: 0,
        },
        cookie: 0,
        now_ms,
        shown_us: None,
        ends: Cell::new(None),
    };
    if member.listed(context) >= MOST_LISTED_ALIASES || !member.ensure_reserve(context, 0) {
        return Err(Error::TotalQueueFull);
    }
    let first = member.build(context, &[]).ok_or(Error::TotalQueueFull)?;
    call.push_to_dial_list(first, 0, KIND_ALIAS)
}

impl Call<'_> {
    fn run(&mut self) -> Result<Sent> {
        let header = self.context.segment.header();
        if self.length == 0 || self.parts.len() > MAX_PARTS {
            return Err(Error::Argument);
        }
        if self.length as u64 > self.settings.max_message_size_bytes {
            return Err(Error::TooLarge);
        }
        if header.stopping.load_sync() != 0 {
            return Err(Error::ShuttingDown);
        }
        self.member.refresh(self.context, self.now_ms);
        if header.supervisor_gone() {
            return Err(Error::SupervisorGone);
        }
        if self.target.conn_id != 0 {
            match self.by_id() {
                Err(Error::NoConnection) if self.may_go_elsewhere() => {}
                result => return result,
            }
            if self.came_from_there() {
                self.target.flags |= Target::NO_CONNECT;
            }
        }
        self.by_address()
    }

    fn by_id(&self) -> Result<Sent> {
        let segment = &self.context.segment;
        let (index, slot, generation) = segment
            .by_id(self.target.conn_id)
            .ok_or(Error::NoConnection)?;
        let remote = &self.target.remote;
        let anywhere = remote.is_none() || self.target.flags & (Target::FLOW | Target::ANSWER) != 0;
        if !anywhere && !index::is_at(segment, index, slot, remote) {
            return Err(Error::NoConnection);
        }
        self.on_connection(index, slot, generation)
    }

    fn may_go_elsewhere(&self) -> bool {
        self.target.flags & Target::FLOW == 0 && !self.target.remote.is_none()
    }

    /// The address is the one from which the connection that the id means was opened: nobody listens there
    /// (RFC 3261 section 18.2.2 asks for the port of the Via). An open connection from it is as good.
    fn came_from_there(&self) -> bool {
        let named = self.context.segment.named(self.target.conn_id);
        named.is_some_and(|slot| !slot.is_outbound() && slot.remote() == self.target.remote)
    }

    fn by_address(&self) -> Result<Sent> {
        let segment = &self.context.segment;
        let remote = &self.target.remote;
        let local = &self.target.local;
        if remote.is_none()
            || remote.port == 0
            || remote.is_unspecified()
            || (!local.is_none() && local.family != remote.family)
        {
            return Err(Error::Argument);
        }
        // While something of ours waits on the dial list, what follows goes the same way: it
        // could overtake otherwise (P5).
        if self.member.listed(self.context) != 0 {
            // It has not looked for a connection: the supervisor does, and asks all this if there is none.
            return self.post_to_dial_list();
        }
        if self.target.flags & Target::FRESH == 0 {
            let wish = self.wish();
            let chosen = index::choose(segment, remote, &self.target.local, wish);
            if let Some(found) = chosen.open
                && (!chosen.further || self.may_dial().is_err())
                && let Some(slot) = segment.slot(found.slot)
            {
                match self.on_connection(found.slot, slot, found.generation) {
                    Err(Error::NoConnection) => {}
                    result => return result,
                }
            }
        }
        let may_dial = self.may_dial();
        if may_dial == Err(Error::Blacklisted) {
            self.member
                .count(self.context, Counter::BlacklistRefused, 1);
        }
        may_dial?;
        self.post_to_dial_list()
    }

    fn wish(&self) -> Wish {
        Wish {
            hash: self.target.hash,
            lanes: self.settings.connections_per_destination,
        }
    }

    fn may_dial(&self) -> Result<()> {
        let segment = &self.context.segment;
        if self.target.flags & Target::NO_CONNECT != 0 || self.settings.no_connect {
            return Err(Error::NoConnection);
        }
        if segment.header().drain_ms.load_sync() != 0 {
            return Err(Error::ShuttingDown);
        }
        if blacklist::check(segment.blacklist(), &self.target.remote, self.now_ms) {
            return Err(Error::Blacklisted);
        }
        Ok(())
    }

    /// The fd by which this process can write to the connection, if it has one. In the
    /// supervisor's process it is read inside the gate only (TBL-3).
    fn has_fd(&self, index: u32, generation: u32) -> bool {
        self.context.is_supervisors_process()
            || self
                .member
                .duplicates
                .borrow()
                .get(index, generation)
                .is_some()
    }

    fn on_connection(&self, index: u32, slot: &Slot, generation: u32) -> Result<Sent> {
        if self.shown_us.is_some() {
            let ends = Ends::of(self.context, index, slot, generation);
            self.ends.set(Some(ends));
        }
        if !self.member.ensure_reserve(self.context, self.length) {
            return Err(self.no_room(index, slot, generation));
        }
        if self.has_fd(index, generation) {
            let gate = &slot.output.gate;
            let batched = self.is_batched(index, slot, generation);
            let take = match batched {
                true => gate::begin_batch(gate, generation, self.member.holder),
                false => gate::take_direct(gate, generation, self.member.holder),
            };
            match take {
                Take::Taken if batched => return self.put_to_batch(index, slot, generation),
                Take::Taken => return self.write_directly(index, slot, generation),
                Take::Gone => return Err(Error::NoConnection),
                Take::Busy if batched && gate::take_batch(gate, generation, self.member.holder) => {
                    return self.put_to_batch(index, slot, generation);
                }
                Take::Busy => {}
            }
        }
        self.queue(index, slot, generation)
    }

    pub(super) fn fd_of(&self, index: u32, slot: &Slot, generation: u32) -> sys::RawFd {
        if self.context.is_supervisors_process() {
            return slot.identity.fd.load_sync();
        }
        let duplicates = self.member.duplicates.borrow();
        duplicates.get(index, generation).unwrap_or(-1)
    }

    /// The kernel takes a small message of many parts more slowly than we copy it.
    fn put_together<'b>(&self, together: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        if self.parts.len() == 1 || self.length > TOGETHER_MAX_BYTES {
            return None;
        }
        together.clear();
        self.parts
            .iter()
            .for_each(|part| together.extend_from_slice(part));
        Some(together)
    }

    fn write_directly(&self, index: u32, slot: &Slot, generation: u32) -> Result<Sent> {
        let fd = self.fd_of(index, slot, generation);
        let mut together = self.member.together.borrow_mut();
        let whole = self.put_together(&mut together);
        let parts = whole.as_ref().map_or(self.parts, core::slice::from_ref);
        let mut slices = [IoSlice::new(&[]); MAX_PARTS];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let slices = slices.get(..parts.len()).unwrap_or_default();
        let written = match sock::send_parts(fd, slices, false) {
            Ok(n) => n,
            Err(errno) if errno.is_again() => 0,
            Err(errno) => {
                slot.want(generation, failed_because(errno), errno.0, true);
                let _ = gate::release(&slot.output.gate);
                self.context.post(index, slot, post::END);
                return Err(Error::NoConnection);
            }
        };
        slot.output.bytes_out.bump(written as u64);
        self.member
            .count(self.context, Counter::BytesOut, written as u64);
        if written == self.length {
            slot.output.messages_out.bump(1);
            self.member.count(self.context, Counter::MessagesOut, 1);
            let mut bits = self.accepted(slot, generation);
            if gate::release(&slot.output.gate) {
                bits |= post::WRITE;
            }
            // While we held the gate the supervisor could not see the connection as written.
            if slot.supervised.phase.load_sync() & phase::HALF_CLOSED != 0 {
                bits |= post::ANSWERED;
            }
            if bits != 0 {
                self.context.post(index, slot, bits);
            }
            return Ok(Sent::Directly);
        }
        if written == 0 {
            let refused = if self.target.flags & ALL_OR_NOTHING != 0 {
                Err(Error::ConnQueueFull)
            } else {
                self.admit(0)
                    .map_err(|full| self.refuse(full, index, slot, generation))
            };
            if let Err(refused) = refused {
                if gate::release(&slot.output.gate) {
                    self.context.post(index, slot, post::WRITE);
                }
                return Err(refused);
            }
        }
        // The rest of a message already begun is always admitted; its blocks are reserved.
        let rest = (self.length - written) as u64;
        let Some(first) = self.message(index, generation, written) else {
            // Cannot happen with an ensured reserve; a half-written message ends the connection.
            slot.want(generation, Reason::Corrupt, 0, true);
            let _ = gate::release(&slot.output.gate);
            self.context.post(index, slot, post::END);
            return Err(Error::NoMemory);
        };
        self.account(rest as i64);
        queue::append(
            self.context.segment.blocks(),
            &slot.output,
            first,
            rest as u32,
        );
        let bits = self.accepted(slot, generation) | self.fills(rest);
        gate::release_async(&slot.output.gate);
        self.context.post(index, slot, bits | post::WRITE);
        Ok(Sent::Queued)
    }

    fn queue(&self, index: u32, slot: &Slot, generation: u32) -> Result<Sent> {
        let blocks = self.context.segment.blocks();
        let Some(first) = self.message(index, generation, 0) else {
            return Err(self.no_room(index, slot, generation));
        };
        self.account(self.length as i64);
        let total_before = self
            .context
            .segment
            .participants()
            .queued_bytes()
            .saturating_sub(self.length as u64);
        let mut full = 0;
        let pushed = inbox::push(blocks, &slot.output, generation, first, |word, waiting| {
            let state = QueueState {
                connection_bytes: waiting.limited(word),
                total_bytes: total_before,
                conn_wq_max: self.settings.conn_wq_max_bytes,
                wq_max: self.settings.wq_max_bytes,
            };
            full = self.fills(waiting.all() + self.length as u64);
            admit(state, self.length as u64)
        });
        match pushed {
            Ok(()) => {
                // What follows from the message is the supervisor's to do when it takes the inbox: from
                // the push on the slot may be written, closed and another connection's.
                slot.output.last_send_ms.set(self.now_ms);
                self.context.post(index, slot, post::WRITE | full);
                Ok(Sent::Queued)
            }
            Err(full) => {
                self.account(-(self.length as i64));
                self.member.discard(self.context, first);
                match full {
                    Some(Full::Connection) => {
                        Err(self.refuse(Full::Connection, index, slot, generation))
                    }
                    Some(Full::Total) => Err(self.no_room(index, slot, generation)),
                    None => Err(Error::NoConnection),
                }
            }
        }
    }

    /// The message in blocks, stamped for this connection.
    pub(super) fn message(&self, index: u32, generation: u32, written: usize) -> Option<u32> {
        let blocks = self.context.segment.blocks();
        let first = self.member.build(self.context, self.parts)?;
        self.describe(first, written)?;
        let head = blocks.head(first)?;
        head.conn_id
            .set(self.context.segment.id_of(index, generation));
        blocks.stamp_chain(
            first,
            Stamp::new(BlockUse::Message, self.member.holder, index, generation),
        );
        Some(first)
    }

    fn describe(&self, first: u32, written: usize) -> Option<()> {
        let head = self.context.segment.blocks().head(first)?;
        head.length.set(self.length as u32);
        head.written.set(written as u32);
        let answer = if self.is_final_answer() {
            FINAL_ANSWER
        } else {
            0
        };
        head.flags.set(self.target.flags | answer);
        head.cookie.set(self.cookie);
        head.origin.set(u32::from(self.member.holder));
        head.reason.set(0);
        head.errno.set(0);
        head.conn_id.set(0);
        head.kind.set(0);
        head.hash.set(self.target.hash);
        for (cell, word) in head.remote.iter().zip(self.target.remote.to_words()) {
            cell.set(word);
        }
        for (cell, word) in head.local.iter().zip(self.target.local.to_words()) {
            cell.set(word);
        }
        Some(())
    }

    pub(super) fn account(&self, bytes: i64) {
        account(self.context, self.member, bytes);
    }

    fn admit(&self, connection_bytes: u64) -> core::result::Result<(), Full> {
        let state = QueueState {
            connection_bytes,
            total_bytes: self.context.segment.participants().queued_bytes(),
            conn_wq_max: self.settings.conn_wq_max_bytes,
            wq_max: self.settings.wq_max_bytes,
        };
        admit(state, self.length as u64)
    }

    fn refuse(&self, full: Full, index: u32, slot: &Slot, generation: u32) -> Error {
        let (reason, error) = match full {
            Full::Connection => (Reason::ConnQueueFull, Error::ConnQueueFull),
            Full::Total => (Reason::TotalQueueFull, Error::TotalQueueFull),
        };
        match self.settings.queue_full {
            QueueFull::Close => {
                slot.want(generation, reason, 0, true);
                self.context.post(index, slot, post::END);
            }
            QueueFull::Reject => self.ask_for_room(index, slot),
        }
        error
    }

    /// The host learns by on_writable when there is room again.
    fn ask_for_room(&self, index: u32, slot: &Slot) {
        // At low-water already: told at once, it would be refused again.
        let (_, queued) = flow::queued(&self.context.segment, slot);
        let bits = if queued > self.settings.water().low {
            post::WANTS_ROOM
        } else {
            post::WANTS_EMPTY
        };
        self.context.post(index, slot, bits);
    }

    /// What is to be posted when so much is queued.
    fn fills(&self, queued: u64) -> u32 {
        if queued > self.settings.water().high {
            post::WANTS_ROOM
        } else {
            0
        }
    }

    /// All queues together are full or the pool is exhausted, by what others queued if nothing waits here:
    /// then it is no reason to close this connection.
    fn no_room(&self, index: u32, slot: &Slot, generation: u32) -> Error {
        if gate::load(&slot.output.gate).is_async() {
            return self.refuse(Full::Total, index, slot, generation);
        }
        self.ask_for_room(index, slot);
        Error::TotalQueueFull
    }

    fn is_final_answer(&self) -> bool {
        let first_bytes = self
            .parts
            .iter()
            .find(|part| !part.is_empty())
            .copied()
            .unwrap_or_default();
        matches!(kind(first_bytes), Kind::Response { status } if status >= 200)
    }

    /// What follows from a message that went, or began to go, directly: accounts for half-close, close
    /// after send. Before the gate is released: until then the slot stays this connection's.
    pub(super) fn accepted(&self, slot: &Slot, generation: u32) -> u32 {
        slot.output.last_send_ms.set(self.now_ms);
        let mut bits = 0;
        if self.is_final_answer()
            && slot.answered() <= 0
            && slot.supervised.phase.load_sync() & phase::HALF_CLOSED != 0
        {
            bits |= post::ANSWERED;
        }
        if self.target.flags & Target::CLOSE_AFTER != 0 {
            slot.want(generation, Reason::CloseAfterSend, 0, false);
            bits |= post::END;
        }
        bits
    }

    fn post_to_dial_list(&self) -> Result<Sent> {
        // A connection that was tried before had ended.
        self.ends.set(None);
        if !self.member.ensure_reserve(self.context, self.length) {
            return Err(Error::TotalQueueFull);
        }
        if self.admit(0).is_err() {
            // One such word of ours at a time: it takes a block, and no limit counts it.
            let record = self.member.record(self.context).ok_or(Error::NotAttached)?;
            let waits = self.member.end_posted.get() > record.supervised.dial_taken.load_sync();
            if self.settings.queue_full == QueueFull::Close && !waits {
                let next = record.account.dial_posted.load_sync() + 1;
                self.member.end_posted.set(next);
                // The connection may still wait on the list itself: the word that it is to end
                // goes the same way.
                let first = self
                    .member
                    .build(self.context, &[])
                    .ok_or(Error::TotalQueueFull)?;
                self.push_to_dial_list(first, 0, KIND_END)?;
            }
            return Err(Error::TotalQueueFull);
        }
        let first = self
            .member
            .build(self.context, self.parts)
            .ok_or(Error::TotalQueueFull)?;
        self.push_to_dial_list(first, self.length, 0)?;
        Ok(Sent::Queued)
    }

    fn push_to_dial_list(&self, first: u32, length: usize, kind: u32) -> Result<()> {
        let segment = &self.context.segment;
        let blocks = segment.blocks();
        let record = self.member.record(self.context).ok_or(Error::NotAttached)?;
        self.describe(first, 0).ok_or(Error::NoMemory)?;
        let head = blocks.head(first).ok_or(Error::NoMemory)?;
        head.length.set(length as u32);
        head.kind.set(kind);
        if kind != 0 {
            // No message of the host's: nobody waits for a report.
            head.flags.set(head.flags.get() | UNREPORTED);
            head.conn_id.set(self.target.conn_id);
        }
        blocks.stamp_chain(first, Stamp::new(BlockUse::Dial, self.member.holder, 0, 0));
        self.account(length as i64);
        record
            .account
            .dial_posted
            .store_sync(record.account.dial_posted.load_sync().wrapping_add(1));
        let list = &segment.header().line_dial.head;
        let mut below = list.load_sync();
        loop {
            head.link.set(below);
            match list.compare_exchange(below, first, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(now) => below = now,
            }
        }
        self.context.wake_supervisor();
        Ok(())
    }
}

/// `bytes` more, or fewer, are queued of what this participant sent.
pub(super) fn account(context: &Context, member: &Member, bytes: i64) {
    if let Some(record) = member.record(context) {
        let cell = &record.account.added;
        cell.store_sync(cell.load_sync().wrapping_add(bytes as u64));
    }
}
