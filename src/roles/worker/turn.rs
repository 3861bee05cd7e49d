//! One turn at one connection: read what is there (bounded), frame it, call the host with each
//! complete message, park what is left of an unfinished one. The connection is in Reading.

use super::Worker;
use crate::pure::addr::IpText;
use crate::pure::answer::{Kind, error_answer, kind};
use crate::pure::framing::{FrameError, Framer, Limits, Step};
use crate::pure::reason::Reason;
use crate::pure::words::{GateWord, OwnerWord};
use crate::roles::batch;
use crate::roles::capture::{self, Ends};
use crate::roles::context::failed_because;
use crate::roles::host::{Captured, Message};
use crate::roles::sender;
use crate::roles::target::Target;
use crate::shm::counters::Counter;
use crate::sync::{Ordering, Word};
use crate::sys::clock::monotonic_ms;
use crate::sys::{Errno, sock};
use crate::table::slot::{Slot, post};
use crate::table::{flow, partial, phase};
use std::ops::Range;
use std::os::fd::RawFd;

/// One read takes at most this; a read that fills it is followed by another one.
pub const READ_BYTES: usize = 65_536;
/// Full reads in one turn: a flooding connection then waits for the others (level-triggered, so the
/// poll tells of it again).
const READS_PER_TURN: usize = 2;

/// Pongs for one read: a peer that floods us with pings gets no answer to most.
const PONGS_PER_READ: u32 = 16;

/// What came of one read.
struct Framed {
    /// Bytes that count as read.
    used: usize,
    /// The connection goes back with these reasons.
    end: Option<u32>,
}

/// What follows a delivered message.
enum Delivered {
    /// The next one.
    GoOn,
    /// None for now: the host has paused the connection, or its output is above high-water.
    Stopped,
    /// None at all: the connection is to end.
    Ended,
}

/// Where the connection goes after the turn.
pub enum After {
    /// Nothing more to read now (or the turn's budget is used up). `data`: something was read.
    Hold { data: bool },
    /// To the supervisor, with these reasons.
    GiveBack(u32),
}

/// A complete message that is not delivered yet: it waits until it is known whether another one
/// follows in the same read (P10).
struct Complete {
    place: Place,
    header_length: u32,
    body_length: u32,
}
enum Place {
    Buffer(Range<usize>),
    Assembly,
}

/// The connection of this turn.
struct Conn<'a> {
    index: u32,
    slot: &'a Slot,
    generation: u32,
    fd: RawFd,
}

impl Worker {
    pub(super) fn turn(
        &mut self,
        index: u32,
        slot: &Slot,
        reading: OwnerWord,
        fd: RawFd,
        read_closed: bool,
    ) -> After {
        let conn = Conn {
            index,
            slot,
            generation: reading.generation(),
            fd,
        };
        let mut data = false;
        for _ in 0..READS_PER_TURN {
            if self.is_stopped(&conn) {
                return After::GiveBack(0);
            }
            if let Some(n) = self.take_kept(&conn) {
                data = true;
                if let Some(reasons) = self.frame(&conn, n, true).end {
                    return After::GiveBack(reasons);
                }
                continue;
            }
            // All parked input together is at its bound: what would have to be parked is not read. Who
            // already has an unfinished message goes on, that is how room is made.
            let no_room = slot.input.partial_head.get() == 0
                && self
                    .context
                    .segment
                    .header()
                    .gauges
                    .partial_full
                    .load_sync()
                    != 0;
            let room = self.buffer.get_mut(..READ_BYTES).unwrap_or_default();
            let read = if no_room {
                sock::peek(fd, room)
            } else {
                sock::recv(fd, room)
            };
            let n = match read {
                Ok(0) => return self.at_end_of_stream(&conn),
                Ok(n) => n,
                Err(errno) if errno.is_again() => break,
                Err(errno) => {
                    slot.want(conn.generation, failed_because(errno), errno.0, true);
                    return After::GiveBack(post::END);
                }
            };
            data = true;
            let framed = self.frame(&conn, n, !no_room);
            if no_room {
                let taken = self.buffer.get_mut(..framed.used).unwrap_or_default();
                sock::discard(fd, taken);
            }
            slot.input.bytes_in.bump(framed.used as u64);
            self.member
                .count(&self.context, Counter::BytesIn, framed.used as u64);
            if let Some(reasons) = framed.end {
                return After::GiveBack(reasons);
            }
            if framed.used < n {
                return After::GiveBack(post::NO_ROOM);
            }
            // A short read means empty, unless the end of the stream is behind it.
            if n < READ_BYTES && !read_closed {
                break;
            }
        }
        After::Hold { data }
    }

