//! Whether one more connection is let in: the limits and address lists of `pure::access`, with what
//! the supervisor knows.

use super::{LOG_WARNING, Supervisor};
use crate::pure::access::Refused;
use crate::pure::addr::Addr;
use crate::shm::counters::Counter;
use crate::table::slot::Slot;

impl Supervisor {
    /// For who comes from there, which may be another address than the peer's. A refusal is counted and
    /// logged here; the caller closes: accepted and closed at once the client learns now, not at its timeout.
    pub(super) fn admitted(&mut self, remote: &Addr) -> Result<(), Refused> {
        let live = self.live.clone();
        let verdict = self.door.admit(remote, &live, self.now_ms);
        verdict.inspect_err(|refused| self.note_refused(remote, *refused))
    }

    pub(super) fn note_refused(&mut self, remote: &Addr, refused: Refused) {
        let counter = match refused {
            Refused::Denied => Counter::RefusedDenied,
            Refused::NotAllowed => Counter::RefusedNotAllowed,
            Refused::MaxConnections => Counter::RefusedMaxConnections,
            Refused::PerIp => Counter::RefusedMaxConnectionsPerIp,
            Refused::RatePerIp => Counter::RefusedRatePerIp,
            Refused::Rate => Counter::RefusedRate,
        };
        self.count(counter, 1);
        if let Some(suppressed) = self.accept_log.allow(self.now_ms) {
            let text = format!("refused a connection from {remote}: {refused}");
            self.log(LOG_WARNING, 0, suppressed, &text);
        }
    }

    /// Settings may have changed.
    pub(super) fn follow_access(&mut self) {
        if !self.door.follow(&self.live) {
            return;
        }
        let context = self.context.clone();
        let accepted = |slot: &&Slot| slot.is_open() && !slot.is_outbound();
        for slot in context.segment.slots().iter().filter(accepted) {
            self.door.hosts.opened(&slot.remote());
        }
    }
}
