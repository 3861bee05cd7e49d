//! The supervisor's share of the CPU decides how soon everybody's data is handed off.

use super::{LOG_WARNING, Supervisor};
use crate::sys::{Errno, process};

/// What the supervisor's thread was given, and what it had before.
#[derive(Default)]
pub(super) struct Priority {
    nice: Option<i32>,
    rt: Option<u32>,
    plain_nice: Option<i32>,
}

impl Supervisor {
    /// Gives the calling thread, which is the supervisor's, what the settings say. What is refused is no
    /// reason not to go on.
    pub fn follow_priority(&mut self) {
        let (nice, rt) = (self.live.supervisor_nice, self.live.supervisor_rt_priority);
        if nice != self.priority.nice {
            let plain = *self.priority.plain_nice.get_or_insert_with(process::nice);
            let set = process::set_nice(nice.unwrap_or(plain));
            self.warn("supervisor_nice", set);
        }
        if rt != self.priority.rt {
            let set = process::set_rt_priority(rt.unwrap_or(0) as i32);
            self.warn("supervisor_rt_priority", set);
        }
        (self.priority.nice, self.priority.rt) = (nice, rt);
    }

    fn warn(&self, what: &str, set: Result<(), Errno>) {
        if let Err(errno) = set {
            let text = format!("{what} not set: {}; running on without it", errno.text());
            self.log(LOG_WARNING, 0, 0, &text);
        }
    }
}
