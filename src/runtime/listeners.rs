//! Listeners of a running instance: asked for here, by any process; opened and closed by the supervisor.

use super::instance::{Failure, Instance};
use crate::pure::addr::{Addr, parse_listen};
use crate::pure::error::{Error, Result};
use crate::roles::context::cannot_listen;
use crate::sync::{Ordering, Word};
use crate::sys::{Errno, process};
use crate::table::listeners::{self, Record, State};

impl Instance {
    fn listeners(&self) -> &[Record] {
        self.context.segment.listeners()
    }

    pub fn listener(&self, number: usize) -> Result<&Record> {
        let record = self.listeners().get(number).ok_or(Error::Argument)?;
        match record.state() {
            State::Free | State::Asking(_) => Err(Error::Argument),
            _ => Ok(record),
        }
    }

    /// Where it is bound, or is to be.
    pub fn listener_addr(&self, number: usize) -> Result<Addr> {
        let record = self.listener(number)?;
        let bound = record.bound();
        Ok(if bound.is_none() {
            record.wanted()
        } else {
            bound
        })
    }

    /// All numbers that were ever given out are below it.
    pub fn listener_count(&self) -> usize {
        let used = |record: &Record| record.state() != State::Free;
        self.listeners().iter().rposition(used).map_or(0, |n| n + 1)
    }

    /// Asks for one more; its number.
    pub fn add_listener(&self, text: &str) -> core::result::Result<usize, Failure> {
        let addr = parse_listen(text).map_err(|line| Failure::new(Error::Setting, line))?;
        if self.takes_nothing_new() {
            let line = cannot_listen(&format!("tcp:{addr}"), Errno::ESHUTDOWN);
            return Err(Failure::new(Error::ShuttingDown, line));
        }
        if self.listens_on(&addr) && !self.context.settings.reuse_port {
            let line =
                format!("cannot listen on tcp:{addr}: it is a listener of this instance already");
            return Err(Failure::new(Error::Listen, line));
        }
        let lives = |pid: u32| process::process_alive(pid as i32);
        let added = listeners::add(self.listeners(), &addr, process::pid() as u32, lives);
        let number = added.ok_or_else(|| {
            let line = format!("cannot listen on tcp:{addr}: too many listeners; remove one first");
            Failure::new(Error::NoMemory, line)
        })?;
        self.tell_supervisor();
        Ok(number)
    }

    pub fn remove_listener(&self, number: usize) -> Result<()> {
        if !listeners::remove(self.listener(number)?) {
            return Err(Error::Argument);
        }
        self.tell_supervisor();
        Ok(())
    }

    fn tell_supervisor(&self) {
        let asked = &self.context.segment.header().listeners_asked;
        asked.fetch_add(1, Ordering::SeqCst);
        self.context.wake_supervisor();
    }

    fn takes_nothing_new(&self) -> bool {
        self.is_stopping() || self.context.segment.header().drain_ms.load_sync() != 0
    }

    fn listens_on(&self, addr: &Addr) -> bool {
        let has = |record: &Record| record.state() == State::Open && record.bound() == *addr;
        self.listeners().iter().any(has)
    }
}

/// One line about a listener that is in this state, for people; "" for one that is open.
pub fn line(record: &Record, state: State) -> String {
    let wanted = record.wanted();
    match state {
        State::Failed(errno) => cannot_listen(&format!("tcp:{wanted}"), Errno(errno)),
        State::Wanted => format!("tcp:{wanted} waits for the supervisor to open it"),
        State::Unwanted => format!(
            "tcp:{} waits for the supervisor to close it",
            record.bound()
        ),
        State::Closed => format!("tcp:{} is closed", record.bound()),
        _ => String::new(),
    }
}
