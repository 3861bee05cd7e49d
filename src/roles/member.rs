//! One thread's taking part in an instance: its participant number and what it keeps privately.
//! Used by one thread only; a forked child never uses its parent's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::pure::error::{Error, Result};
use crate::pure::settings::Settings;
use crate::pure::words::{Holder, Stamp};
use crate::roles::context::Context;
use crate::roles::duplicates::{Duplicates, Passing};
use crate::shm::blocks::PAYLOAD;
use crate::shm::counters::Counter;
use crate::shm::participants::Record;
use crate::sync::Word;
use crate::sys::event::EventFd;
use crate::sys::fdpass::{self, Receive};
use crate::sys::{self, Fd, RawFd};
use crate::table::slot::Slot;

/// Blocks a participant keeps between two sends.
pub const KEPT_BLOCKS: usize = 4;

/// How many connections' fds are kept at most. A worker, when the setting leaves it to us: most of what
/// its process may open, but never all.
fn fd_limit(context: &Context, worker: u32) -> u32 {
    let live = context.live();
    if worker == 0 {
        return live.fd_cache;
    }
    let auto = || (sys::process::fd_limit() * 3 / 4).min(u64::from(live.max_connections)) as u32;
    live.worker_fd_cache.unwrap_or_else(auto)
}

/// The announcement to the supervisor; the fds beside it are (eventfd, channel, pidfd), the last
/// two only from another process, the pidfd only where the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub holder: Holder,
    pub epoch: u32,
    /// Worker index + 1, 0: a sender.
    pub worker: u32,
    pub pid: u32,
}

impl Announcement {
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let words = [u32::from(self.holder), self.epoch, self.worker, self.pid];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
    pub fn from_bytes(bytes: &[u8]) -> Option<Announcement> {
        let word = |i: usize| {
            Some(u32::from_le_bytes(
                bytes.get(i * 4..i * 4 + 4)?.try_into().ok()?,
            ))
        };
        Some(Announcement {
            holder: Holder::try_from(word(0)?).ok()?,
            epoch: word(1)?,
            worker: word(2)?,
            pid: word(3)?,
        })
    }
}

pub struct Member {
    pub holder: Holder,
    pub epoch: u32,
    pub worker: u32,
    wake: EventFd,
    /// Our end of the channel through which the supervisor passes fds; none in its own process.
    channel: RefCell<Option<Fd>>,
    /// The poll of the supervisor at the other end of the channel, for a worker.
    supervisors_poll: RefCell<Option<Fd>>,
    /// The supervisor's epoch we announced ourselves to.
    announced_to: Cell<Option<u64>>,
    announce_again_ms: Cell<u64>,
    pub duplicates: RefCell<Duplicates>,
    /// The parts of the message that is being written.
    pub together: RefCell<Vec<u8>>,
    /// Of the settings that `duplicates` knows its limit from.
    limit_version: Cell<u64>,
    /// The live settings and their version: what all threads share costs each message several locked
    /// instructions.
    live: RefCell<(u64, Rc<Settings>)>,
    /// Blocks stamped private(us), so that a direct write needs no allocation (P1: the rest of a
    /// partial write must have a place before its first byte goes out).
    reserve: RefCell<Vec<u32>>,
    /// The batch whose answers go out together (P10): slot and generation.
    pub batch: Cell<Option<(u32, u32)>>,
    /// Answers on this connection wait in its queue, for others or the end of the batch.
    pub gathered: Cell<Option<(u32, u32)>>,
    /// The first of them since then.
    pub gathered_ms: Cell<u64>,
    /// The value of `dial_posted` that the last word to end a connection got.
    pub end_posted: Cell<u64>,
    /// A callback of this thread runs.
    pub in_callback: Cell<bool>,
    /// It met a bug and takes no further step, see `roles::failure`.
    pub failed: Cell<bool>,
    /// That callback is, or is inside, `on_capture`.
    pub capturing: Cell<bool>,
    swept_ms: Cell<u64>,
}

/// Why a channel was closed at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelClosed {
    /// Our announcement was lost on the way (the supervisor had no descriptor for it): it comes again.
    NotKnown,
    SupervisorGone,
    /// The supervisor was told that we died.
    TakenForDead,
}

/// Also over a panic: who is in a callback is not given up under its feet.
struct InCallback<'a>(&'a Cell<bool>);

impl Drop for InCallback<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// How often a sender looks for duplicates of ended connections.
const SWEEP_MS: u64 = 1000;
/// How long a full announcement channel is left alone.
pub const ANNOUNCE_AGAIN_MS: u64 = 50;

