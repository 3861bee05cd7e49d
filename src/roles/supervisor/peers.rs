//! The other participants as the supervisor knows them: how to wake them, how to pass them fds,
//! how to learn of their death.

use super::{LEVEL_READ, Supervisor, TOKEN_PIDFD};
use crate::pure::words::Holder;
use crate::roles::duplicates::Passing;
use crate::roles::member::Announcement;
use crate::roles::notice::Entry;
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::sys::fdpass::{self, Passed, Receive};
use crate::sys::{self, Fd, RawFd};
use crate::table::slot::Slot;

/// A sender that queues twice to a connection within this time is passed its fd.
const OFFER_MS: u64 = 5000;

/// Eventfd, channel and pidfd.
const SPARE_FDS: usize = 3;

#[derive(Default)]
pub struct Peer {
    pub epoch: u32,
    /// Worker index + 1, 0: a sender.
    pub worker: u32,
    /// In this process: fd numbers in slots mean something to it.
    pub beside: bool,
    pub wake: Option<Fd>,
    pub channel: Option<Fd>,
    pub pidfd: Option<Fd>,
    pub sweep_due: bool,
    /// Some fd was passed to it.
    pub passed_any: bool,
    /// Connections it queued to lately: (slot, generation, when).
    lately: Vec<(u32, u32, u64)>,
}

impl Drop for Peer {
    /// A worker beside us has no channel that would tell.
    fn drop(&mut self) {
        if self.beside
            && let Some(wake) = &self.wake
        {
            sys::event::notify_raw(wake.as_raw());
        }
    }
}

/// Bits of a slot's `duplicates`: one for each of the participants 1 to 63, and one for all above, who
/// are passed an fd each time.
const OWN_BITS: u32 = 63;
const ANY_ABOVE: u64 = 1 << OWN_BITS;

fn bit(holder: Holder) -> u64 {
    match u32::from(holder).checked_sub(1) {
        Some(n) if n < OWN_BITS => 1 << n,
        _ => ANY_ABOVE,
    }
}

/// The participant is known to keep a duplicate of the slot's fd.
pub(super) fn keeps(slot: &Slot, holder: Holder) -> bool {
    let own = bit(holder);
    own != ANY_ABOVE && slot.supervised.duplicates.get() & own != 0
}

impl Supervisor {
    /// New participants.
    pub(super) fn serve_announcements(&mut self) {
        let context = self.context.clone();
        let claim = context.segment.header().claim.load_sync();
        let mut payload = [0u8; fdpass::MAX_PAYLOAD_BYTES];
        loop {
            // Connections may have taken every descriptor but these: a worker that replaces a dead one
            // must be known all the same.
            self.spare_fds.clear();
            let received = fdpass::receive(context.announced.as_raw(), &mut payload);
            let Receive::Got(mut got) = received else {
                break;
            };
            let Some(said) = payload.get(..got.len).and_then(Announcement::from_bytes) else {
                continue;
            };
            let Some(record) = context.segment.participants().get(said.holder) else {
                continue;
            };
            // Left or died before we came to read this.
            if !record.is_of(said.epoch, said.pid) {
                continue;
            }
            let [wake, channel, pidfd, _] = &mut got.fds;
            let beside = said.pid == sys::process::pid() as u32;
            if got.truncated || wake.is_none() || (!beside && channel.is_none()) {
                // We are out of descriptors, and what came with the word is lost. Its channel is
                // closed by that, so it announces itself again.
                continue;
            }
            record.supervised.claim.store_sync(claim);
            // The channel is new and empty.
            let taken = record.own.fds_taken.load_sync();
            record.supervised.fds_passed.store_sync(taken);
            if let Some(seat) = said.worker.checked_sub(1) {
                let before = self.seats.get(seat as usize).map_or(0, |s| s.holder);
                if before != 0 {
                    self.reclaim(before);
                }
            }
            // An earlier tenant of the number that left, and was not yet seen to.
            self.reclaim(said.holder);
            self.forget_peer(said.holder);
            if let Some(pidfd) = pidfd.as_ref() {
                let token = TOKEN_PIDFD | u64::from(said.epoch) << 16 | u64::from(said.holder);
                let _ = self.poll.add(pidfd.as_raw(), token, LEVEL_READ);
            }
            let peer = Peer {
                epoch: said.epoch,
                worker: said.worker,
                beside,
                wake: wake.take(),
                channel: channel.take(),
                pidfd: pidfd.take(),
                sweep_due: false,
                passed_any: false,
                lately: Vec::new(),
            };
            if let Some(place) = self.peers.get_mut(usize::from(said.holder)) {
                *place = peer;
            }
            let Some(seat) = said.worker.checked_sub(1) else {
                continue;
            };
            if let Some(place) = self.seats.get_mut(seat as usize) {
                *place = super::handoff::Seat {
                    holder: said.holder,
                    ..Default::default()
                };
            }
            // In which it arms what it gives back; without it, it asks us to. The entry has it look: it may be about
            // to sleep.
            if !beside && self.pass_fd(said.holder, Passing::POLL, 0, self.poll.fd()) {
                self.push(seat as usize, Entry::Probe, 0);
            }
        }
        self.keep_spare_fds();
    }