    /// The peer has sent FIN; it may still wait for answers.
    fn at_end_of_stream(&mut self, conn: &Conn<'_>) -> After {
        let framer = Framer::from_words(conn.slot.framer_words());
        if framer.in_message() {
            let reason = Reason::EofInMessage;
            // A header block that the end cut names nobody to answer for sure.
            if let Some(length) = framer.header_before_body() {
                self.reject(conn, reason, 0..0, 0, (400, "Body Cut Short"), Some(length));
            }
            conn.slot.want(conn.generation, reason, 0, false);
            return After::GiveBack(post::END);
        }
        After::GiveBack(post::PEER_FIN)
    }

    /// Frames the first `n` bytes of the buffer. `park`: what is left of an unfinished message is kept;
    /// else it counts as not read.
    fn frame(&mut self, conn: &Conn<'_>, n: usize, park: bool) -> Framed {
        let live = self.member.live(&self.context);
        let limits = Limits {
            max_message_bytes: live.max_message_size_bytes as u32,
            accept_no_content_length: live.accept_no_content_length,
        };
        let now_ms = monotonic_ms();
        let mut framer = Framer::from_words(conn.slot.framer_words());
        let mut awaited = self.heard_input(conn, now_ms);
        if awaited {
            framer.await_pong(now_ms as u32);
        }
        let mut at = 0;
        let mut pongs = 0;
        let mut waiting: Option<Complete> = None;
        let mut parked = None;
        let mut stopped = false;
        let mut end = None;
        while at < n && end.is_none() {
            let input = self.buffer.get(at..n).unwrap_or_default();
            let before = framer;
            let step = framer.feed(input, now_ms as u32, &limits);
            // Now it is known what follows the message before this.
            let more = matches!(step, Step::Message { .. });
            if !matches!(step, Step::More { .. })
                && let Some(previous) = waiting.take()
            {
                match self.deliver(conn, previous, more) {
                    Delivered::GoOn => {}
                    Delivered::Stopped => {
                        // From here on as if it had not been read.
                        framer = before;
                        stopped = true;
                        if park {
                            parked = Some(at..n);
                            at = n;
                        }
                        break;
                    }
                    Delivered::Ended => {
                        end = Some(0);
                        break;
                    }
                }
            }
            match step {
                Step::More { .. } if !park && framer.in_message() => {
                    framer = before;
                    break;
                }
                Step::More { start } => {
                    if at + start < n || framer.in_message() {
                        parked = Some(at + start..n);
                    }
                    at = n;
                }
                Step::Message {
                    start,
                    end: stop,
                    header_length,
                    body_length,
                } => {
                    let range = at + start..at + stop;
                    at += stop;
                    let place = self.gather(conn, range);
                    waiting = Some(Complete {
                        place,
                        header_length,
                        body_length,
                    });
                }
                Step::Ping { end: stop } => {
                    at += stop;
                    // The pong comes after the answers to what was before the ping.
                    self.member.count(&self.context, Counter::Pings, 1);
                    pongs += 1;
                    if live.crlf_ping && pongs <= PONGS_PER_READ {
                        self.end_batch(conn);
                        self.pong(conn);
                    }
                }
                Step::Crlf { end: stop } => {
                    at += stop;
                    if core::mem::take(&mut awaited) {
                        self.heard_pong(conn);
                    }
                }
                Step::Bad {
                    start,
                    end: stop,
                    error,
                    header_length,
                } => {
                    let range = at + start..at + stop;
                    end = Some(self.refuse(conn, range, n, error, header_length));
                }
            }
        }
        if let Some(last) = waiting.take() {
            match self.deliver(conn, last, false) {
                Delivered::GoOn => {}
                Delivered::Stopped => stopped = true,
                Delivered::Ended => end = end.or(Some(0)),
            }
        }
        self.end_batch(conn);
        if end.is_none() {
            if awaited && at == n && framer.take_crlf() {
                self.heard_pong(conn);
            }
            conn.slot.set_framer_words(framer.to_words());
            if !framer.in_message() {
                conn.slot.input.message_started_ms.set(0);
            } else if conn.slot.input.partial_head.get() == 0 {
                conn.slot.input.message_started_ms.set(now_ms);
            }
            end = parked.and_then(|range| self.park(conn, range));
            if stopped {
                end = end.or(Some(0));
            }
        }
        Framed { used: at, end }
    }

