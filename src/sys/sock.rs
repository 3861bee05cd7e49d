//! TCP sockets: listen, accept, dial, send, receive, end.
//!
//! Invariants: no call blocks, no send or receive whatever the flags of the descriptor are, and no
//! send raises SIGPIPE. `accept` has no flag for one call: a listener that a host shares with us
//! has to stay non-blocking, as [`take_over`] makes it.

use super::sockaddr::{SockAddr, ask, domain};
use super::{Errno, Fd, RawFd, Result, retry};
use crate::pure::addr::Addr;
use core::mem::size_of;
use std::io::IoSlice;

/// Options of a listener and of the connections accepted from it, or of a dialled connection.
/// None leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    pub nodelay: bool,
    pub keepalive: bool,
    pub keepidle_s: Option<u32>,
    pub keepintvl_s: Option<u32>,
    pub keepcnt: Option<u32>,
    pub user_timeout_ms: Option<u32>,
    pub tos: Option<u8>,
    pub reuse_port: bool,
    /// Listeners only: wake when data is there, or after about this long; 0 is off.
    pub defer_accept_s: u32,
}

#[derive(Debug)]
pub enum Accepted {
    Conn(Fd, Addr),
    /// Nothing waits.
    Empty,
    /// Out of descriptors or memory; the connection still waits, so a level-triggered listener
    /// would fire without end: pause it.
    FdLimit(Errno),
    /// This connection died before we took it: try the next.
    Retry,
    /// The listener itself is broken.
    Failed(Errno),
}

#[derive(Debug)]
pub enum Dial {
    Connected(Fd),
    /// Writable when decided; [`socket_error`] then tells how.
    InProgress(Fd),
    /// The way there does not work, or nobody listens.
    Refused(Errno),
    /// On our own side: no descriptor, no port, an address that is not ours ... Says nothing about
    /// the destination.
    Failed(Errno),
}

