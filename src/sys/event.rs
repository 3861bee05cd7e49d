//! Wake-ups: an eventfd that any thread, process or signal handler may notify.

use super::{Errno, Fd, RawFd, Result, process, retry};

/// A counter that is readable while it is not 0. Many notifications before a drain are one.
#[derive(Debug)]
pub struct EventFd(Fd);

impl EventFd {
    pub fn new() -> Result<EventFd> {
        // SAFETY: no pointers.
        let raw = retry(|| unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(EventFd(Fd::from_raw(raw)))
    }

    pub fn as_raw(&self) -> RawFd {
        self.0.as_raw()
    }

    pub fn into_fd(self) -> Fd {
        self.0
    }

    /// See [`notify_raw`].
    #[cfg_attr(crash_points, track_caller)]
    pub fn notify(&self) {
        notify_raw(self.0.as_raw());
    }

    /// Makes it unreadable again. Drain first, then look for work: the other order loses what is
    /// posted between the two.
    #[cfg_attr(crash_points, track_caller)]
    pub fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: eventfd reads exactly the 8 bytes that `count` offers. EAGAIN (nothing there) is
        // as good as success.
        let _ = retry(|| unsafe { libc::read(self.0.as_raw(), (&raw mut count).cast(), 8) });
    }
}

/// Notifies an eventfd by number. Never blocks; safe in a signal handler, so errno is put back: the
/// interrupted code may be about to read its own.
#[cfg_attr(crash_points, track_caller)]
pub fn notify_raw(fd: RawFd) {
    let before = process::errno_get();
    let one = 1u64;
    // SAFETY: `one` offers the 8 bytes that an eventfd takes. EAGAIN means that the counter is
    // full: the reader is notified already.
    let written = retry(|| unsafe { libc::write(fd, (&raw const one).cast(), 8) });
    debug_assert!(
        !matches!(written, Err(Errno::EINVAL)),
        "not an eventfd: {fd}"
    );
    process::errno_set(before);
}
