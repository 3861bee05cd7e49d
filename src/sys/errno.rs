//! Error numbers of the kernel, as values. Taken right after the failing call, so that closing a
//! descriptor on the way out cannot overwrite them.

use core::fmt;

/// An error number. 0 means none, as SO_ERROR reports it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

pub type Result<T> = core::result::Result<T, Errno>;

/// Constants, names and texts from one list: `strerror` is not safe between threads and follows
/// the host's locale, which has no place in a log that people search.
macro_rules! errnos {
    ($($name:ident $text:literal,)*) => {
        impl Errno {
            $(pub const $name: Errno = Errno(libc::$name);)*

            /// The symbolic name; None for a number that is not in the list.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(libc::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// One line for people.
            pub const fn text(self) -> &'static str {
                match self.0 {
                    0 => "no error",
                    $(libc::$name => $text,)*
                    _ => "unknown error",
                }
            }
        }
    };
}

errnos! {
    EPERM "operation not permitted",
    ENOENT "no such entry",
    ESRCH "no such process",
    EINTR "interrupted by a signal",
    EIO "input/output error",
    EBADF "bad file descriptor",
    ECHILD "no child process",
    EAGAIN "would block",
    ENOMEM "out of memory",
    EACCES "permission denied",
    EFAULT "bad address",
    EBUSY "busy",
    EEXIST "already exists",
    ENODEV "no such device",
    EINVAL "invalid argument",
    ENFILE "too many open files in the system",
    EMFILE "too many open files in this process",
    EFBIG "larger than this process may make a file",
    ENOSPC "no space left",
    EPIPE "broken pipe",
    ENOSYS "not implemented by this kernel",
    EPROTO "protocol error",
    EOVERFLOW "value too large",
    ENOTSOCK "not a socket",
    EMSGSIZE "message too long",
    ENOPROTOOPT "protocol option not available",
    EPROTONOSUPPORT "protocol not supported",
    EOPNOTSUPP "operation not supported",
    EAFNOSUPPORT "address family not supported",
    EADDRINUSE "address already in use",
    EADDRNOTAVAIL "address not available",
    ENETDOWN "network is down",
    ENETUNREACH "network is unreachable",
    ECONNABORTED "connection aborted",
    ECONNRESET "connection reset by peer",
    ENOBUFS "no buffer space",
    EISCONN "already connected",
    ENOTCONN "not connected",
    ESHUTDOWN "shut down",
    ETOOMANYREFS "too many descriptors in flight",
    ETIMEDOUT "timed out",
    ECONNREFUSED "connection refused",
    EHOSTDOWN "host is down",
    EHOSTUNREACH "no route to host",
    EALREADY "already in progress",
    EINPROGRESS "in progress",
    ENONET "machine is not on the network",
}

impl Errno {
    /// The number the last failed call of this thread left.
    pub fn last() -> Errno {
        Errno(super::process::errno_get())
    }

    pub fn is_again(self) -> bool {
        // EWOULDBLOCK is the same number on Linux.
        self == Errno::EAGAIN
    }

    /// No more descriptors or kernel memory: trying again at once cannot help.
    pub fn is_fd_limit(self) -> bool {
        matches!(
            self,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM
        )
    }

    /// From an error of the standard library or mio. Those that carry no number become EIO.
    pub(super) fn from_io(error: &std::io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::EIO, Errno)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.text()),
            None if self.0 == 0 => f.write_str(self.text()),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}
