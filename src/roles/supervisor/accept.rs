//! Accepting: in bounded batches, pausing when fds run out.

use super::table::Opening;
use super::{LEVEL_READ, LOG_WARNING, Supervisor};
use crate::pure::access::Refused;
use crate::pure::addr::Addr;
use crate::pure::proxy::Pair;
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::sys::Fd;
use crate::sys::poll::Interest;
use crate::sys::sock::{self, Accepted};

/// Connections accepted from one listener before others have their turn.
const BATCH: usize = 64;
/// With no fd left, accepting is tried again after this time (or when a connection ends).
const PAUSE_MS: u64 = 250;
const SILENT: Interest = Interest {
    read: false,
    write: false,
    end: false,
    one_shot: true,
};

/// Who has come to a listener. Its socket options are the listener's.
pub(super) struct Arrival {
    pub fd: Fd,
    pub listener: usize,
    /// The addresses of the socket itself.
    pub wire: Pair,
}

impl Supervisor {
    pub(super) fn accept(&mut self, listener: usize) {
        let socket = self.sockets.get(listener).and_then(Option::as_ref);
        let Some(fd) = socket.map(|socket| socket.raw) else {
            return;
        };
        if !self.listening || self.accept_resume_ms.is_some() {
            return;
        }
        for _ in 0..BATCH {
            match sock::accept(fd) {
                Accepted::Conn(fd, remote) => {
                    self.accepts_again();
                    let local = sock::local_addr(fd.as_raw()).unwrap_or_else(|_| Addr::none());
                    let arrival = Arrival {
                        fd,
                        listener,
                        wire: Pair {
                            source: remote,
                            destination: local,
                        },
                    };
                    if self.has_room(&remote) {
                        self.greet(arrival);
                    }
                }
                Accepted::Empty => {
                    self.accepts_again();
                    return;
                }
                Accepted::Retry => {}
                // Whoever only waits holds up nobody: its descriptor is the next one's.
                Accepted::FdLimit(_) if self.dismiss_oldest() => {}
                Accepted::FdLimit(errno) => {
                    self.pause_accept(errno.0);
                    return;
                }
                Accepted::Failed(errno) => {
                    if let Some(suppressed) = self.accept_log.allow(self.now_ms) {
                        self.log(
                            LOG_WARNING,
                            0,
                            suppressed,
                            &format!("accept failed: {errno}"),
                        );
                    }
                    return;
                }
            }
        }
    }

    /// There is room for one more client from there; else that is counted. Accepted and closed at once: the
    /// client learns now, not at its timeout.
    fn has_room(&mut self, remote: &Addr) -> bool {
        // A guest that goes makes room only where there is a slot.
        let room = !self.free.is_empty()
            && (self.free.len() > self.guests.count() || self.dismiss_oldest());
        if !room {
            self.note_refused(remote, Refused::MaxConnections);
        }
        room
    }

    /// A connection of a client that is known: by its PROXY header (`pair`, whose `header` bytes were taken from
    /// the stream), or by the socket's addresses.
    pub(super) fn arrived(&mut self, arrival: Arrival, pair: Option<Pair>, header: usize) {
        let client = pair.unwrap_or(arrival.wire);
        let remote = &client.source;
        // A dial may have taken the last place.
        if self.free.is_empty() {
            self.note_refused(remote, Refused::MaxConnections);
            return;
        }
        if self.admitted(remote).is_err() {
            return;
        }
        let opening = Opening {
            fd: arrival.fd,
            remote,
            local: &client.destination,
            wire: pair.map(|_| arrival.wire),
            listener: Some(arrival.listener),
            connecting: false,
            lane: 0,
        };
        let Some(index) = self.open_slot(opening) else {
            return;
        };
        self.count(Counter::Accepted, 1);
        let context = self.context.clone();
        let Some(slot) = context.segment.slot(index) else {
            return;
        };
        if header > 0 {
            // Nobody reads it yet.
            slot.input.bytes_in.set(header as u64);
            self.count(Counter::BytesIn, header as u64);
        }
        if context.wants.open {
            self.lend_or_wait(index, slot, false);
        }
    }

    /// No fd: the listeners are not looked at for a while. A level-triggered poll would report them
    /// again and again, and take a whole CPU for nothing.
    fn pause_accept(&mut self, errno: i32) {
        let paused = &self.context.segment.header().gauges.accept_paused;
        if paused.get() == 0 {
            paused.set(1);
            self.count(Counter::AcceptPauses, 1);
        }
        self.accept_resume_ms = Some(self.now_ms + PAUSE_MS);
        self.watch_listeners(SILENT);
        if let Some(suppressed) = self.accept_log.allow(self.now_ms) {
            let errno = crate::sys::Errno(errno);
            self.log(
                LOG_WARNING,
                0,
                suppressed,
                &format!("accept paused: {errno}"),
            );
        }
    }

    /// The kernel had an fd for one more: only now is the pause over for whoever reads the statistics.
    pub(super) fn accepts_again(&self) {
        let paused = &self.context.segment.header().gauges.accept_paused;
        if paused.get() != 0 {
            paused.set(0);
        }
    }

    /// It is time to look whether there is an fd.
    pub(super) fn resume_accept(&mut self) {
        if self.accept_resume_ms.take().is_some() && self.listening {
            self.watch_listeners(LEVEL_READ);
            // Perhaps nobody waits any more, and no event would say that the pause is over.
            for i in 0..self.sockets.len() {
                self.accept(i);
            }
        }
    }

    /// A connection has ended: the timers of this turn try again.
    pub(super) fn an_fd_is_free(&mut self) {
        if self.accept_resume_ms.is_some() {
            self.accept_resume_ms = Some(self.now_ms);
        }
    }
}