    /// Something was read. True: our ping waits for its pong.
    fn heard_input(&self, conn: &Conn<'_>, now_ms: u64) -> bool {
        let kept = conn.slot.supervised.phase.load_sync() & phase::KEPT;
        if kept == 0 {
            return false;
        }
        let rare = self.context.segment.rare(conn.index);
        rare.is_some_and(|rare| {
            if kept & phase::FLOW_TIMED != 0 {
                rare.set_heard(now_ms);
            }
            kept & phase::PINGS != 0 && rare.awaits_pong()
        })
    }

    /// The pong came; the supervisor may now think of the next ping.
    fn heard_pong(&self, conn: &Conn<'_>) {
        let rare = self.context.segment.rare(conn.index);
        if rare.is_some_and(|rare| rare.hear()) {
            self.member.count(&self.context, Counter::PongsHeard, 1);
            self.context.post(conn.index, conn.slot, post::TIMES);
        }
    }

    fn is_stopped(&self, conn: &Conn<'_>) -> bool {
        let target = (conn.index, conn.slot, conn.generation);
        flow::is_stopped(
            &self.context.segment,
            target,
            &self.member.live(&self.context),
        )
    }

    /// What was read and kept when reading stopped is in the buffer again, as if it were read now: so
    /// many bytes.
    fn take_kept(&mut self, conn: &Conn<'_>) -> Option<usize> {
        if !conn.slot.has_kept_input() {
            return None;
        }
        let segment = &self.context.segment;
        let me = self.member.holder;
        self.assembly.clear();
        partial::take(segment, me, conn.index, conn.slot, &mut self.assembly);
        let n = self.assembly.len().min(READ_BYTES);
        let room = self.buffer.get_mut(..n).unwrap_or_default();
        room.copy_from_slice(self.assembly.get(..n).unwrap_or_default());
        Some(n)
    }

    /// The bytes of an unfinished message, or what was read before reading stopped, stay in blocks while
    /// nobody reads.
    fn park(&mut self, conn: &Conn<'_>, range: Range<usize>) -> Option<u32> {
        let bytes = self.buffer.get(range).unwrap_or_default();
        let holder = self.member.holder;
        if partial::append(
            &self.context.segment,
            holder,
            conn.index,
            conn.slot,
            conn.generation,
            bytes,
        ) {
            let segment = &self.context.segment;
            let bound = self.member.live(&self.context).partial_max_bytes;
            let full = &segment.header().gauges.partial_full;
            if full.load_sync() == 0 && segment.participants().partial_bytes() >= bound {
                full.store_sync(1);
            }
            return None;
        }
        conn.slot
            .want(conn.generation, Reason::Resource, Errno::ENOMEM.0, true);
        Some(post::END)
    }