    /// As many descriptors as an announcement brings, kept for it.
    pub(super) fn keep_spare_fds(&mut self) {
        while self.spare_fds.len() < SPARE_FDS
            && let Ok(spare) = sys::event::EventFd::new()
        {
            self.spare_fds.push(spare.into_fd());
        }
    }

    /// Learns of the death of a participant that has not announced itself to us. False: it is dead.
    pub(super) fn watch_process(&mut self, holder: Holder, epoch: u32, pid: u32) -> bool {
        let Ok(pidfd) = sys::process::pidfd_open(pid as i32) else {
            // An old kernel: the number says whether there is such a process.
            return sys::process::process_alive(pid as i32);
        };
        let token = TOKEN_PIDFD | u64::from(epoch) << 16 | u64::from(holder);
        let _ = self.poll.add(pidfd.as_raw(), token, LEVEL_READ);
        if let Some(peer) = self.peers.get_mut(usize::from(holder)) {
            *peer = Peer::default();
            peer.epoch = epoch;
            peer.pidfd = Some(pidfd);
        }
        true
    }

    /// Nothing is known any more of what the participant keeps.
    fn forget_duplicates_of(&mut self, holder: Holder) {
        let bit = bit(holder);
        let passed = match self.peers.get_mut(usize::from(holder)) {
            Some(peer) => core::mem::take(&mut peer.passed_any),
            None => false,
        };
        if !passed || bit == ANY_ABOVE {
            return;
        }
        for slot in self.context.segment.slots() {
            let kept = slot.supervised.duplicates.get();
            if kept & bit != 0 {
                slot.supervised.duplicates.set(kept & !bit);
            }
        }
    }

    /// Makes sure that the worker at `seat` has an fd for the connection. False: its channel is
    /// full (the kernel takes few fds at a time), try another one.
    pub(super) fn give_fd(&mut self, seat: usize, index: u32, slot: &Slot) -> bool {
        let Some(holder) = self.seats.get(seat).map(|s| s.holder) else {
            return false;
        };
        let Some(peer) = self.peers.get(usize::from(holder)) else {
            return false;
        };
        if peer.beside || keeps(slot, holder) {
            return true;
        }
        let passed = self.pass(holder, index, slot);
        if !passed {
            self.want_room(seat);
        }
        passed
    }

    fn pass(&mut self, holder: Holder, index: u32, slot: &Slot) -> bool {
        let (fd, generation) = (slot.identity.fd.get(), slot.owner().generation());
        if fd < 0 || !self.pass_fd(holder, index, generation, fd) {
            return false;
        }
        if let Some(peer) = self.peers.get_mut(usize::from(holder)) {
            peer.passed_any = true;
        }
        slot.supervised
            .duplicates
            .set(slot.supervised.duplicates.get() | bit(holder));
        self.count(Counter::FdsPassed, 1);
        true
    }

    /// False: its channel is full, or there is none.
    fn pass_fd(&self, holder: Holder, slot: u32, generation: u32, fd: RawFd) -> bool {
        let Some(peer) = self.peers.get(usize::from(holder)) else {
            return false;
        };
        let passing = Passing {
            slot,
            generation,
            epoch: peer.epoch,
        };
        let passes = |channel: &Fd| fdpass::pass(channel.as_raw(), &passing.to_bytes(), &[fd]);
        if peer.channel.as_ref().map(passes) != Some(Passed::Sent) {
            return false;
        }
        if let Some(record) = self.context.segment.participants().get(holder) {
            let passed = record.supervised.fds_passed.load_sync();
            record
                .supervised
                .fds_passed
                .store_sync(passed.wrapping_add(1));
        }
        true
    }

    /// The worker had no fd for what we lent it: it dropped its duplicate, or the kernel lost it.
    pub(super) fn forget_duplicate(&mut self, index: u32, slot: &Slot) {
        let seat = super::lent::seat_of(&self.context.segment, index);
        if let Some(holder) = seat.and_then(|seat| self.seats.get(seat)).map(|s| s.holder) {
            let kept = slot.supervised.duplicates.get();
            if bit(holder) != ANY_ABOVE {
                slot.supervised.duplicates.set(kept & !bit(holder));
            }
        }
    }

