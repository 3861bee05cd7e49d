//! P5, dialling: messages to addresses without a connection come here; one connection is opened
//! and all wait in its queue.

use super::ending::Mode;
use super::table::Opening;
use super::{Supervisor, phase};
use crate::pure::addr::Addr;
use crate::pure::limits::{Full, QueueState, admit};
use crate::pure::reason::Reason;
use crate::pure::settings::QueueFull;
use crate::pure::words::{BlockUse, GateWord, Holder, OwnerState, Stamp};
use crate::roles::sender::{FRESH, KIND_END, NO_CONNECT};
use crate::shm::blocks::Head;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::{Ordering, Word};
use crate::sys::sock::{self, Dial};
use crate::sys::{Errno, Fd};
use crate::table::slot::{Slot, post};
use crate::table::{blacklist, index};

impl Supervisor {
    /// Takes the whole dial list, oldest message first.
    pub(super) fn serve_dial_list(&mut self) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let newest = context
            .segment
            .header()
            .line_dial
            .head
            .swap(0, Ordering::SeqCst);
        let mut messages: Vec<u32> = blocks.list(newest).collect();
        while let Some(first) = messages.pop() {
            let Some(head) = blocks.head(first) else {
                continue;
            };
            let origin = head.origin.get() as Holder;
            self.place(first, head);
            if let Some(record) = context.segment.participants().get(origin) {
                // Only now may the sender use the index again: this message is in its queue.
                let taken = record.supervised.dial_taken.load_sync();
                record
                    .supervised
                    .dial_taken
                    .store_sync(taken.wrapping_add(1));
            }
        }
    }

    fn place(&mut self, first: u32, head: &Head) {
        let context = self.context.clone();
        let segment = &context.segment;
        let words = |cells: &[crate::sync::AtomicU32; 6]| {
            Addr::from_words(core::array::from_fn(|i| cells.get(i).map_or(0, Word::get)))
        };
        let (remote, local) = (words(&head.remote), words(&head.local));
        let flags = head.flags.get();
        if head.kind.get() == KIND_END {
            segment.blocks().free_chain(first);
            if let Some(found) = index::find(segment, &remote, &local)
                && let Some(slot) = segment.slot(found.slot)
            {
                self.end(found.slot, slot, Reason::TotalQueueFull, 0, Mode::Reset);
            }
            return;
        }
        if flags & FRESH == 0
            && let Some(found) = index::find(segment, &remote, &local)
            && let Some(slot) = segment.slot(found.slot)
        {
            self.queue_on(first, head, found.slot, slot);
            return;
        }
        if flags & NO_CONNECT != 0 || self.live.no_connect {
            self.fail_message(first, Reason::NoConnection, 0, None);
        } else if segment.header().stopping.load_sync() != 0
            || segment.header().drain_ms.load_sync() != 0
        {
            self.fail_message(first, Reason::Shutdown, 0, None);
        } else if blacklist::check(segment.blacklist(), &remote, self.now_ms) {
            self.count(Counter::BlacklistRefused, 1);
            self.fail_message(first, Reason::Blacklisted, 0, None);
        } else {
            match self.dial(&remote, &local) {
                Ok(index) => {
                    if let Some(slot) = segment.slot(index) {
                        self.queue_on(first, head, index, slot);
                    }
                }
                Err((reason, errno)) => {
                    if reason == Reason::ConnectFailed {
                        self.count(Counter::ConnectFailed, 1);
                        let ttl_ms = self.live.blacklist_ttl_ms;
                        if ttl_ms > 0 {
                            let entries = segment.blacklist();
                            blacklist::add(
                                entries,
                                self.me,
                                &remote,
                                self.now_ms,
                                ttl_ms,
                                reason as u32,
                            );
                            self.count(Counter::BlacklistAdded, 1);
                        }
                    }
                    self.log_end(0, &remote, reason, errno.0);
                    self.fail_message(first, reason, errno.0, None);
                }
            }
        }
    }

    fn queue_on(&mut self, first: u32, head: &Head, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let segment = &context.segment;
        let blocks = segment.blocks();
        let generation = slot.owner().generation();
        let length = head.length.get();
        let stamp = Stamp::new(
            BlockUse::Message,
            head.origin.get() as Holder,
            index,
            generation,
        );
        blocks.stamp_chain(first, stamp);
        head.conn_id.set(segment.id_of(index, generation));
        let pushed = gate::push(&slot.output.gate, generation, first, |word: GateWord| {
            let below = blocks.head(word.inbox()).map_or(0, |h| h.inbox_bytes.get());
            let state = QueueState {
                connection_bytes: u64::from(below) + u64::from(slot.output.queued_bytes.get()),
                total_bytes: 0, // counted when the sender posted it
                conn_wq_max: self.live.conn_wq_max_bytes,
                wq_max: u64::MAX,
            };
            admit(state, u64::from(length))?;
            head.inbox_bytes.set(below.saturating_add(length));
            head.link.set(word.inbox());
            Ok::<(), Full>(())
        });
        match pushed {
            Ok(()) => {
                slot.note(post::WRITE);
                self.serve_post(index, slot);
            }
            Err(None) => self.fail_message(first, Reason::NoConnection, 0, Some(&slot.remote())),
            Err(Some(_)) => {
                self.fail_message(first, Reason::ConnQueueFull, 0, Some(&slot.remote()));
                if self.live.queue_full == QueueFull::Close {
                    self.end(index, slot, Reason::ConnQueueFull, 0, Mode::Reset);
                }
            }
        }
    }

    fn dial(&mut self, remote: &Addr, local: &Addr) -> Result<u32, (Reason, Errno)> {
        if self.free.is_empty() {
            return Err((Reason::Resource, Errno::ENFILE));
        }
        let source = match remote.family {
            4 => self.context.settings.source_ipv4,
            _ => self.context.settings.source_ipv6,
        };
        let from = if local.is_none() || local.is_unspecified() {
            source
        } else {
            Some(*local)
        };
        let (fd, connecting) =
            match sock::dial(remote, from.as_ref(), &self.context.socket_options()) {
                Dial::Connected(fd) => (fd, false),
                Dial::InProgress(fd) => (fd, true),
                Dial::Failed(errno) if errno.is_fd_limit() || errno == Errno::EADDRNOTAVAIL => {
                    return Err((Reason::Resource, errno));
                }
                Dial::Failed(errno) => return Err((Reason::ConnectFailed, errno)),
            };
        let bound = sock::local_addr(fd.as_raw()).unwrap_or_else(|_| Addr::none());
        let opening = Opening {
            fd,
            remote,
            local: &bound,
            listener: None,
            connecting,
        };
        let index = self
            .open_slot(opening)
            .ok_or((Reason::Resource, Errno::ENFILE))?;
        self.count(Counter::Dialled, 1);
        if !connecting && let Some(slot) = self.context.clone().segment.slot(index) {
            self.connected(index, slot);
        }
        Ok(index)
    }

    /// The connect that was under way has ended, one way or the other.
    pub(super) fn on_connected(&mut self, index: u32, slot: &Slot) {
        let errno = sock::socket_error(slot.identity.fd.get());
        if errno.0 != 0 {
            self.end(index, slot, Reason::ConnectFailed, errno.0, Mode::Reset);
            return;
        }
        gate::connected(&slot.output.gate);
        self.connected(index, slot);
        self.flush(index, slot);
        self.advance_end(index, slot);
        self.arm(index, slot);
        self.schedule(index, slot);
    }

    fn connected(&mut self, index: u32, slot: &Slot) {
        self.count(Counter::Connected, 1);
        slot.supervised.progress_ms.set(self.now_ms);
        slot.supervised.activity_ms.set(self.now_ms);
        let ending = slot.supervised.phase.get() & phase::ENDING != 0;
        if self.context.wants.open && !ending && slot.owner().state() == OwnerState::Idle {
            self.lend_or_wait(index, slot, false);
        }
    }

    /// An accepted connection.
    pub(super) fn accepted(&mut self, fd: Fd, remote: &Addr, listener: usize) {
        let local = sock::local_addr(fd.as_raw()).unwrap_or_else(|_| Addr::none());
        let _ = sock::apply(fd.as_raw(), &self.context.socket_options());
        let opening = Opening {
            fd,
            remote,
            local: &local,
            listener: Some(listener),
            connecting: false,
        };
        let Some(index) = self.open_slot(opening) else {
            return;
        };
        self.count(Counter::Accepted, 1);
        let context = self.context.clone();
        if let Some(slot) = context.segment.slot(index)
            && context.wants.open
        {
            self.lend_or_wait(index, slot, false);
        }
    }
}