    /// Makes the message contiguous if its first part was parked.
    fn gather(&mut self, conn: &Conn<'_>, range: Range<usize>) -> Place {
        conn.slot.input.message_started_ms.set(0);
        if conn.slot.input.partial_head.get() == 0 {
            return Place::Buffer(range);
        }
        self.assembly.clear();
        partial::take(
            &self.context.segment,
            self.member.holder,
            conn.index,
            conn.slot,
            &mut self.assembly,
        );
        self.assembly
            .extend_from_slice(self.buffer.get(range).unwrap_or_default());
        self.assembly.push(0);
        Place::Assembly
    }

    /// Calls `on_message`.
    fn deliver(&mut self, conn: &Conn<'_>, complete: Complete, more: bool) -> Delivered {
        let slot = conn.slot;
        let first = slot.input.messages_in.get() == 0;
        slot.input.messages_in.bump(1);
        self.member.count(&self.context, Counter::MessagesIn, 1);
        if let Some(place) = self.place() {
            place.messages.bump(1);
        }
        let now_ms = monotonic_ms();
        let (context, member) = (&self.context, &self.member);
        batch::write_old(context, member, now_ms, conn.index, slot, conn.fd);
        // The message is lent to the host with a NUL behind it; the byte there may be the first
        // one of the next message.
        let mut buffer = core::mem::take(&mut self.buffer);
        let mut assembly = core::mem::take(&mut self.assembly);
        let (data, behind) = match &complete.place {
            Place::Assembly => (assembly.as_mut_slice(), None),
            Place::Buffer(range) => {
                let behind = buffer.get(range.end).copied();
                let data = buffer
                    .get_mut(range.start..range.end + 1)
                    .unwrap_or_default();
                if let Some(last) = data.last_mut() {
                    *last = 0;
                }
                (data, behind.map(|byte| (range.end, byte)))
            }
        };
        if matches!(kind(data), Kind::Request { ack: false }) {
            slot.output.pending_answers.fetch_add(1, Ordering::SeqCst);
        }
        let mut message = Message {
            conn_id: self.context.segment.id_of(conn.index, conn.generation),
            data,
            header_length: complete.header_length as usize,
            body_length: complete.body_length as usize,
            remote: slot.remote(),
            local: slot.local(),
            listener: slot.identity.listener.get() as i32 - 1,
            worker: self.index as i32,
            time_ms: now_ms,
            conn_user: slot.output.user.load_sync(),
            first,
        };
        self.member
            .batch
            .set(more.then_some((conn.index, conn.generation)));
        let verdict = self.calling(|| {
            capture::show_received(&self.context, &self.member, &message);
            self.context.host.on_message(&mut message)
        });
        self.member.batch.set(None);
        if let Some((at, byte)) = behind
            && let Some(place) = buffer.get_mut(at)
        {
            *place = byte;
        }
        self.buffer = buffer;
        self.assembly = assembly;
        if verdict < 0 {
            slot.want(conn.generation, Reason::Host, 0, false);
            self.context.post(conn.index, slot, post::END);
            return Delivered::Ended;
        }
        if self.is_ending(slot) {
            Delivered::Ended
        } else if self.is_stopped(conn) {
            Delivered::Stopped
        } else {
            Delivered::GoOn
        }
    }

    /// The host (in the callback) or the supervisor asked for the end of this connection.
    fn is_ending(&self, slot: &Slot) -> bool {
        slot.wanted().is_some()
            || slot.supervised.phase.load_sync() & phase::ENDING != 0
            || GateWord(slot.output.gate.load_sync()).has(GateWord::CLOSING)
    }

    /// The stream cannot be followed any more: answer if the headers allow it, then end. `range` of the
    /// first `n` bytes of the buffer is the last part of what is refused.
    fn refuse(
        &mut self,
        conn: &Conn<'_>,
        range: Range<usize>,
        n: usize,
        error: FrameError,
        header_length: Option<u32>,
    ) -> u32 {
        let (reason, status, phrase) = match error {
            FrameError::NotSip => (Reason::NotSip, 0, ""),
            FrameError::TooLarge => (Reason::TooLarge, 513, "Message Too Large"),
            FrameError::HeaderTooLarge => (Reason::TooLarge, 513, "Message Too Large"),
            FrameError::LengthMissing => (Reason::BadLength, 400, "Content-Length Missing"),
            FrameError::LengthInvalid => (Reason::BadLength, 400, "Bad Content-Length"),
            FrameError::LengthConflict => (Reason::BadLength, 400, "Conflicting Content-Length"),
        };
        // Before the end is wanted: nobody may begin it while the host is shown this.
        self.reject(conn, reason, range, n, (status, phrase), header_length);
        conn.slot.want(conn.generation, reason, 0, false);
        post::END
    }

