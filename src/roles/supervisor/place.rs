//! The supervisor's place: there is one in a process, and one in the segment. It is left when this is dropped, in
//! order or by the unwinding of a bug, and a successor may begin, here or in another process. That of a
//! process that died is known by its claim (P8).

use std::sync::Arc;

use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::failure;
use crate::shm::participants::SUPERVISOR;
use crate::sync::Ordering;
use crate::sys;

pub struct Place {
    context: Arc<Context>,
    pub pid: u32,
    /// 0: none in the segment yet.
    claim: u64,
    /// Else a bug ends it, which is said while the log is still ours.
    in_order: bool,
}

impl Place {
    /// `Role`: another thread has it.
    pub fn in_process(context: &Arc<Context>) -> Result<Place> {
        if !context.begin_supervising() {
            return Err(Error::Role);
        }
        Ok(Place {
            context: context.clone(),
            pid: sys::process::pid() as u32,
            claim: 0,
            in_order: false,
        })
    }

    /// In the segment, if it is still as `before` says. `Role`: somebody else has claimed it since.
    pub fn claim(&mut self, before: u64) -> Result<u64> {
        let claimed = self.context.segment.header().claim(before, self.pid);
        self.claim = claimed.ok_or(Error::Role)?;
        Ok(self.claim)
    }

    pub fn number(&self) -> u64 {
        self.claim
    }

    /// The role has come to its end.
    pub fn end_in_order(&mut self) {
        self.in_order = true;
    }

    /// Nobody begins to use an fd of ours by its number any more.
    pub fn lend_no_fds(&self) {
        let word = &self.context.segment.header().supervisor_pid;
        // Not a successor's: the host may have said, wrongly, that we died.
        let _ = word.compare_exchange(self.pid, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if sys::process::pid() as u32 != self.pid {
            return; // in a child that was forked since: it stays the parent's
        }
        if self.claim != 0 {
            if !self.in_order && std::thread::panicking() {
                let report = || failure::report(&self.context, SUPERVISOR, "the supervisor");
                let _ = failure::caught(report);
            }
            self.lend_no_fds();
            self.context.segment.header().note_gone(self.claim);
        }
        self.context.end_supervising();
    }
}
