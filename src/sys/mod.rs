//! System calls: the only place that makes them. One file per family, each a thin safe wrapper.
//!
//! Invariants:
//! - Nothing here blocks except [`poll::Poll::wait`]. Every descriptor is made CLOEXEC and
//!   NONBLOCK in the call that creates it, so a concurrent `fork` + `exec` of the host leaks none.
//! - EINTR is retried inside, except in `Poll::wait`, where a signal is a reason to look around.
//! - Calls go through libc's functions, not raw system calls, so that what a host preloads
//!   (kernel-bypass TCP, fault injection, sanitizers) sees them.
//! - No wrapper can raise SIGPIPE.
//!
//! Callers: `shm`, `roles`, `runtime`. Descriptor numbers travel as [`RawFd`], because a slot holds
//! the number and not the owner; a stale number is an error from the kernel, never undefined
//! behaviour.

// Reason: every system call is a foreign function. Each use states the fact that makes it sound.
#![allow(unsafe_code)]

pub mod clock;
pub mod errno;
pub mod event;
pub mod fdpass;
pub mod map;
pub mod poll;
pub mod process;
pub mod sock;
mod sockaddr;

#[cfg(test)]
mod tests;

pub use errno::{Errno, Result};
pub use std::os::fd::RawFd;

/// An owned descriptor, closed on drop.
#[derive(Debug, PartialEq, Eq)]
pub struct Fd(RawFd);

impl Fd {
    /// Takes over `raw`. The caller must own it: what is closed twice may by then be a descriptor
    /// of the host. A negative number is an empty owner.
    pub fn from_raw(raw: RawFd) -> Fd {
        Fd(raw)
    }

    pub fn as_raw(&self) -> RawFd {
        self.0
    }

    /// The same at this number, where that is free; else it stays what it is. The kernel's poll knows a
    /// registration by descriptor and number both, so only that one can change what another process has
    /// registered (epoll_ctl(2), Q&A 6).
    #[cfg_attr(crash_points, track_caller)]
    pub fn moved_to(self, number: RawFd) -> Fd {
        if number == self.0 {
            return self;
        }
        // SAFETY: no pointers. The lowest free number from this one on: if that is another, it is closed.
        let moved = retry(|| unsafe { libc::fcntl(self.0, libc::F_DUPFD_CLOEXEC, number) });
        match moved.map(Fd) {
            Ok(moved) if moved.0 == number => moved,
            _ => self,
        }
    }

    /// Gives up ownership; [`close`] ends it later.
    pub fn into_raw(self) -> RawFd {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// Closes a descriptor that the caller owns and that no [`Fd`] holds. Remove it from every epoll
/// first: while another process has a duplicate, closing does not end the registration.
#[cfg_attr(crash_points, track_caller)]
pub fn close(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: no memory is involved; the caller owns the number. EINTR is not retried: Linux
        // has freed the number by then, and a second close could hit somebody else's descriptor.
        unsafe { libc::close(fd) };
        #[cfg(crash_points)]
        crate::sync::crash::passed();
    }
}

/// Runs a call that reports failure as -1 and errno, again while a signal interrupts it.
#[cfg_attr(crash_points, track_caller)]
fn retry<T>(mut call: impl FnMut() -> T) -> Result<T>
where
    T: Copy + PartialOrd + From<i8>,
{
    loop {
        let result = call();
        #[cfg(crash_points)]
        crate::sync::crash::passed();
        if result >= T::from(0) {
            return Ok(result);
        }
        let errno = Errno::last();
        if errno != Errno::EINTR {
            return Err(errno);
        }
    }
}