    /// Shows the message whose last part is in `range` of the buffer to who captures, with what is read
    /// behind it (up to `n`), and answers it: if it is a request that can be answered and the host
    /// wants it. Status 0: there is no answer. `header_length` as in [`Step::Bad`].
    fn reject(
        &mut self,
        conn: &Conn<'_>,
        reason: Reason,
        range: Range<usize>,
        n: usize,
        (status, phrase): (u16, &str),
        header_length: Option<u32>,
    ) {
        let answers = self.member.live(&self.context).error_answers && status != 0;
        let shown_us = capture::begin(&self.context, &self.member);
        if !answers && shown_us.is_none() {
            return;
        }
        let behind = range.end..n;
        match self.gather(conn, range) {
            Place::Buffer(range) => {
                self.assembly.clear();
                self.assembly
                    .extend_from_slice(self.buffer.get(range).unwrap_or_default());
            }
            // Without the NUL.
            Place::Assembly => self
                .assembly
                .truncate(self.assembly.len().saturating_sub(1)),
        }
        if let Some(time_us) = shown_us {
            // What follows shows what the peer took this for.
            let behind = self.buffer.get(behind).unwrap_or_default();
            let ends = Ends::of(&self.context, conn.index, conn.slot, conn.generation);
            let (context, member) = (&self.context, &self.member);
            let parts = [self.assembly.as_slice(), behind];
            let what = Captured::Refused(reason);
            capture::show(context, member, time_us, what, ends, &parts);
        }
        if !answers {
            return;
        }
        // A header block that never ended is answered from the lines that did.
        let length = header_length.map_or_else(
            || memchr::memrchr(b'\n', &self.assembly).map_or(0, |at| at + 1),
            |length| length as usize,
        );
        self.assembly.truncate(length);
        if header_length.is_none() {
            self.assembly.extend_from_slice(b"\r\n");
        }
        let remote = conn.slot.remote();
        let ip = IpText(&remote).to_string();
        let source = Some((ip.as_str(), remote.port));
        let mut answer = Vec::new();
        if error_answer(&self.assembly, status, phrase, source, &mut answer)
            && self.send_own(conn, &answer)
        {
            self.member.count(&self.context, Counter::ErrorAnswers, 1);
        }
    }

    /// Answers a ping: directly, or (output waits, the kernel takes nothing, no fd) by the supervisor, once
    /// for all pings that came until then. Never by a queued message for each: two bytes would take
    /// a block.
    fn pong(&self, conn: &Conn<'_>) {
        let target = (conn.index, conn.slot, conn.generation);
        if !sender::send_directly(&self.context, &self.member, target, b"\r\n") {
            self.context.post(conn.index, conn.slot, post::PONG);
        }
    }

    /// Sends something of the library's own on this connection.
    fn send_own(&self, conn: &Conn<'_>, bytes: &[u8]) -> bool {
        let target = Target {
            hash: 0,
            conn_id: self.context.segment.id_of(conn.index, conn.generation),
            remote: crate::pure::addr::Addr::none(),
            local: crate::pure::addr::Addr::none(),
            flags: Target::NO_CONNECT | sender::UNREPORTED,
        };
        sender::send(&self.context, &self.member, target, &[bytes], 0).is_ok()
    }

    /// No other request is known to follow.
    fn end_batch(&self, conn: &Conn<'_>) {
        batch::write(&self.context, &self.member, conn.index, conn.slot, conn.fd);
    }
}
