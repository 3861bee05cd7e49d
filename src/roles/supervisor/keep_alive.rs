//! Keep-alive (RFC 5626 4.4.1, 5.4): pings of ours that are due, and what the timers know of a
//! connection's silence. `pure::deadline` decides; pongs and other input are noted by the reader.
//!
//! A ping takes its place in the queue like a message, behind what waits there, so that it is never
//! inside one; with nothing queued it is written in the same turn. The wait for the pong begins when it
//! was written, and a ping that cannot be written is the business of `send_timeout`.

use super::Supervisor;
use crate::pure::deadline::Keep;
use crate::pure::keepalive::{Interval, moment_ms};
use crate::roles::sender::{PING, UNREPORTED};
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::sys::clock::monotonic_ms;
use crate::sys::{Errno, sock};
use crate::table::phase;
use crate::table::slot::Slot;
use std::hash::BuildHasher;

const PING_BYTES: &[u8] = b"\r\n\r\n";

impl Supervisor {
    /// Follows what the host wants: when it says so, and when a connection opens. Doing it again changes
    /// nothing.
    pub(super) fn follow_keep_alive(&self, index: u32, slot: &Slot) {
        let Some(rare) = self.context.segment.rare(index) else {
            return;
        };
        let agreed = rare.agreed();
        let now = slot.supervised.phase.get();
        let pings = agreed.interval() != Interval::Off;
        let timed = agreed.flow_timer_ms() > 0;
        // Readers look at the record once the bit is set.
        if pings && now & phase::PINGS == 0 {
            rare.set_pinged(self.now_ms);
            rare.hear();
            self.set_phase(slot, phase::PINGS);
        } else if !pings && now & phase::PINGS != 0 {
            self.clear_phase(slot, phase::PINGS);
        }
        if timed && now & phase::FLOW_TIMED == 0 {
            rare.set_heard(self.now_ms);
            self.set_phase(slot, phase::FLOW_TIMED);
        } else if !timed && now & phase::FLOW_TIMED != 0 {
            self.clear_phase(slot, phase::FLOW_TIMED);
        }
    }

    /// For `deadline::next`. `talks`: connected, and neither side has begun to end it.
    pub(super) fn keep(&self, index: u32, slot: &Slot, talks: bool) -> Keep {
        let now = slot.supervised.phase.get();
        let on = now & phase::KEPT != 0;
        let mut keep = Keep {
            on,
            ..Keep::default()
        };
        let Some(rare) = self.context.segment.rare(index).filter(|_| on && talks) else {
            return keep;
        };
        let agreed = rare.agreed();
        if now & phase::PINGS != 0 && now & (phase::PING_OWED | phase::PING_QUEUED) == 0 {
            let stamp = rare.pinged_ms();
            let pinged_ms = moment_ms(self.now_ms, stamp).max(1);
            if rare.awaits_pong() {
                keep.pinged_ms = pinged_ms;
            } else {
                // Drawn once for each ping: the same whenever it is asked.
                let draw = self
                    .draw
                    .hash_one((index, slot.owner().generation(), stamp));
                keep.next_ping_ms = pinged_ms.saturating_add(agreed.interval().wait_ms(draw));
            }
        }
        if now & phase::FLOW_TIMED != 0 {
            keep.flow_timer_ms = agreed.flow_timer_ms();
            keep.heard_ms = moment_ms(self.now_ms, rare.heard_ms());
        }
        keep
    }

    /// It was not read for a while: its silence counts from now.
    pub(super) fn listen_anew(&self, index: u32, slot: &Slot) {
        let now = slot.supervised.phase.get();
        let kept = now & phase::KEPT != 0;
        let Some(rare) = self.context.segment.rare(index).filter(|_| kept) else {
            return;
        };
        if now & phase::FLOW_TIMED != 0 {
            rare.set_heard(self.now_ms);
        }
        if now & phase::PINGS != 0 && rare.awaits_pong() {
            rare.set_pinged(self.now_ms);
        }
    }

    /// Bytes (or a FIN) lie in the socket that no worker has read.
    pub(super) fn has_unread(slot: &Slot) -> Result<bool, Errno> {
        match sock::peek(slot.identity.fd.get(), &mut [0]) {
            Ok(_) => Ok(true),
            Err(errno) if errno.is_again() => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// A ping is due.
    pub(super) fn ping(&mut self, index: u32, slot: &Slot) {
        self.set_phase(slot, phase::PING_OWED);
        self.flush(index, slot);
        self.schedule(index, slot);
    }

    /// With the gate: the ping that is due goes behind what is queued.
    pub(super) fn queue_ping(&mut self, index: u32, slot: &Slot) {
        let context = self.context.clone();
        let Some(rare) = context.segment.rare(index) else {
            return;
        };
        if self.queue_own(index, slot, PING_BYTES, UNREPORTED | PING) {
            // Before it is written: the pong may be read before we come back from that.
            self.set_phase(slot, phase::PING_QUEUED);
            rare.ask();
        } else {
            // No block is left: this one is left out.
            rare.set_pinged(self.now_ms);
        }
        self.clear_phase(slot, phase::PING_OWED);
    }

    /// The kernel has the whole ping.
    pub(super) fn ping_written(&mut self, index: u32, slot: &Slot) {
        if let Some(rare) = self.context.segment.rare(index) {
            // Not the time of this turn: we may have been stopped since.
            rare.set_pinged(monotonic_ms());
        }
        self.clear_phase(slot, phase::PING_QUEUED);
        self.count(Counter::PingsSent, 1);
    }
}
