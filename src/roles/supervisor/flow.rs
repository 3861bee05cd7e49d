//! Back-pressure: who is told that there is room again, and connections that are not read for now.
//!
//! One that is not to be read is noticed when it has something to read, not before: until then it is
//! armed like any other, so that its lifetime runs. From then on (STOPPED) it is armed for the peer's
//! FIN and a reset alone, and its lifetime stands still. Whatever may end that looks again: the queue at
//! low-water, `sipwire_conn_resume`, a changed setting, the tick when all queues together were nearly full.

use super::Supervisor;
use crate::pure::words::OwnerState;
use crate::sync::Word;
use crate::sys::poll::Ready;
use crate::table::slot::Slot;
use crate::table::{flow, phase};

impl Supervisor {
    /// Output was added. Before it is written: somebody may have seen the queue as it is now.
    pub(super) fn note_high(&mut self, slot: &Slot) {
        let now = slot.supervised.phase.get();
        let (_, queued) = flow::queued(&self.context.segment, slot);
        if now & phase::ABOVE_HIGH == 0 && queued > self.live.water().high {
            self.set_phase(slot, phase::ABOVE_HIGH | phase::ROOM_WANTED);
        }
    }

    /// Output may have left, or the marks may have moved.
    pub(super) fn note_low(&mut self, index: u32, slot: &Slot) {
        let now = slot.supervised.phase.get();
        let waits = phase::ABOVE_HIGH | phase::ROOM_WANTED | phase::EMPTY_WANTED | phase::STOPPED;
        if now & waits == 0 || now & phase::ENDING != 0 {
            return;
        }
        let (_, queued) = flow::queued(&self.context.segment, slot);
        let low = queued <= self.live.water().low;
        if low && now & phase::ABOVE_HIGH != 0 {
            self.clear_phase(slot, phase::ABOVE_HIGH);
        }
        if low && now & phase::ROOM_WANTED != 0 || queued == 0 && now & phase::EMPTY_WANTED != 0 {
            self.tell_writable(index, slot);
        }
        if now & phase::STOPPED != 0 {
            if !self.is_stopped(index, slot) {
                self.read_again(index, slot);
            } else if flow::total_is_high(&self.context.segment, &self.live, 0) {
                self.wait_for_room(index, slot);
            }
        }
    }

    pub(super) fn is_stopped(&self, index: u32, slot: &Slot) -> bool {
        let generation = slot.owner().generation();
        flow::is_stopped(&self.context.segment, (index, slot, generation), &self.live)
    }

    /// An idle connection has something to read, and must not be read.
    pub(super) fn stop_reading(&mut self, index: u32, slot: &Slot) {
        self.note_high(slot);
        self.set_phase(slot, phase::STOPPED);
        // Perhaps for want of room in all queues together, which others make.
        if slot.supervised.phase.get() & phase::ABOVE_HIGH == 0 {
            self.wait_for_room(index, slot);
        }
        self.arm(index, slot);
        self.schedule(index, slot);
    }

    fn read_again(&mut self, index: u32, slot: &Slot) {
        self.set_phase(slot, phase::WAS_STOPPED);
        self.clear_phase(slot, phase::STOPPED | phase::STOPPED_FIN);
        // Nothing could happen here meanwhile, and the message whose beginning is parked could not come
        // any further.
        slot.supervised.activity_ms.set(self.now_ms);
        if slot.input.message_started_ms.get() != 0 {
            slot.input.message_started_ms.set(self.now_ms);
        }
        self.listen_anew(index, slot);
        self.arm(index, slot);
        self.schedule(index, slot);
    }

    /// What the kernel still says of a connection that is not read.
    pub(super) fn on_stopped_event(&mut self, index: u32, slot: &Slot, event: &Ready) {
        if event.hangup_or_error {
            self.end_hung_up(index, slot);
            return;
        }
        // What it sent before may be requests: they wait for half_close_timeout.
        if event.read_closed {
            self.set_phase(slot, phase::STOPPED_FIN);
            slot.supervised.activity_ms.set(self.now_ms);
            self.schedule(index, slot);
        }
    }

    /// Input that a worker has read and kept lies with us: like what lies in the kernel, it is there
    /// now, but no poll would tell of it.
    pub(super) fn lend_kept_input(&mut self, index: u32, slot: &Slot) {
        let waits = phase::WAITING | phase::DEFERRED | phase::STOPPED | phase::ENDING;
        if slot.owner().state() == OwnerState::Idle
            && slot.supervised.phase.get() & waits == 0
            && slot.has_kept_input()
        {
            self.lend_or_wait(index, slot, true);
        }
    }
}