impl Member {
    /// Takes a participant number. `worker`: worker index + 1, 0 for a sender.
    pub fn join(context: &Context, worker: u32) -> Result<Rc<Member>> {
        let wake = EventFd::new().map_err(|_| Error::System)?;
        let version = context.segment.header().live_version.load_sync();
        let limit = fd_limit(context, worker);
        let duplicates = Duplicates::new(context.settings.max_connections, limit);
        let live = Rc::new((*context.live()).clone());
        let participants = context.segment.participants();
        // What can fail comes before: nobody would give a number back that a bug left.
        let holder = participants
            .join(sys::process::pid() as u32, worker)
            .ok_or(Error::NoParticipant)?;
        let epoch = participants
            .get(holder)
            .map_or(0, |record| record.tenant().epoch());
        Ok(Rc::new(Member {
            holder,
            epoch,
            worker,
            wake,
            channel: RefCell::new(None),
            supervisors_poll: RefCell::new(None),
            announced_to: Cell::new(None),
            announce_again_ms: Cell::new(0),
            duplicates: RefCell::new(duplicates),
            together: RefCell::new(Vec::new()),
            limit_version: Cell::new(version),
            live: RefCell::new((version, live)),
            reserve: RefCell::new(Vec::new()),
            batch: Cell::new(None),
            gathered: Cell::new(None),
            gathered_ms: Cell::new(0),
            end_posted: Cell::new(0),
            in_callback: Cell::new(false),
            failed: Cell::new(false),
            capturing: Cell::new(false),
            swept_ms: Cell::new(0),
        }))
    }

    /// Gives the supervisor what it needs of us, unless it has it: at first, and a sender once for
    /// each new supervisor, which knows nothing of it. (A worker ends with its supervisor.) A thread
    /// beside the supervisor that only sends is not needed at all. Never waits: what a full channel
    /// does not take is tried again by a later call. False: the supervisor does not know us yet.
    pub fn announce(&self, context: &Context, now_ms: u64) -> bool {
        let epoch = context.segment.header().epoch.load_sync();
        let known = match self.announced_to.get() {
            Some(to) => to == epoch || self.worker != 0 || (to == 0 && epoch == 1),
            None => false,
        };
        if known {
            // What was announced before the first supervisor ran waits for it in the channel.
            self.announced_to.set(Some(epoch));
            return true;
        }
        if now_ms < self.announce_again_ms.get() {
            return false;
        }
        let sent = self.send_announcement(context);
        if sent {
            self.announced_to.set(Some(epoch));
            context.wake_supervisor();
        } else {
            self.announce_again_ms.set(now_ms + ANNOUNCE_AGAIN_MS);
        }
        sent
    }

    /// Runs a callback of the host, or one inside another, with its begin noted so that the supervisor
    /// sees a stall.
    pub fn calling<R>(&self, context: &Context, call: impl FnOnce() -> R) -> R {
        if self.in_callback.replace(true) {
            return call();
        }
        let inside = InCallback(&self.in_callback);
        let since = self
            .record(context)
            .map(|record| &record.own.callback_since_ms);
        if let Some(since) = since {
            since.store_sync(sys::clock::monotonic_ms());
        }
        let result = call();
        if let Some(since) = since {
            since.store_sync(0);
        }
        drop(inside);
        if self.failed.get() {
            // In a call that the callback made. We are in the middle of something else.
            std::panic::resume_unwind(Box::new(()));
        }
        result
    }

    pub fn is_announced(&self) -> bool {
        self.announced_to.get().is_some()
    }

    fn send_announcement(&self, context: &Context) -> bool {
        let beside = context.is_supervisors_process();
        if beside && self.worker == 0 {
            return true;
        }
        let bytes = Announcement {
            holder: self.holder,
            epoch: self.epoch,
            worker: self.worker,
            pid: sys::process::pid() as u32,
        }
        .to_bytes();
        let pass = |fds: &[RawFd]| {
            fdpass::pass(context.announce.as_raw(), &bytes, fds) == fdpass::Passed::Sent
        };
        if beside {
            return pass(&[self.wake.as_raw()]);
        }
        let Ok((ours, theirs)) = fdpass::channel() else {
            return false;
        };
        // Without pidfds (an old kernel, valgrind) a death is learned from the host's
        // sipwire_process_died.
        let pidfd = sys::process::pidfd_self().ok();
        let mut fds = vec![self.wake.as_raw(), theirs.as_raw()];
        fds.extend(pidfd.as_ref().map(Fd::as_raw));
        let sent = pass(&fds);
        if sent {
            self.use_channel(Some(ours));
        }
        sent
    }

