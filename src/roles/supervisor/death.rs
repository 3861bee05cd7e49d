//! P8: what a dead participant held is found by its stamps and set right, in this order; and what a
//! new supervisor does with what its predecessor left.

use super::ending::Mode;
use super::notices::Failed;
use super::table::SlotLinks;
use super::{LOG_ERROR, Supervisor, lent};
use crate::pure::reason::Reason;
use crate::pure::words::{BlockUse, Holder, OwnerState, Stamp};
use crate::roles::notice::{KIND_DONE, KIND_FAILED, KIND_TAKEN};
use crate::shm::blocks::Blocks;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::shm::participants::{End, SUPERVISOR, Tenant};
use crate::sync::{Ordering, Word};
use crate::table::slot::Slot;
use crate::table::{blacklist, index, partial, phase, queue};
use std::collections::HashSet;

impl Supervisor {
    pub(super) fn serve_deaths(&mut self) {
        self.hear_of_deaths();
        while let Some((dead, epoch)) = self.deaths.pop() {
            self.recover(dead, epoch);
        }
        self.serve_leaves();
    }

    /// What the host said after its waitpid.
    fn hear_of_deaths(&mut self) {
        let context = self.context.clone();
        let told = context.segment.header().deaths_told.load_sync();
        if told == self.deaths_heard {
            return;
        }
        self.deaths_heard = told;
        for (holder, record) in context.segment.participants().active() {
            let epoch = record.tenant().epoch();
            if record.told_end(epoch).is_some() {
                self.deaths.push((holder, epoch));
            }
        }
    }