    /// A message of `holder` was queued: at the second one within a while it is passed the fd, so
    /// that it can write directly (P4).
    pub(super) fn offer_fd(&mut self, holder: Holder, index: u32, slot: &Slot) {
        let limit = self.live.fd_cache;
        let (now_ms, generation) = (self.now_ms, slot.owner().generation());
        let unpicked = self
            .context
            .segment
            .participants()
            .get(holder)
            .map_or(0, |record| {
                record
                    .supervised
                    .fds_passed
                    .load_sync()
                    .wrapping_sub(record.own.fds_taken.load_sync())
            });
        let Some(peer) = self.peers.get_mut(usize::from(holder)) else {
            return;
        };
        let has = keeps(slot, holder);
        if peer.beside || peer.channel.is_none() || has || unpicked >= limit {
            return;
        }
        peer.lately
            .retain(|(_, _, at)| now_ms.saturating_sub(*at) < OFFER_MS);
        let before = peer
            .lately
            .iter()
            .position(|(s, g, _)| (*s, *g) == (index, generation));
        match before {
            Some(at) => {
                peer.lately.swap_remove(at);
                self.pass(holder, index, slot);
            }
            None if peer.lately.len() < 64 => peer.lately.push((index, generation, now_ms)),
            None => {}
        }
    }

    /// Processes in `mask` keep duplicates of a connection that ended.
    pub(super) fn want_sweep(&mut self, mask: u64) {
        for (holder, peer) in self.peers.iter_mut().enumerate() {
            let keeps = Holder::try_from(holder).is_ok_and(|holder| mask & bit(holder) != 0);
            if keeps && peer.worker != 0 && !peer.beside && peer.passed_any {
                peer.sweep_due = true;
            }
        }
    }

    /// Tells workers, at most once a second, that some of their duplicates are of no use any more.
    pub(super) fn send_sweeps(&mut self) {
        if self.now_ms < self.sweep_ms + 1000 || !self.peers.iter().any(|peer| peer.sweep_due) {
            return;
        }
        self.sweep_ms = self.now_ms;
        for holder in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(holder) else {
                break;
            };
            if core::mem::take(&mut peer.sweep_due)
                && let Some(seat) = peer.worker.checked_sub(1)
                && !self.push(seat as usize, Entry::Sweep, 0)
                && let Some(peer) = self.peers.get_mut(holder)
            {
                peer.sweep_due = true; // its ring is full
            }
        }
    }

    /// A pidfd became readable: the process has ended and takes no further step. Its record may be
    /// another one's by now: then it left in order before it ended.
    pub(super) fn on_process_end(&mut self, holder: Holder, epoch: u32) {
        let Some(peer) = self.peers.get(usize::from(holder)) else {
            return;
        };
        if peer.epoch != epoch {
            return; // an event of a predecessor's, fetched before it was forgotten
        }
        let records = self.context.clone();
        let same = records
            .segment
            .participants()
            .get(holder)
            .is_some_and(|record| record.tenant().is_active() && record.tenant().epoch() == epoch);
        if same {
            let pidfd = self
                .peers
                .get_mut(usize::from(holder))
                .and_then(|p| p.pidfd.take());
            if let Some(pidfd) = pidfd {
                let _ = self.poll.remove(pidfd.as_raw());
            }
            self.deaths.push((holder, epoch));
        } else {
            self.reclaim(holder);
            self.forget_peer(holder);
        }
    }

    /// Takes back what was lent to a worker that left and what it did not come to.
    pub(super) fn reclaim(&mut self, holder: Holder) {
        if let Some(seat) = self.seats.iter().position(|seat| seat.holder == holder) {
            // All of it: what passes for busy or stalled with nobody there would have us look for ever.
            if let Some(place) = self.seats.get_mut(seat) {
                *place = super::handoff::Seat::default();
            }
            self.take_unread(seat, holder);
            self.take_notices(holder);
            self.take_closes(holder);
        }
    }

    /// Workers that left in order, without their process having ended.
    pub(super) fn serve_leaves(&mut self) {
        let context = self.context.clone();
        for seat in 0..self.seats.len() {
            let holder = self.seats.get(seat).map_or(0, |s| s.holder);
            let sits = context
                .segment
                .workers()
                .get(seat)
                .map_or(0, |w| w.participant.load_sync());
            if holder != 0 && u32::from(holder) != sits {
                self.reclaim(holder);
                // Between its place and its number it can still die.
                let records = context.segment.participants();
                let peer = self.peers.get(usize::from(holder));
                let left = peer.zip(records.get(holder)).is_none_or(|(peer, record)| {
                    !record.tenant().is_active() || record.tenant().epoch() != peer.epoch
                });
                if left {
                    self.forget_peer(holder);
                } else if let Some(peer) = self.peers.get_mut(usize::from(holder)) {
                    // Nobody comes back to it here unless it dies.
                    peer.wake = None;
                    peer.channel = None;
                }
            }
        }
    }

    pub(super) fn forget_peer(&mut self, holder: Holder) {
        self.forget_duplicates_of(holder);
        if let Some(peer) = self.peers.get_mut(usize::from(holder)) {
            if let Some(pidfd) = peer.pidfd.take() {
                let _ = self.poll.remove(pidfd.as_raw());
            }
            *peer = Peer::default();
        }
        for seat in &mut self.seats {
            if seat.holder == holder {
                *seat = super::handoff::Seat::default();
            }
        }
    }
}