/// A listening socket with the options set, and what they were before.
pub fn listen(addr: &Addr, backlog: i32, opts: &SocketOptions) -> Result<(Fd, SocketOptions)> {
    let fd = stream(addr)?;
    let raw = fd.as_raw();
    let plain = plain_options(raw);
    // Without it a restart fails while connections of the last run are in TIME_WAIT.
    set(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if opts.reuse_port {
        set(raw, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if addr.family == 6 {
        // Each family has its own listener. Dual-stack would take the IPv4 port as well and show
        // IPv4 peers as mapped addresses.
        set(raw, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    // Linux copies most options to accepted sockets, and TOS must be there for the SYN-ACK. A
    // refused one is no reason not to listen; `apply` on a connection reports it again.
    let _ = apply(raw, opts);
    if opts.defer_accept_s > 0 {
        let seconds = int(opts.defer_accept_s);
        set(raw, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)?;
    }
    bind(raw, addr)?;
    // SAFETY: no pointers.
    retry(|| unsafe { libc::listen(raw, backlog) })?;
    Ok((fd, plain))
}

/// Of a socket that listens, and that nobody ends meanwhile: it would listen again.
pub fn set_backlog(listener: RawFd, backlog: i32) {
    // SAFETY: no pointers.
    let _ = retry(|| unsafe { libc::listen(listener, backlog) });
}

/// Whether it is a listening TCP socket of IPv4 or IPv6. EBADF, ENOTSOCK: no socket at all.
pub fn is_listener(fd: RawFd) -> Result<bool> {
    let ask = |name| get(fd, libc::SOL_SOCKET, name);
    Ok(ask(libc::SO_ACCEPTCONN)? != 0
        && ask(libc::SO_PROTOCOL)? == libc::IPPROTO_TCP
        && matches!(ask(libc::SO_DOMAIN)?, libc::AF_INET | libc::AF_INET6))
}

/// A duplicate of a listening socket that the host has made, as [`listen`] would have made it: what can
/// only be asked for before bind and listen stays the host's choice.
pub fn take_over(listener: RawFd, opts: &SocketOptions) -> Result<(Fd, SocketOptions)> {
    // SAFETY: no pointers.
    let raw = retry(|| unsafe { libc::fcntl(listener, libc::F_DUPFD_CLOEXEC, 0) })?;
    let fd = Fd::from_raw(raw);
    // The number may have become another socket's since the host named it.
    if !is_listener(raw)? {
        return Err(Errno(libc::EINVAL));
    }
    let plain = plain_options(raw);
    // The description is shared: the host's descriptor no longer blocks either. `accept` must not.
    // SAFETY: no pointers.
    let flags = retry(|| unsafe { libc::fcntl(raw, libc::F_GETFL) })?;
    // SAFETY: no pointers.
    retry(|| unsafe { libc::fcntl(raw, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    let _ = apply(raw, opts);
    if opts.defer_accept_s > 0 {
        let seconds = int(opts.defer_accept_s);
        set(raw, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)?;
    }
    Ok((fd, plain))
}

pub fn local_addr(fd: RawFd) -> Result<Addr> {
    // SAFETY: `ask` gives a buffer and its length.
    ask(|addr, len| unsafe { libc::getsockname(fd, addr, len) }).map(|(_, addr)| addr)
}

pub fn peer_addr(fd: RawFd) -> Result<Addr> {
    // SAFETY: `ask` gives a buffer and its length.
    ask(|addr, len| unsafe { libc::getpeername(fd, addr, len) }).map(|(_, addr)| addr)
}

/// Takes one waiting connection.
#[cfg_attr(crash_points, track_caller)]
pub fn accept(listener: RawFd) -> Accepted {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `ask` gives a buffer and its length.
    match ask(|addr, len| unsafe { libc::accept4(listener, addr, len, flags) }) {
        Ok((raw, peer)) => Accepted::Conn(Fd::from_raw(raw), peer),
        Err(errno) if errno.is_again() => Accepted::Empty,
        Err(errno) if errno.is_fd_limit() => Accepted::FdLimit(errno),
        // accept(2): Linux passes pending network errors of the new socket on to accept, to be
        // treated like EAGAIN; EPERM is a firewall. EOPNOTSUPP is not among them here, because it
        // is also what a socket that cannot listen answers, for ever.
        Err(
            Errno::ECONNABORTED
            | Errno::ECONNRESET
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::ETIMEDOUT
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET,
        ) => Accepted::Retry,
        Err(errno) => Accepted::Failed(errno),
    }
}

/// Sets the options of an accepted or dialled connection: all it can, and reports the first that
/// was refused.
pub fn apply(fd: RawFd, opts: &SocketOptions) -> Result<()> {
    let mut first = Ok(());
    let mut put = |level, name, value| first = first.and(set(fd, level, name, value));
    // Urgent data stays in the stream (RFC 6093 section 6). Out of line, the byte would vanish from
    // the message, and as the last byte of the stream it would keep EPOLLPRI set while there is
    // nothing to read: one byte from a peer, one CPU at 100 %.
    put(libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
    if opts.nodelay {
        put(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    }
    if opts.keepalive {
        put(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        for (name, value) in [
            (libc::TCP_KEEPIDLE, opts.keepidle_s),
            (libc::TCP_KEEPINTVL, opts.keepintvl_s),
            (libc::TCP_KEEPCNT, opts.keepcnt),
        ] {
            if let Some(value) = value {
                put(libc::IPPROTO_TCP, name, int(value));
            }
        }
    }
    if let Some(value) = opts.user_timeout_ms {
        put(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, int(value));
    }
    if let Some(tos) = opts.tos {
        let (level, name) = traffic_class(fd);
        put(level, name, tos.into());
    }
    first
}

/// As `apply`, for a listener whose options were others before: what is off or unset now is set back
/// to `plain`, the options of an untouched socket. Connections accepted from it inherit all of them.
pub fn apply_again(listener: RawFd, opts: &SocketOptions, plain: &SocketOptions) {
    // A refused one is no reason not to go on listening.
    let put = |level, name, value| {
        let _ = set(listener, level, name, value);
    };
    put(libc::IPPROTO_TCP, libc::TCP_NODELAY, opts.nodelay.into());
    put(libc::SOL_SOCKET, libc::SO_KEEPALIVE, opts.keepalive.into());
    let unacknowledged = opts.user_timeout_ms.unwrap_or(0);
    put(
        libc::IPPROTO_TCP,
        libc::TCP_USER_TIMEOUT,
        int(unacknowledged),
    );
    for (name, value) in [
        (libc::TCP_KEEPIDLE, opts.keepidle_s.or(plain.keepidle_s)),
        (libc::TCP_KEEPINTVL, opts.keepintvl_s.or(plain.keepintvl_s)),
        (libc::TCP_KEEPCNT, opts.keepcnt.or(plain.keepcnt)),
    ] {
        if let Some(value) = value {
            put(libc::IPPROTO_TCP, name, int(value));
        }
    }
    let deferred = int(opts.defer_accept_s);
    put(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, deferred);
    if let Some(tos) = opts.tos.or(plain.tos) {
        let (level, name) = traffic_class(listener);
        put(level, name, tos.into());
    }
}

/// The option that the two families have for the same byte of the header.
fn traffic_class(fd: RawFd) -> (libc::c_int, libc::c_int) {
    match get(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) {
        Ok(libc::AF_INET6) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        _ => (libc::IPPROTO_IP, libc::IP_TOS),
    }
}

/// The traffic class of an untouched socket, and its keep-alive times, which come from the system's settings.
pub fn plain_options(fd: RawFd) -> SocketOptions {
    let ask = |name| u32::try_from(get(fd, libc::IPPROTO_TCP, name).ok()?).ok();
    let (level, name) = traffic_class(fd);
    SocketOptions {
        tos: get(fd, level, name)
            .ok()
            .and_then(|tos| u8::try_from(tos).ok()),
        keepidle_s: ask(libc::TCP_KEEPIDLE),
        keepintvl_s: ask(libc::TCP_KEEPINTVL),
        keepcnt: ask(libc::TCP_KEEPCNT),
        ..SocketOptions::default()
    }
}

/// Starts a connection, from the local address `from` if given. Options are best effort: a peer is
/// worth more than its TOS.
#[cfg_attr(crash_points, track_caller)]
pub fn dial(to: &Addr, from: Option<&Addr>, opts: &SocketOptions) -> Dial {
    match try_dial(to, from, opts) {
        Ok((fd, Ok(_) | Err(Errno::EISCONN))) => Dial::Connected(fd),
        // EALREADY: the call repeated after EINTR finds the first one at work.
        Ok((fd, Err(Errno::EINPROGRESS | Errno::EALREADY))) => Dial::InProgress(fd),
        Ok((_, Err(errno))) => match errno {
            Errno::ECONNREFUSED
            | Errno::ECONNRESET
            | Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::ETIMEDOUT => Dial::Refused(errno),
            _ => Dial::Failed(errno),
        },
        Err(errno) => Dial::Failed(errno),
    }
}

/// The socket and what connect said.
fn try_dial(to: &Addr, from: Option<&Addr>, opts: &SocketOptions) -> Result<(Fd, Result<i32>)> {
    let (target, len) = SockAddr::new(to)?;
    let fd = stream(to)?;
    let raw = fd.as_raw();
    let _ = apply(raw, opts);
    if let Some(from) = from {
        if from.family != to.family {
            return Err(Errno::EAFNOSUPPORT);
        }
        if from.port == 0 {
            // The port is chosen in connect, where only the whole four-tuple must be free. Chosen
            // in bind, each connection takes a port of its own: 28,000 to all peers together.
            let _ = set(raw, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
        } else {
            set(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
            if opts.reuse_port {
                // Binding to a port that we listen on needs it on both sockets.
                set(raw, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            }
        }
        bind(raw, from)?;
    }
    // SAFETY: `target` is an initialised address of `len` bytes.
    let connected = retry(|| unsafe { libc::connect(raw, target.as_ptr(), len) });
    Ok((fd, connected))
}

/// Takes the pending error (the kernel forgets it); 0 is none.
#[cfg_attr(crash_points, track_caller)]
pub fn socket_error(fd: RawFd) -> Errno {
    match get(fd, libc::SOL_SOCKET, libc::SO_ERROR) {
        Ok(pending) => Errno(pending),
        Err(errno) => errno,
    }
}

/// Gives the kernel what it takes now; EAGAIN when that is nothing. `more` says that the rest
/// follows at once: the kernel then holds back an incomplete segment, at most 200 ms. Beyond 1024 parts (the kernel's limit) the rest counts as not taken.
#[cfg_attr(crash_points, track_caller)]
pub fn send_parts(fd: RawFd, parts: &[IoSlice<'_>], more: bool) -> Result<usize> {
    let mut flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if more {
        flags |= libc::MSG_MORE;
    }
    if let [whole] = parts {
        let (base, len) = (whole.as_ptr().cast(), whole.len());
        // SAFETY: the part is borrowed over the call.
        let sent = retry(|| unsafe { libc::send(fd, base, len, flags) })?;
        return Ok(sent.unsigned_abs());
    }
    // SAFETY: all zeroes is a valid msghdr: no address, no parts, no control data.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    // IoSlice is promised to have the layout of iovec; sendmsg only reads them.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len().min(libc::UIO_MAXIOV as usize) as _;
    // SAFETY: the parts are borrowed over the call and describe readable memory.
    let sent = retry(|| unsafe { libc::sendmsg(fd, &raw const message, flags) })?;
    Ok(sent.unsigned_abs())
}

/// Reads what is there; 0 is the peer's end (or an empty `buf`), EAGAIN nothing yet.
#[cfg_attr(crash_points, track_caller)]
pub fn recv(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    recv_with(fd, buf, 0)
}

/// As `recv`, and leaves it there.
#[cfg_attr(crash_points, track_caller)]
pub fn peek(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    recv_with(fd, buf, libc::MSG_PEEK)
}

#[cfg_attr(crash_points, track_caller)]
fn recv_with(fd: RawFd, buf: &mut [u8], flags: libc::c_int) -> Result<usize> {
    let (base, len) = (buf.as_mut_ptr(), buf.len());
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: `buf` is writable memory of that length.
    let got = retry(|| unsafe { libc::recv(fd, base.cast(), len, flags) })?;
    Ok(got.unsigned_abs())
}

/// Drops as many bytes of what is there as `place` could hold, without a copy (tcp(7): MSG_TRUNC). TCP would be
/// content with no place at all; valgrind would tell the host of a mistake.
#[cfg_attr(crash_points, track_caller)]
pub fn discard(fd: RawFd, place: &mut [u8]) {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let (base, len) = (place.as_mut_ptr(), place.len());
    // SAFETY: `place` is writable memory of that length.
    let _ = retry(|| unsafe { libc::recv(fd, base.cast(), len, flags) });
}

/// Sends FIN after what the kernel still holds.
#[cfg_attr(crash_points, track_caller)]
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: no pointers. Fails only when there is no connection left.
    let _ = retry(|| unsafe { libc::shutdown(fd, libc::SHUT_WR) });
}

/// As `shutdown_write`, and reads end too, on every duplicate.
#[cfg_attr(crash_points, track_caller)]
pub fn shutdown_both(fd: RawFd) {
    // SAFETY: as above.
    let _ = retry(|| unsafe { libc::shutdown(fd, libc::SHUT_RDWR) });
}

/// Ends the connection with RST now, even while other processes hold duplicates: closing with
/// SO_LINGER 0 would act only at the last of them. What the kernel had not sent is dropped.
#[cfg_attr(crash_points, track_caller)]
pub fn abort(fd: RawFd) {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: `nowhere` is an initialised address of `len` bytes.
    let _ = retry(|| unsafe { libc::connect(fd, &raw const nowhere, len) });
}

/// Bytes in the kernel that the peer has not acknowledged (SIOCOUTQ). EINVAL on a listener.
pub fn unsent_bytes(fd: RawFd) -> Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
    retry(|| unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// Where `tcp_info` has tcpi_bytes_acked (Linux 4.1).
const BYTES_ACKED_AT: usize = 120;

/// Bytes of the host's that the kernel has taken for this connection since it was opened: those that are
/// acknowledged (of a dialled one, with its SYN) and those that are not. None: it cannot say.
pub fn bytes_taken(fd: RawFd, dialled: bool) -> Option<u64> {
    for _ in 0..16 {
        let before = bytes_acked(fd)?;
        let unsent = unsent_bytes(fd).ok()?;
        // Else some went from one to the other meanwhile.
        if bytes_acked(fd)? == before {
            return (before + u64::from(unsent)).checked_sub(u64::from(dialled));
        }
    }
    None
}

fn bytes_acked(fd: RawFd) -> Option<u64> {
    let mut info = [0u8; BYTES_ACKED_AT + 8];
    let mut len = info.len() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the kernel writes at most `len` bytes, which `info` has.
    retry(|| unsafe { libc::getsockopt(fd, level, name, info.as_mut_ptr().cast(), &raw mut len) })
        .ok()?;
    let acked = info.get(BYTES_ACKED_AT..len as usize)?;
    Some(u64::from_ne_bytes(acked.try_into().ok()?))
}

/// See [`super::close`].
#[cfg_attr(crash_points, track_caller)]
pub fn close(fd: RawFd) {
    super::close(fd);
}

fn stream(addr: &Addr) -> Result<Fd> {
    let domain = domain(addr)?;
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    retry(|| unsafe { libc::socket(domain, kind, libc::IPPROTO_TCP) }).map(Fd::from_raw)
}

fn bind(fd: RawFd, addr: &Addr) -> Result<()> {
    let (local, len) = SockAddr::new(addr)?;
    // SAFETY: `local` is an initialised address of `len` bytes.
    retry(|| unsafe { libc::bind(fd, local.as_ptr(), len) }).map(drop)
}

#[cfg_attr(crash_points, track_caller)]
fn set(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: `value` points to an int that lives over the call.
    retry(|| unsafe { libc::setsockopt(fd, level, name, value, len) }).map(drop)
}

#[cfg_attr(crash_points, track_caller)]
fn get(fd: RawFd, level: libc::c_int, name: libc::c_int) -> Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is an int to write and `len` its size.
    retry(|| unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

/// Socket options are ints; a value beyond is the largest one.
fn int(value: u32) -> libc::c_int {
    libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX)
}