    fn recover(&mut self, dead: Holder, epoch: u32) {
        let context = self.context.clone();
        let segment = &context.segment;
        let Some(record) = segment.participants().get(dead) else {
            return;
        };
        let pid = record.tenant().pid();
        // Told twice, or the number is a living one's by now: nothing to do.
        if dead == self.me || !record.begin_recovery(epoch) {
            return;
        }
        let worker = record.worker.load_sync();
        let end = record.told_end(epoch).unwrap_or(End::Died);
        if end != End::Left {
            self.count(Counter::ParticipantsDied, 1);
        }
        // 1. Our own inputs, so that what it finished is served as finished, and what it was in the
        // middle of.
        partial::finish(segment, dead);
        self.serve_posts();
        self.serve_dial_list(usize::MAX);
        // Nothing more is lent to it.
        self.forget_peer(dead);
        if let Some(seat) = worker.checked_sub(1)
            && let Some(place) = segment.workers().get(seat as usize)
            // It may have left its place, or not come to have it: then the ring is another one's.
            && place.participant.load_sync() == u32::from(dead)
        {
            if let Some(ring) = segment.ring(seat as usize) {
                ring.clear();
            }
            place.held.set(0);
            place.stalled.set(0);
        }
        // 2. Connections.
        for (index, slot) in segment.slots().iter().enumerate() {
            self.recover_slot(index as u32, slot, dead);
        }
        self.take_closes(dead);
        // 3. Reports it had, before its private blocks: some of these may be a report's.
        self.recover_notices(dead);
        // 4. Blocks, 5. byte counts.
        self.recover_blocks(dead);
        // 6. What else carries its stamp.
        segment.log().recover(dead);
        blacklist::recover(segment.blacklist(), dead);
        if let Some(seat) = worker.checked_sub(1)
            && let Some(place) = segment.workers().get(seat as usize)
        {
            let mine = u32::from(dead);
            let _ = place
                .participant
                .compare_exchange(mine, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
        record.end_recovery();
        let ended = match end {
            End::Left => return,
            End::Died => "died",
            End::Failed => "met a bug of sipwire",
        };
        let role = if worker > 0 {
            format!("worker {}", worker - 1)
        } else {
            "a sender".to_string()
        };
        self.log(
            LOG_ERROR,
            0,
            0,
            &format!("{role} (process {pid}) {ended}; its connections were taken back"),
        );
    }

    fn recover_slot(&mut self, index: u32, slot: &Slot, dead: Holder) {
        let context = self.context.clone();
        let owner = slot.owner();
        if owner.state() == OwnerState::Free {
            return;
        }
        // What it noted and could not post any more.
        let bits = slot.output.posted.swap(0, Ordering::SeqCst);
        if bits != 0 || slot.wanted().is_some() {
            self.serve(index, slot, bits);
            if !slot.is_open() {
                return;
            }
        }
        let owner = slot.owner();
        let mut ended = None;
        // Half a message may be on the wire: the stream is lost. Closed before it is free, or another
        // sender could write behind that half.
        let gate = &slot.output.gate;
        if gate::load(gate).holder() == dead {
            gate::close(gate);
            gate::evict(gate, dead);
            queue::find_tail(self.context.segment.blocks(), &slot.output);
            self.note_taken(index, slot);
            ended = Some(Reason::SenderDied);
        }
        if owner.worker() == dead {
            match owner.state() {
                OwnerState::Lent | OwnerState::Held => {
                    // Nobody else can swap it: its worker takes no further step.
                    let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Idle));
                    self.came_back(index, slot);
                }
                OwnerState::Reading => {
                    // Its bytes or its message are gone; a message is never delivered twice.
                    let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Idle));
                    self.unlend(index);
                    ended = Some(Reason::WorkerDied);
                }
                OwnerState::ClosingRun => {
                    let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Told));
                }
                _ => {}
            }
        }
        match ended {
            Some(reason) => self.end(index, slot, reason, 0, Mode::Reset),
            None if slot.supervised.phase.get() & phase::ENDING != 0 => {
                self.advance_end(index, slot)
            }
            None => {
                self.flush(index, slot);
                // Idle and perhaps not armed (it died between its swap and its post): arming
                // twice costs nothing.
                if slot.owner().state() == OwnerState::Idle {
                    if lent::is_linked(&context.segment, index) {
                        self.came_back(index, slot);
                    }
                    self.arm(index, slot);
                    self.schedule(index, slot);
                }
            }
        }
    }

    /// Blocks that carry its stamp and hang on nothing are free.
    fn recover_blocks(&mut self, dead: Holder) {
        let context = self.context.clone();
        let segment = &context.segment;
        let (blocks, partials) = (segment.blocks(), segment.partial_blocks());
        let listed = self.listed_messages();
        let reached: HashSet<u32> = listed
            .iter()
            .filter(|first| origin_of(blocks, **first) == u32::from(dead))
            .flat_map(|first| blocks.chain(*first))
            .collect();
        blocks.recover(|index, stamp| match stamp.usage() {
            BlockUse::Private | BlockUse::Message | BlockUse::Dial => {
                stamp.participant() == dead && !reached.contains(&index)
            }
            _ => false,
        });
        let parked: HashSet<u32> = segment
            .slots()
            .iter()
            .filter(|slot| slot.is_open())
            .flat_map(|slot| partials.chain(slot.input.partial_head.get()))
            .collect();
        partials.recover(|index, stamp| stamp.participant() == dead && !parked.contains(&index));
        self.count_queued(dead, &listed);
        if let Some(record) = segment.participants().get(dead) {
            // Its messages on the dial list have all been placed.
            let taken = record.supervised.dial_taken.load_sync();
            record.account.dial_posted.store_sync(taken);
        }
    }

    /// What a participant that takes no step has queued is what of its messages still waits.
    fn count_queued(&self, of: Holder, listed: &HashSet<u32>) {
        let segment = &self.context.segment;
        let blocks = segment.blocks();
        let waiting: u64 = listed
            .iter()
            .filter(|first| origin_of(blocks, **first) == u32::from(of))
            .filter_map(|first| blocks.head(*first))
            .map(|head| u64::from(head.length.get().saturating_sub(head.written.get())))
            .sum();
        if let Some(record) = segment.participants().get(of) {
            let removed = record.supervised.removed.load_sync();
            record
                .account
                .added
                .store_sync(removed.wrapping_add(waiting));
        }
    }

    /// The messages (first blocks) that are in an inbox, in a queue or on the dial list.
    fn listed_messages(&self) -> HashSet<u32> {
        let segment = &self.context.segment;
        let blocks = segment.blocks();
        let mut listed: HashSet<u32> = self.dials.iter().copied().collect();
        listed.extend(blocks.list(segment.header().line_dial.head.load_sync()));
        for slot in segment.slots().iter().filter(|slot| slot.is_open()) {
            let inbox = gate::load(&slot.output.gate).inbox();
            listed.extend(blocks.list(inbox));
            listed.extend(blocks.list(slot.output.queue_head.get()));
        }
        listed
    }

    /// A new supervisor: the connections of the old one are gone with its fds. All are reported.
    /// `fds_are_ours`: the old one ended in this process, and what it left open is ours to close.
    pub(super) fn inherit(&mut self, fds_are_ours: bool) {
        let context = self.context.clone();
        let segment = &context.segment;
        let header = segment.header();
        header
            .journal
            .finish(segment.blocks(), segment.participants());
        partial::finish(segment, SUPERVISOR);
        segment.log().recover(SUPERVISOR);
        blacklist::recover(segment.blacklist(), SUPERVISOR);
        header.gauges.connections.set(0);
        header.gauges.slots_used.set(0);
        header.gauges.accept_paused.set(0);
        header.gauges.proxy_waiting.set(0);
        self.free.clear();
        self.inherit_notices();
        // The dead one may have been in the middle of a change.
        index::init(segment);
        for (index, slot) in segment.slots().iter().enumerate() {
            index::forget(segment, index as u32);
            gate::evict(&slot.output.gate, SUPERVISOR);
            // Nobody takes the gate from now on; who has it knows the queue.
            gate::close(&slot.output.gate);
            if gate::load(&slot.output.gate).holder() == 0 {
                queue::find_tail(segment.blocks(), &slot.output);
            }
        }
        self.inherit_messages();
        for index in 0..segment.slots().len() as u32 {
            let Some(slot) = segment.slot(index) else {
                break;
            };
            if slot.is_open() {
                self.inherit_slot(index, slot, fds_are_ours);
            } else {
                self.free.push_back(index);
            }
        }
        let mine = Stamp::private(SUPERVISOR);
        segment.blocks().recover(|_, stamp| stamp == mine);
        segment.partial_blocks().recover(|_, stamp| stamp == mine);
        // Our own messages (pongs) are gone with their connections, but for those that a sender is
        // writing.
        let listed = self.listed_messages();
        self.count_queued(SUPERVISOR, &listed);
        self.inherit_participants();
    }

    fn inherit_slot(&mut self, index: u32, slot: &Slot, fds_are_ours: bool) {
        let context = self.context.clone();
        let segment = &context.segment;
        let gauges = &segment.header().gauges;
        gauges.connections.bump(1);
        gauges.slots_used.bump(1);
        if !slot.is_outbound() {
            self.door.hosts.opened(&slot.remote());
        }
        lent::reset(segment, index);
        SlotLinks(segment).forget(index);
        slot.supervised.duplicates.set(0);
        if fds_are_ours && slot.identity.fd.get() >= 0 {
            slot.supervised.phase.store_sync(0);
        } else {
            slot.identity.fd.store_sync(-1);
            slot.supervised.phase.store_sync(phase::FD_CLOSED);
        }
        let owner = slot.owner();
        let gone = segment
            .participants()
            .get(owner.worker())
            .is_none_or(|record| !lives(record.tenant()));
        let to = match owner.state() {
            OwnerState::ClosingRun if gone => Some(OwnerState::Told),
            // Nobody has begun to tell it.
            OwnerState::Closing => Some(OwnerState::Retiring),
            _ if owner.worker() != 0 && gone => Some(OwnerState::Retiring),
            _ => None,
        };
        if let Some(to) = to {
            let _ = slot.swap_owner(owner, owner.to_supervisor(to));
        }
        self.end(index, slot, Reason::SupervisorGone, 0, Mode::Now);
    }

    /// Messages that the dead supervisor had in hand: marked as taken, and in no list. What is in
    /// no list without a mark is a living sender's, who is about to push it.
    fn inherit_messages(&mut self) {
        let context = self.context.clone();
        let blocks = context.segment.blocks();
        let listed = self.listed_messages();
        let in_hand: Vec<u32> = blocks
            .touched()
            .filter(|index| !listed.contains(index))
            .filter(|index| {
                blocks.head(*index).is_some_and(|head| {
                    let usage = Stamp(head.stamp.load_sync()).usage();
                    matches!(usage, BlockUse::Message | BlockUse::Dial)
                        && head.kind.get() & (KIND_TAKEN | KIND_DONE | KIND_FAILED) != 0
                })
            })
            .collect();
        for first in in_hand {
            let failed = Failed {
                reason: Reason::SupervisorGone,
                errno: 0,
                remote: None,
            };
            self.fail_message(first, failed, None);
        }
    }

    /// Who takes part, as the dead supervisor knew it: workers end with their supervisor and come
    /// again, senders announce themselves again when they call, and their deaths are watched for from
    /// now on.
    fn inherit_participants(&mut self) {
        let context = self.context.clone();
        let pid = crate::sys::process::pid() as u32;
        for (i, record) in context.segment.participants().records.iter().enumerate() {
            // Its predecessor died in the middle of this one's recovery.
            let recovering = record.restart_recovery();
            let tenant = record.tenant();
            let Ok(holder) = Holder::try_from(i + 1) else {
                break;
            };
            if holder == SUPERVISOR || !tenant.is_active() || tenant.pid() == pid {
                continue;
            }
            if recovering || !self.watch_process(holder, tenant.epoch(), tenant.pid()) {
                self.deaths.push((holder, tenant.epoch()));
            }
        }
    }
}

/// The participant whose message it is.
fn origin_of(blocks: Blocks<'_>, first: u32) -> u32 {
    blocks.head(first).map_or(0, |head| head.origin.get())
}

fn lives(tenant: Tenant) -> bool {
    tenant.is_active() && crate::sys::process::process_alive(tenant.pid() as i32)
}