    /// What came through the one before ends with it.
    fn use_channel(&self, channel: Option<Fd>) {
        *self.supervisors_poll.borrow_mut() = None;
        *self.channel.borrow_mut() = channel;
    }

    /// The poll in which the supervisor waits for connections by this fd and number, if we can reach it.
    pub fn supervisors_poll(&self, context: &Context, slot: &Slot, fd: RawFd) -> Option<RawFd> {
        context.supervisors_poll().or_else(|| {
            let poll = self.supervisors_poll.borrow().as_ref().map(Fd::as_raw);
            poll.filter(|_| slot.identity.fd.load_sync() == fd)
        })
    }

    pub fn wake_fd(&self) -> &EventFd {
        &self.wake
    }
    pub fn channel_fd(&self) -> Option<RawFd> {
        self.channel.borrow().as_ref().map(Fd::as_raw)
    }
    pub fn record<'a>(&self, context: &'a Context) -> Option<&'a Record> {
        context.segment.participants().get(self.holder)
    }
    /// Entries of ours on the dial list.
    pub fn listed(&self, context: &Context) -> u64 {
        self.record(context).map_or(0, |record| {
            let posted = record.account.dial_posted.load_sync();
            posted.wrapping_sub(record.supervised.dial_taken.load_sync())
        })
    }
    /// Settings as they are now, see `Context::live`.
    pub fn live(&self, context: &Context) -> Rc<Settings> {
        let version = context.segment.header().live_version.load_sync();
        let mut known = self.live.borrow_mut();
        if known.0 != version {
            *known = (version, Rc::new((*context.live()).clone()));
        }
        known.1.clone()
    }
    pub fn count(&self, context: &Context, counter: Counter, by: u64) {
        context.segment.count(self.holder, counter, by);
    }

    /// Picks up the fds the supervisor passed, without waiting. False: the supervisor's end is
    /// closed.
    pub fn pick_up(&self, context: &Context, pinned: impl Fn(u32) -> bool) -> bool {
        let Some(record) = self.record(context) else {
            return true;
        };
        let channel = self.channel.borrow();
        let Some(channel) = channel.as_ref() else {
            return true;
        };
        let version = context.segment.header().live_version.load_sync();
        if self.limit_version.replace(version) != version {
            let limit = fd_limit(context, self.worker);
            self.duplicates.borrow_mut().fit(limit, &pinned);
        }
        let mut payload = [0u8; fdpass::MAX_PAYLOAD_BYTES];
        loop {
            match fdpass::receive(channel.as_raw(), &mut payload) {
                Receive::Got(mut got) => {
                    record
                        .own
                        .fds_taken
                        .store_sync(record.own.fds_taken.load_sync().wrapping_add(1));
                    let passing = payload.get(..got.len).and_then(Passing::from_bytes);
                    let fd = got.fds.first_mut().and_then(Option::take);
                    // MSG_CTRUNC (our fd limit) leaves no fd: the lend comes back as NO_FD.
                    if let (Some(passing), Some(fd)) = (passing, fd)
                        && passing.epoch == self.epoch
                    {
                        self.keep(context, passing, fd, &pinned);
                    }
                }
                Receive::Empty => return true,
                Receive::Closed => return false,
                Receive::Failed(_) => return true,
            }
        }
    }

    /// A worker keeps a connection's fd under the number that it has with the supervisor, if that is free.
    fn keep(&self, context: &Context, passing: Passing, fd: Fd, pinned: impl Fn(u32) -> bool) {
        if passing.slot == Passing::POLL {
            *self.supervisors_poll.borrow_mut() = Some(fd);
            return;
        }
        let mut duplicates = self.duplicates.borrow_mut();
        if duplicates.get(passing.slot, passing.generation).is_some() {
            return; // the one we have is as good, and may be registered
        }
        let slot = context.segment.slot(passing.slot);
        let number = slot.map_or(-1, |slot| slot.identity.fd.load_sync());
        let fd = match self.supervisors_poll.borrow().as_ref() {
            Some(_) if number >= 0 => fd.moved_to(number),
            _ => fd,
        };
        duplicates.put(passing.slot, passing.generation, fd, pinned);
    }

    /// The supervisor that knew us has ended. Before one knows us we wait for it.
    pub fn supervisor_over(&self, context: &Context) -> bool {
        let claim = self
            .record(context)
            .map_or(0, |record| record.supervised.claim.load_sync());
        claim != 0 && claim <= context.segment.header().claim_over.load_sync()
    }

    /// The supervisor's end of our channel is closed.
    pub fn channel_closed(&self, context: &Context) -> ChannelClosed {
        let pid = sys::process::pid() as u32;
        let claim = self
            .record(context)
            .filter(|record| record.is_of(self.epoch, pid))
            .map(|record| record.supervised.claim.load_sync());
        match claim {
            None => ChannelClosed::TakenForDead,
            Some(0) => {
                self.announced_to.set(None);
                self.announce_again_ms
                    .set(sys::clock::monotonic_ms() + ANNOUNCE_AGAIN_MS);
                self.use_channel(None);
                ChannelClosed::NotKnown
            }
            Some(claim) => {
                context.segment.header().note_gone(claim);
                ChannelClosed::SupervisorGone
            }
        }
    }

    /// Senders follow what happened since the last call: a new supervisor hears of them, passed fds are
    /// picked up, duplicates of ended connections go, at most once a second. A worker does all this in
    /// its steps, where it knows which fds it must not let go.
    pub fn refresh(&self, context: &Context, now_ms: u64) {
        self.announce(context, now_ms);
        if self.worker != 0 {
            return;
        }
        let sweep = now_ms.saturating_sub(self.swept_ms.get()) >= SWEEP_MS;
        let passed = self.record(context).is_some_and(|record| {
            record.supervised.fds_passed.load_sync() != record.own.fds_taken.load_sync()
        });
        // Also to see whether the supervisor's end is still open.
        if (passed || sweep) && !self.pick_up(context, |_| false) {
            self.channel_closed(context);
        }
        let Ok(mut duplicates) = self.duplicates.try_borrow_mut() else {
            return;
        };
        if context.segment.header().supervisor_gone() {
            duplicates.clear();
        } else if sweep {
            self.swept_ms.set(now_ms);
            duplicates.sweep(&context.segment);
        }
    }

    /// Makes sure that a message of `length` bytes has its blocks. False: the pool is exhausted.
    pub fn ensure_reserve(&self, context: &Context, length: usize) -> bool {
        let mut reserve = self.reserve.borrow_mut();
        let wanted = length.div_ceil(PAYLOAD).max(1);
        let missing = wanted.saturating_sub(reserve.len());
        if missing > 0 {
            let blocks = context.segment.blocks();
            blocks.alloc_some(self.holder, missing, |block| reserve.push(block));
        }
        reserve.len() >= wanted
    }

    /// After a large message most of its reserve goes back.
    pub fn trim_reserve(&self, context: &Context) {
        let mut reserve = self.reserve.borrow_mut();
        while reserve.len() > KEPT_BLOCKS
            && let Some(block) = reserve.pop()
        {
            context.segment.blocks().free(block);
        }
    }

    /// Makes a chain of the reserved blocks and fills it. The caller has ensured the reserve.
    pub fn build(&self, context: &Context, parts: &[&[u8]]) -> Option<u32> {
        let mut reserve = self.reserve.borrow_mut();
        let blocks = context.segment.blocks();
        let first = reserve.pop()?;
        let mut last = first;
        for part in parts {
            let mut rest = *part;
            loop {
                let n = blocks.append(last, rest);
                rest = rest.get(n..)?;
                if rest.is_empty() {
                    break;
                }
                let next = reserve.pop()?;
                blocks.head(last)?.next.set(next);
                last = next;
            }
        }
        Some(first)
    }

    /// An unused message goes back to the reserve's keeper: the pool.
    pub fn discard(&self, context: &Context, first: u32) {
        context.segment.blocks().free_chain(first, self.holder);
    }

    /// Gives the number back with all that goes with it. Nothing happens when it is not ours: in a
    /// child forked since, or after the supervisor took us for dead.
    pub fn leave(&self, context: &Context) {
        let pid = sys::process::pid() as u32;
        let ours = self
            .record(context)
            .is_some_and(|record| record.is_of(self.epoch, pid));
        let kept: Vec<u32> = self.reserve.borrow_mut().drain(..).collect();
        if !ours {
            return;
        }
        let blocks = context.segment.blocks();
        for block in kept {
            if blocks
                .head(block)
                .is_some_and(|h| Stamp(h.stamp.load_sync()) == Stamp::private(self.holder))
            {
                blocks.free(block);
            }
        }
        context
            .segment
            .participants()
            .leave(self.holder, self.epoch, pid);
    }
}
