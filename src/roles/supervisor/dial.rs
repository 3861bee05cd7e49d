//! P5, dialling: messages to addresses without a connection come here; one connection is opened
//! and all wait in its queue.

use super::Supervisor;
use super::ending::Mode;
use super::notices::Failed;
use super::table::Opening;
use crate::pure::addr::Addr;
use crate::pure::choice::Wish;
use crate::pure::limits::{QueueState, admit};
use crate::pure::reason::Reason;
use crate::pure::settings::QueueFull;
use crate::pure::words::{BlockUse, Holder, OwnerState, Stamp};
use crate::roles::notice::{KIND_ALIAS, KIND_DIALLED, KIND_DONE, KIND_END, KIND_TAKEN};
use crate::roles::target::Target;
use crate::shm::blocks::Head;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::{Ordering, Word};
use crate::sys::Errno;
use crate::sys::sock::{self, Dial};
use crate::table::slot::{Slot, post};
use crate::table::{blacklist, inbox, index, phase};

impl Supervisor {
    /// Takes the dial list and places its messages, oldest first, at most `max` of them; the others
    /// keep their turn. A dial takes tens of microseconds, and many senders may list many.
    pub(super) fn serve_dial_list(&mut self, max: usize) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let list = &context.segment.header().line_dial.head;
        let mut newest = list.load_sync();
        while newest != 0 {
            // Before they leave the list: see `KIND_TAKEN`.
            for first in blocks.list(newest) {
                if let Some(head) = blocks.head(first) {
                    head.kind
                        .store_sync(head.kind.get() | KIND_TAKEN | KIND_DIALLED);
                }
            }
            match list.compare_exchange(newest, 0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(now) => newest = now,
            }
        }
        let mut taken: Vec<u32> = blocks.list(newest).collect();
        taken.reverse();
        self.dials.extend(taken);
        self.follow_settings();
        for _ in 0..max {
            let Some(first) = self.dials.pop_front() else {
                break;
            };
            if let Some(head) = blocks.head(first) {
                self.place(first, head);
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
        let fail = |this: &mut Self, reason, errno| {
            let failed = Failed {
                reason,
                errno,
                remote: None,
            };
            this.fail_message(first, failed, None);
        };
        let wish = Wish {
            hash: head.hash.get(),
            lanes: self.live.connections_per_destination,
        };
        let kind = head.kind.get();
        if kind & KIND_ALIAS != 0 {
            self.give_alias(head.conn_id.get(), &remote);
        }
        let chosen = index::choose(segment, &remote, &local, wish);
        let open = match chosen.open {
            Some(found) if flags & Target::FRESH == 0 => {
                segment.slot(found.slot).map(|slot| (found.slot, slot))
            }
            _ => None,
        };
        if kind & (KIND_END | KIND_ALIAS) != 0 {
            // Only now may its sender use the index again.
            self.step_message(first, 0, 0, KIND_DONE);
            segment.blocks().free_chain(first, self.me);
            // Where the message would have waited, and others do. One that was to be dialled for it, or
            // would have taken it at once, is to blame for nothing.
            if kind & KIND_END != 0
                && (!chosen.further || chosen.meanwhile)
                && let Some((index, slot)) = open
                && gate::load(&slot.output.gate).is_async()
            {
                self.end(index, slot, Reason::TotalQueueFull, 0, Mode::Reset);
            }
            return;
        }
        if let Some((index, slot)) = open
            && !chosen.further
        {
            self.queue_on(first, head, index, slot);
            return;
        }
        let dialled = match self.may_dial(flags, &remote) {
            Ok(()) => self
                .dial(&remote, &local, chosen.lane)
                .inspect_err(|&why| self.note_no_dial(&remote, why)),
            Err(reason) => Err((reason, Errno(0))),
        };
        let dialled = dialled.map(|index| (index, segment.slot(index)));
        match (dialled, open) {
            // Not to be had: an open one serves.
            (Err(_), Some((index, slot))) => self.queue_on(first, head, index, slot),
            (Err((reason, errno)), None) => {
                if reason == Reason::Blacklisted {
                    self.count(Counter::BlacklistRefused, 1);
                }
                fail(self, reason, errno.0);
            }
            // One more to share the load: what is to be sent now need not wait until it is connected.
            (Ok((further, Some(its))), Some((index, slot))) if chosen.meanwhile => {
                self.serve(further, its, post::WRITE);
                self.queue_on(first, head, index, slot);
            }
            (Ok((index, Some(slot))), _) => self.queue_on(first, head, index, slot),
            (Ok((_, None)), _) => fail(self, Reason::Corrupt, 0),
        }
    }

    fn may_dial(&self, flags: u32, remote: &Addr) -> Result<(), Reason> {
        let segment = &self.context.segment;
        let header = segment.header();
        if flags & Target::NO_CONNECT != 0 || self.live.no_connect {
            Err(Reason::NoConnection)
        } else if header.stopping.load_sync() != 0 || header.drain_ms.load_sync() != 0 {
            Err(Reason::Shutdown)
        } else if blacklist::check(segment.blacklist(), remote, self.now_ms) {
            Err(Reason::Blacklisted)
        } else {
            Ok(())
        }
    }

    fn note_no_dial(&mut self, remote: &Addr, (reason, errno): (Reason, Errno)) {
        if reason == Reason::ConnectFailed {
            self.count(Counter::ConnectFailed, 1);
            self.blacklist(remote, reason);
        }
        self.log_end(0, remote, reason, errno.0);
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
        let pushed = inbox::push(blocks, &slot.output, generation, first, |word, waiting| {
            let state = QueueState {
                connection_bytes: waiting.limited(word),
                total_bytes: 0, // counted when the sender posted it
                conn_wq_max: self.live.conn_wq_max_bytes,
                wq_max: u64::MAX,
            };
            admit(state, u64::from(length))
        });
        match pushed {
            Ok(()) => {
                // Only now may its sender use the index again: this message is in the queue.
                self.step_message(first, 0, 0, KIND_TAKEN);
                slot.note(post::WRITE);
                self.serve_post(index, slot);
            }
            Err(refused) => {
                let reason = match refused {
                    None => Reason::NoConnection,
                    Some(_) => Reason::ConnQueueFull,
                };
                let remote = slot.remote();
                let failed = Failed {
                    reason,
                    errno: 0,
                    remote: Some(&remote),
                };
                self.fail_message(first, failed, None);
                if refused.is_some() && self.live.queue_full == QueueFull::Close {
                    self.end(index, slot, reason, 0, Mode::Reset);
                }
            }
        }
    }

    fn dial(&mut self, remote: &Addr, local: &Addr, lane: u32) -> Result<u32, (Reason, Errno)> {
        if self.free.is_empty() {
            return Err((Reason::Resource, Errno::ENFILE));
        }
        let source = match remote.family {
            4 => self.live.source_ipv4,
            _ => self.live.source_ipv6,
        };
        let any = local.is_none() || local.is_unspecified();
        let from = match source {
            Some(source) if any => Some(source.with_port(local.port)),
            // With a port: the next message to go from it looks for a connection that has it.
            _ => (!any || local.port != 0).then_some(*local),
        };
        let (fd, connecting) = match sock::dial(remote, from.as_ref(), &self.given.options) {
            Dial::Connected(fd) => (fd, false),
            Dial::InProgress(fd) => (fd, true),
            Dial::Refused(errno) => return Err((Reason::ConnectFailed, errno)),
            Dial::Failed(errno) => return Err((Reason::Resource, errno)),
        };
        let bound = sock::local_addr(fd.as_raw()).unwrap_or_else(|_| Addr::none());
        if bound == *remote {
            // Nobody listens there, and our own end has that port: we are connected with ourselves.
            sock::abort(fd.as_raw());
            return Err((Reason::ConnectFailed, Errno::ECONNREFUSED));
        }
        let opening = Opening {
            fd,
            remote,
            local: &bound,
            wire: None,
            listener: None,
            connecting,
            lane,
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
}
