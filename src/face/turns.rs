//! Supervisor and worker for the host's own event loop.

use std::sync::Arc;

use super::instance::Owner;
use super::{Error, Instance, Result};
use crate::runtime::boundary::result;
use crate::runtime::run::Role;

/// A supervisor or worker that the host drives: when [`fd`](Self::fd) is readable or
/// [`timeout_ms`](Self::timeout_ms) is over, it calls [`step`](Self::step). Dropped, the role ends in order.
///
/// It stays in the thread that made it:
///
/// ```compile_fail,E0277
/// fn elsewhere(worker: sipwire::Loop) {
///     std::thread::spawn(move || drop(worker));
/// }
/// ```
pub struct Loop {
    /// None: a step has panicked.
    role: Option<Role>,
    _owner: Arc<Owner>,
}

impl Instance {
    /// The supervisor, for the calling thread.
    pub fn supervisor_loop(&self) -> Result<Loop> {
        self.open_loop(None)
    }

    /// Worker `worker` (from 0), for the calling thread, which may drive several.
    pub fn worker_loop(&self, worker: usize) -> Result<Loop> {
        self.open_loop(Some(worker))
    }

    fn open_loop(&self, worker: Option<usize>) -> Result<Loop> {
        result(|| {
            let owner = self.owner()?;
            Ok(Loop {
                role: Some(self.inner.open_loop(worker)?),
                _owner: owner,
            })
        })
    }
}

impl Loop {
    /// The descriptor to wait for, level-triggered; -1 after a panic.
    pub fn fd(&self) -> i32 {
        self.role.as_ref().map_or(-1, Role::fd)
    }

    /// After how many milliseconds to call [`step`](Self::step) at the latest, readable or not; none: no limit. Ask
    /// again after each step.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.role.as_ref()?.next_timeout_ms()
    }

    /// One bounded turn; callbacks run inside. True: more is ready, call again before waiting.
    /// [`Error::ShuttingDown`] and [`Error::SupervisorGone`]: all is told, drop the loop. [`Error::Panic`]: a bug of
    /// ours has ended the role; drop the loop and make a new one. [`Error::Reentrant`]: in a callback.
    pub fn step(&mut self) -> Result<bool> {
        result(|| {
            let mut role = self.role.take().ok_or(Error::Role)?;
            let more = role.step();
            self.role = Some(role);
            more
        })
    }
}
