//! Readiness. mio keeps the poll and the tokens; the flags are set by epoll_ctl on its descriptor,
//! because mio is edge-triggered only: the supervisor needs one-shot (an edge would wake it for
//! every message a worker reads on a duplicate), workers and listeners need level.
//!
//! An epoll is made in the process that uses it, after fork: a child's remove on an inherited one
//! removes the parent's registration. Remove a descriptor before it is closed: while another
//! process holds a duplicate, events would go on and nothing could end them.

use super::{Errno, RawFd, Result, retry};
use core::ptr;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What one wait brings at most; the kernel keeps the rest and rotates.
pub const EVENTS_PER_WAIT: usize = 1024;

// A token carries slot and generation; mio stores it in a usize.
const _: () = assert!(usize::BITS == 64, "tokens need 64 bits");

/// What to wait for. `read` also asks for the peer's FIN and for urgent data, because a short read
/// means "empty" only when neither was seen. Level-triggered unless `one_shot`.
///
/// One-shot with neither read nor write is disarmed. The kernel then still reports a hang-up or an
/// error, once; after an event has been delivered it reports nothing at all until `modify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
    /// The peer's FIN, without `read`: it comes as `read_closed` of an event that is nothing else.
    pub end: bool,
    pub one_shot: bool,
}

impl Interest {
    fn flags(self) -> u32 {
        let mut flags = 0;
        if self.read {
            flags |= libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI;
        }
        if self.write {
            flags |= libc::EPOLLOUT;
        }
        if self.end {
            flags |= libc::EPOLLRDHUP;
        }
        if self.one_shot {
            flags |= libc::EPOLLONESHOT;
        }
        flags as u32
    }
}

/// One descriptor's readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub token: u64,
    /// Data, end of data, or urgent data.
    pub readable: bool,
    pub writable: bool,
    /// The peer sent FIN or the connection is gone: a read reaches the end.
    pub read_closed: bool,
    /// Both directions are closed, or SO_ERROR is set.
    pub hangup_or_error: bool,
    pub priority: bool,
}

#[derive(Debug)]
pub struct Poll {
    poll: mio::Poll,
    events: mio::Events,
}

impl Poll {
    pub fn new() -> Result<Poll> {
        Ok(Poll {
            poll: mio::Poll::new().map_err(|e| Errno::from_io(&e))?,
            events: mio::Events::with_capacity(EVENTS_PER_WAIT),
        })
    }

    /// Readable when an event waits: a host may put it into its own poll.
    pub fn fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    #[cfg_attr(crash_points, track_caller)]
    pub fn add(&self, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
        control(self.fd(), libc::EPOLL_CTL_ADD, fd, token, interest.flags())
    }

    /// An eventfd that is never read: each notification is reported, once.
    #[cfg_attr(crash_points, track_caller)]
    pub fn add_wake(&self, fd: RawFd, token: u64) -> Result<()> {
        let flags = (libc::EPOLLIN | libc::EPOLLET) as u32;
        control(self.fd(), libc::EPOLL_CTL_ADD, fd, token, flags)
    }

    /// Reports what comes to the descriptor, once each time: for whoever leaves it there, whom the others
    /// would wake without end.
    #[cfg_attr(crash_points, track_caller)]
    pub fn add_edge(&self, fd: RawFd, token: u64) -> Result<()> {
        let flags = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        control(self.fd(), libc::EPOLL_CTL_ADD, fd, token, flags)
    }

    /// Also arms a one-shot registration again; readiness that is already there is reported.
    #[cfg_attr(crash_points, track_caller)]
    pub fn modify(&self, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
        control(self.fd(), libc::EPOLL_CTL_MOD, fd, token, interest.flags())
    }

    /// Events of this descriptor that the last wait fetched are still in `events`.
    #[cfg_attr(crash_points, track_caller)]
    pub fn remove(&self, fd: RawFd) -> Result<()> {
        delete(self.fd(), fd)
    }

    /// Waits for events; None waits without end, 0 only looks. The only call of this floor that
    /// sleeps. A signal ends it with no events.
    pub fn wait(&mut self, timeout_ms: Option<u64>) -> Result<()> {
        // mio hands the milliseconds to epoll_wait as an int; clamp here rather than wrap there.
        let timeout =
            timeout_ms.map(|ms| Duration::from_millis(ms.min(i32::MAX.unsigned_abs().into())));
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => Ok(()),
            Err(error) => {
                // A caller that goes on must not see the events of an earlier wait again.
                self.events.clear();
                match Errno::from_io(&error) {
                    Errno::EINTR => Ok(()),
                    errno => Err(errno),
                }
            }
        }
    }

    pub fn events(&self) -> impl Iterator<Item = Ready> + '_ {
        self.events.iter().map(|event| Ready {
            token: event.token().0 as u64,
            readable: event.is_readable(),
            writable: event.is_writable(),
            // mio: HUP, or IN with RDHUP. TCP never sets RDHUP without IN; but who asks for RDHUP alone
            // (`end`) is told of nothing else, and that nothing is what mio shows.
            read_closed: event.is_read_closed()
                || !(event.is_readable() || event.is_writable() || event.is_error()),
            // mio has no question for HUP alone, but each HUP is a write_closed, and all else that
            // is one has ERR.
            hangup_or_error: event.is_error() || event.is_write_closed(),
            priority: event.is_priority(),
        })
    }
}

/// `Poll::modify`, of another loop in the same process. Err: it is not registered there (any more).
#[cfg_attr(crash_points, track_caller)]
pub fn epoll_modify(epoll_fd: RawFd, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
    control(epoll_fd, libc::EPOLL_CTL_MOD, fd, token, interest.flags())
}

/// Removes from another loop's epoll in the same process. A number that is not registered there
/// is no error: whoever was first has done it.
#[cfg_attr(crash_points, track_caller)]
pub fn epoll_remove(epoll_fd: RawFd, fd: RawFd) {
    let _ = delete(epoll_fd, fd);
}

#[cfg_attr(crash_points, track_caller)]
fn control(epoll: RawFd, operation: libc::c_int, fd: RawFd, token: u64, flags: u32) -> Result<()> {
    let mut event = libc::epoll_event {
        events: flags,
        u64: token,
    };
    // SAFETY: `event` is valid over the call; the kernel copies it.
    retry(|| unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(drop)
}

#[cfg_attr(crash_points, track_caller)]
fn delete(epoll: RawFd, fd: RawFd) -> Result<()> {
    // SAFETY: DEL takes no event.
    retry(|| unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, ptr::null_mut()) }).map(drop)
}
