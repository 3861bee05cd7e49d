//! `sipwire_drain`: no new connections, each one ends when what was asked on it is answered and written,
//! and what is left at the deadline is cut.

use super::ending::Mode;
use super::{LOG_NOTICE, LOG_WARNING, Supervisor};
use crate::pure::reason::Reason;
use crate::pure::words::OwnerState;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::sync::Word;
use crate::table::phase;
use crate::table::slot::Slot;

/// How often a drain looks at all connections.
pub(super) const DRAIN_SCAN_MS: u64 = 50;

impl Supervisor {
    /// Ends what is finished, and everything at the deadline. Looks every `DRAIN_SCAN_MS`.
    pub(super) fn drain_scan(&mut self, deadline_ms: u64) {
        if self.now_ms < self.drain_scan_ms + DRAIN_SCAN_MS {
            return;
        }
        self.drain_scan_ms = self.now_ms;
        self.unlisten();
        let over = self.now_ms >= deadline_ms;
        let context = self.context.clone();
        let mut cut = 0;
        for (index, slot) in context.segment.slots().iter().enumerate() {
            let index = index as u32;
            if slot.owner().state() == OwnerState::Free {
                continue;
            }
            let asked = is_asked(slot);
            if over {
                cut += u64::from(has_work(slot, asked));
                self.end(index, slot, Reason::Shutdown, 0, Mode::Now);
            } else if !asked && self.is_left_alone(index, slot) {
                self.end(index, slot, Reason::Shutdown, 0, Mode::Graceful);
            }
        }
        if cut > 0 {
            self.count(Counter::DrainCut, cut);
            let text =
                format!("drain: {cut} connections with unfinished work were cut at the deadline");
            self.log(LOG_WARNING, 0, 0, &text);
        }
        let drained = context.segment.header().gauges.slots_used.get() == 0;
        if drained && !core::mem::replace(&mut self.drained, drained) {
            let cut = context.segment.total(Counter::DrainCut);
            let text = format!("drain: no connection is left; {cut} were cut at the deadline");
            self.log(LOG_NOTICE, 0, 0, &text);
        }
    }

    /// No worker reads it from here on, and no script was given a request meanwhile. A worker that holds it could begin
    /// at any instant, so it is taken first: what was asked before is known then.
    fn is_left_alone(&mut self, index: u32, slot: &Slot) -> bool {
        let owner = slot.owner();
        let held = owner.state() == OwnerState::Held;
        if matches!(owner.state(), OwnerState::Lent | OwnerState::Reading)
            || held && !self.take_held(index, slot, owner)
        {
            return false;
        }
        let answered = slot.output.pending_answers.load_sync() <= 0;
        if held && !answered {
            self.arm(index, slot);
            self.schedule(index, slot);
        }
        answered
    }
}

/// Something on it may still have to be answered.
fn is_asked(slot: &Slot) -> bool {
    // Unread data may be a request.
    let waits = phase::WAITING | phase::DEFERRED | phase::STOPPED;
    let unread = slot.supervised.phase.get() & waits != 0;
    unread
        || slot.output.pending_answers.load_sync() > 0
        || matches!(slot.owner().state(), OwnerState::Lent | OwnerState::Reading)
}

/// It would be cut: an answer or output is still to come, and nothing has cut it before.
fn has_work(slot: &Slot, asked: bool) -> bool {
    let now = slot.supervised.phase.get();
    let is_cut = now & phase::ENDING != 0 && now & phase::GRACEFUL == 0;
    let queued = slot.output.queue_head.get() != 0 || gate::load(&slot.output.gate).inbox() != 0;
    !is_cut && (asked || queued)
}
