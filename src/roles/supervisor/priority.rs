//! The supervisor's share of the CPU decides how soon everybody's data is handed off.

use std::cell::Cell;
use std::sync::Arc;

use super::{LOG_WARNING, Supervisor};
use crate::sys::{Errno, process};

/// What the thread was given, and what it had before.
#[derive(Clone, Copy, Default)]
struct Given {
    /// By which supervisors: a forked child's thread is another one, and a thread may drive those of several
    /// instances.
    pid: u32,
    instance: usize,
    nice: Option<i32>,
    rt: Option<u32>,
    plain_nice: Option<i32>,
}

thread_local! {
    /// Not the supervisor's: the thread keeps it from one that a bug ended to its successor.
    static GIVEN: Cell<Given> = Cell::default();
}

impl Supervisor {
    /// Gives the calling thread, which is the supervisor's, what the settings say. What is refused is no
    /// reason not to go on.
    pub fn follow_priority(&mut self) {
        let (nice, rt) = (self.live.supervisor_nice, self.live.supervisor_rt_priority);
        let (pid, instance) = (self.place.pid, Arc::as_ptr(&self.context).addr());
        let mut given = GIVEN.get();
        if (given.pid, given.instance) != (pid, instance) {
            if nice.is_none() && rt.is_none() {
                return; // what another instance gave stays
            }
            given = Given {
                pid,
                instance,
                ..Given::default()
            };
        }
        if nice != given.nice {
            let plain = *given.plain_nice.get_or_insert_with(process::nice);
            let set = process::set_nice(nice.unwrap_or(plain));
            self.warn("supervisor_nice", set);
        }
        if rt != given.rt {
            let set = process::set_rt_priority(rt.unwrap_or(0) as i32);
            self.warn("supervisor_rt_priority", set);
        }
        GIVEN.set(Given { nice, rt, ..given });
    }

    fn warn(&self, what: &str, set: Result<(), Errno>) {
        if let Err(errno) = set {
            let text = format!("{what} not set: {}; running on without it", errno.text());
            self.log(LOG_WARNING, 0, 0, &text);
        }
    }
}
