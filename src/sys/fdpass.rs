//! Passing descriptors between processes: SCM_RIGHTS over AF_UNIX socket pairs made before fork.
//! Record boundaries are kept, so one message is one hand-off.
//!
//! A channel's capacity is no promise of ours: `Full` is an answer the caller lives with.

use super::{Errno, Fd, RawFd, Result, retry};
use core::mem::size_of;
use core::ptr;

pub const MAX_PAYLOAD_BYTES: usize = 64;
pub const MAX_FDS: usize = 4;

/// Room for the header and `MAX_FDS` descriptors.
const CONTROL_BYTES: usize =
    // SAFETY: pure arithmetic.
    unsafe { libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as libc::c_uint) } as usize;

/// Control data is read as `cmsghdr`, so the buffer has its alignment.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; CONTROL_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    Sent,
    /// The channel, the kernel's memory or the user's limit of descriptors in flight is exhausted:
    /// later it may go.
    Full,
    /// The other end is closed.
    Gone,
    Failed(Errno),
}

#[derive(Debug)]
pub struct Received {
    pub len: usize,
    pub fds: [Option<Fd>; MAX_FDS],
    /// Descriptors were lost on the way: this process is out of them, or the sender passed more.
    pub truncated: bool,
}

#[derive(Debug)]
pub enum Receive {
    Got(Received),
    Empty,
    /// The other end is closed and everything is read.
    Closed,
    Failed(Errno),
}

/// Two connected ends, for a process each, or for many that write to one.
pub fn channel() -> Result<(Fd, Fd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` takes the two descriptors.
    retry(|| unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    let [a, b] = ends;
    Ok((Fd::from_raw(a), Fd::from_raw(b)))
}

/// Sends one message of 1 to 64 bytes with up to 4 descriptors; all or nothing. The receiver gets
/// duplicates, the caller keeps its own. EINVAL for other sizes: an empty message would look like
/// the end of the channel.
#[cfg_attr(crash_points, track_caller)]
pub fn pass(fd: RawFd, payload: &[u8], fds: &[RawFd]) -> Passed {
    if payload.is_empty() || payload.len() > MAX_PAYLOAD_BYTES || fds.len() > MAX_FDS {
        return Passed::Failed(Errno::EINVAL);
    }
    let mut part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    let mut message = message(&mut part);
    if !fds.is_empty() {
        let fds_bytes = size_of_val(fds) as libc::c_uint;
        message.msg_control = (&raw mut control).cast();
        // SAFETY: `control` is aligned for cmsghdr and has room for MAX_FDS descriptors, checked
        // above; so the first header exists and its data holds `fds`.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(fds_bytes) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(fds_bytes) as _;
            let data = libc::CMSG_DATA(header).cast();
            ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), data, size_of_val(fds));
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `message` describes `payload` and `control`, which live over the call; the kernel
    // only reads them.
    match retry(|| unsafe { libc::sendmsg(fd, &raw const message, flags) }) {
        Ok(_) => Passed::Sent,
        Err(Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => Passed::Full,
        Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Passed::Gone,
        Err(errno) => Passed::Failed(errno),
    }
}

/// Takes one message. Every descriptor that arrives is owned by the result or closed. A message
/// longer than `buf` is EMSGSIZE and lost.
#[cfg_attr(crash_points, track_caller)]
pub fn receive(fd: RawFd, buf: &mut [u8]) -> Receive {
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    let mut message = message(&mut part);
    message.msg_control = (&raw mut control).cast();
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let result = retry(|| {
        message.msg_controllen = CONTROL_BYTES as _;
        // SAFETY: `message` describes `buf` and `control`, both writable over the call.
        unsafe { libc::recvmsg(fd, &raw mut message, flags) }
    });
    match result {
        Ok(got) => {
            // Before any other decision, so that what arrived is owned.
            let (fds, surplus) = take_fds(&message);
            if message.msg_flags & libc::MSG_TRUNC != 0 {
                return Receive::Failed(Errno::EMSGSIZE);
            }
            if got == 0 {
                return Receive::Closed;
            }
            Receive::Got(Received {
                len: got.unsigned_abs(),
                fds,
                truncated: surplus || message.msg_flags & libc::MSG_CTRUNC != 0,
            })
        }
        Err(Errno::EAGAIN) => Receive::Empty,
        // The other end closed with messages of ours unread.
        Err(Errno::ECONNRESET | Errno::ENOTCONN) => Receive::Closed,
        Err(errno) => Receive::Failed(errno),
    }
}

/// Owns what the kernel put into the control data; true when some had no place and were closed.
fn take_fds(message: &libc::msghdr) -> ([Option<Fd>; MAX_FDS], bool) {
    let mut fds = [const { None }; MAX_FDS];
    let mut places = fds.iter_mut();
    let mut surplus = false;
    // SAFETY: the kernel filled the control data of `message` with well-formed headers and set its
    // length; the macros stay within it. Descriptors are read unaligned and are new in this
    // process, so nobody else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes =
                    ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..bytes / size_of::<RawFd>() {
                    let owned = Fd::from_raw(data.add(i).read_unaligned());
                    match places.next() {
                        Some(place) => *place = Some(owned),
                        None => surplus = true,
                    }
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    (fds, surplus)
}

fn message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr: no address, no parts, no control data.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}
