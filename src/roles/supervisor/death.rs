//! P8: what a dead participant held is found by its stamps and set right, in this order; and what a
//! new supervisor does with what its predecessor left.

use super::ending::Mode;
use super::{Supervisor, phase};
use crate::pure::reason::Reason;
use crate::pure::words::{BlockUse, Holder, OwnerState};
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::shm::participants::{SUPERVISOR, Tenant};
use crate::sync::{Ordering, Word};
use crate::table::blacklist;
use std::collections::HashSet;

const LOG_ERROR: u8 = 1;

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
            if record.death_told.load_sync() == epoch + 1 {
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
        self.count(Counter::ParticipantsDied, 1);
        // 1. Our own inputs, so that what it finished is served as finished.
        self.serve_posts();
        self.serve_dial_list();
        // Nothing more is lent to it.
        self.forget_peer(dead);
        if let Some(seat) = worker.checked_sub(1) {
            if let Some(ring) = segment.ring(seat as usize) {
                ring.clear();
            }
            if let Some(place) = segment.workers().get(seat as usize) {
                place.held.set(0);
                place.stalled.set(0);
            }
        }
        // 2. Connections.
        for (index, slot) in segment.slots().iter().enumerate() {
            self.recover_slot(index as u32, slot, dead);
        }
        self.take_closes(dead);
        // 3. Blocks, 4. byte counts.
        self.recover_blocks(dead);
        // 5. Reports it had.
        self.recover_notices(dead);
        // 6. Duplicates, and what else carries its stamp.
        self.forget_duplicates_of(dead);
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
        let role = if worker > 0 {
            format!("worker {}", worker - 1)
        } else {
            "a sender".to_string()
        };
        self.log(
            LOG_ERROR,
            0,
            0,
            &format!("{role} (process {pid}) died; its connections were taken back"),
        );
    }

    fn recover_slot(&mut self, index: u32, slot: &crate::table::slot::Slot, dead: Holder) {
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
        // Half a message may be on the wire: the stream is lost.
        if gate::evict(&slot.output.gate, dead) {
            ended = Some(Reason::SenderDied);
        }
        if owner.worker() == dead {
            match owner.state() {
                OwnerState::Lent | OwnerState::Held => {
                    // Nobody else can swap it: its worker takes no further step.
                    let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Idle));
                    self.unlend(index);
                    self.clear_phase(slot, phase::WATCHED);
                    slot.supervised.activity_ms.set(self.now_ms);
                }
                OwnerState::Reading => {
                    // Its bytes or its message are gone; a message is never delivered twice.
                    let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Idle));
                    self.unlend(index);
                    ended = Some(Reason::WorkerDied);
                }
                OwnerState::ClosingRun => {
                    let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Retiring));
                    self.set_phase(slot, phase::CLOSE_TOLD);
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
                    self.arm(index, slot);
                    self.schedule(index, slot);
                }
            }
        }
    }

    /// Blocks that carry its stamp and hang on nothing are free; what it has queued is what of
    /// its messages still waits.
    fn recover_blocks(&mut self, dead: Holder) {
        let context = self.context.clone();
        let segment = &context.segment;
        let blocks = segment.blocks();
        let mut reached: HashSet<u32> = HashSet::new();
        let mut live_bytes = 0u64;
        for slot in segment.slots() {
            if !slot.is_open() {
                continue;
            }
            let inbox = gate::load(&slot.output.gate).inbox();
            for start in [inbox, slot.output.queue_head.get()] {
                for first in blocks.list(start) {
                    if let Some(head) = blocks.head(first)
                        && head.origin.get() == u32::from(dead)
                    {
                        live_bytes +=
                            u64::from(head.length.get().saturating_sub(head.written.get()));
                        reached.extend(blocks.chain(first));
                    }
                }
            }
            reached.extend(blocks.chain(slot.input.partial_head.get()));
        }
        blocks.recover(|index, stamp| match stamp.usage() {
            BlockUse::Private | BlockUse::Message | BlockUse::Dial => {
                stamp.participant() == dead && !reached.contains(&index)
            }
            BlockUse::Partial => stamp.participant() == dead && !reached.contains(&index),
            _ => false,
        });
        if let Some(record) = segment.participants().get(dead) {
            let removed = record.supervised.removed.load_sync();
            record
                .own
                .added
                .store_sync(removed.wrapping_add(live_bytes));
            record
                .own
                .dial_posted
                .store_sync(record.supervised.dial_taken.load_sync());
        }
    }

    /// A new supervisor: the connections of the old one are gone with its fds. All are reported.
    pub(super) fn inherit(&mut self) {
        let context = self.context.clone();
        let segment = &context.segment;
        let header = segment.header();
        header.gauges.connections.set(0);
        header.gauges.slots_used.set(0);
        self.free.clear();
        self.inherit_notices();
        gate_all_free(self, SUPERVISOR);
        for index in 0..segment.slots().len() as u32 {
            let Some(slot) = segment.slot(index) else {
                break;
            };
            if !slot.is_open() {
                self.free.push_back(index);
                continue;
            }
            header.gauges.connections.bump(1);
            header.gauges.slots_used.bump(1);
            super::lent::reset(segment, index);
            super::table::SlotLinks(segment).forget(index);
            slot.supervised.duplicates.set(0);
            slot.identity.fd.store_sync(-1);
            let told = slot.supervised.phase.get() & phase::CLOSE_TOLD;
            slot.supervised.phase.store_sync(phase::FD_CLOSED | told);
            let owner = slot.owner();
            let gone = segment
                .participants()
                .get(owner.worker())
                .is_none_or(|record| !lives(record.tenant()));
            if (owner.worker() != 0 && gone) || owner.state() == OwnerState::Closing {
                let _ = slot.swap_owner(owner, owner.to_supervisor(OwnerState::Retiring));
            }
            self.end(index, slot, Reason::SupervisorGone, 0, Mode::Now);
        }
        // Who died while there was no supervisor to see it, or in its recovery.
        for (i, record) in segment.participants().records.iter().enumerate() {
            let recovering = record.restart_recovery();
            let tenant = record.tenant();
            if let Ok(holder) = Holder::try_from(i + 1)
                && holder != SUPERVISOR
                && tenant.is_active()
                && (recovering || !lives(tenant))
            {
                self.deaths.push((holder, tenant.epoch()));
            }
        }
    }
}

fn lives(tenant: Tenant) -> bool {
    tenant.is_active() && crate::sys::process::process_alive(tenant.pid() as i32)
}

/// Gates that the dead supervisor held.
fn gate_all_free(supervisor: &Supervisor, dead: Holder) {
    for slot in supervisor.context.segment.slots() {
        gate::evict(&slot.output.gate, dead);
    }
}
