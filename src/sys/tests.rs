//! Tests of the wrappers against the real kernel, on loopback and ephemeral ports.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks
)]

mod passing;
mod polling;
mod processes;
mod sockets;

use super::poll::{Interest, Poll, Ready};
use super::sock::{Accepted, Dial, SocketOptions};
use super::*;
use crate::pure::addr::Addr;
use std::time::{Duration, Instant};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const READ: Interest = Interest {
    read: true,
    write: false,
    end: false,
    one_shot: false,
};
const WRITE: Interest = Interest {
    read: false,
    write: true,
    end: false,
    one_shot: false,
};
/// Only a broken test waits this long.
const PATIENCE_MS: u64 = 20_000;

/// Runs `body` in a forked child: its return value, or minus the signal that killed it. The test
/// process has threads, so `body` must neither allocate nor panic.
fn in_child(body: impl FnOnce() -> i32) -> i32 {
    unsafe {
        match libc::fork() {
            0 => libc::_exit(body()),
            child => {
                assert!(child > 0, "fork: {}", Errno::last());
                let mut status = 0;
                retry(|| libc::waitpid(child, &raw mut status, 0)).unwrap();
                if libc::WIFSIGNALED(status) {
                    -libc::WTERMSIG(status)
                } else {
                    libc::WEXITSTATUS(status)
                }
            }
        }
    }
}

/// A close is seen by the peer when the last duplicate is closed, and a child that another test
/// has just forked may hold one for a moment.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_millis(PATIENCE_MS);
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// The events of one wait.
fn wait(poll: &mut Poll, timeout_ms: u64) -> Vec<Ready> {
    poll.wait(Some(timeout_ms)).unwrap();
    poll.events().collect()
}

/// Waits until `fd` is ready in the given way.
fn await_ready(fd: RawFd, interest: Interest) -> Ready {
    let mut poll = Poll::new().unwrap();
    poll.add(fd, 1, interest).unwrap();
    wait(&mut poll, PATIENCE_MS)[0]
}

fn listener(opts: &SocketOptions) -> (Fd, Addr) {
    let fd = sock::listen(&Addr::v4(LOOPBACK, 0), 16, opts).unwrap().0;
    let addr = sock::local_addr(fd.as_raw()).unwrap();
    (fd, addr)
}

fn connect(to: &Addr, from: Option<&Addr>, opts: &SocketOptions) -> Fd {
    match sock::dial(to, from, opts) {
        Dial::Connected(fd) => fd,
        Dial::InProgress(fd) => {
            assert!(await_ready(fd.as_raw(), WRITE).writable);
            assert_eq!(sock::socket_error(fd.as_raw()), Errno(0));
            fd
        }
        Dial::Refused(errno) | Dial::Failed(errno) => panic!("dial: {errno}"),
    }
}

fn accept_one(listener: &Fd) -> (Fd, Addr) {
    await_ready(listener.as_raw(), READ);
    match sock::accept(listener.as_raw()) {
        Accepted::Conn(fd, peer) => (fd, peer),
        other => panic!("accept: {other:?}"),
    }
}

/// (dialled, accepted), both with default options and `apply` done.
fn connection() -> (Fd, Fd) {
    let opts = SocketOptions::default();
    let (listener, addr) = listener(&opts);
    let dialled = connect(&addr, None, &opts);
    let (accepted, _) = accept_one(&listener);
    sock::apply(accepted.as_raw(), &opts).unwrap();
    (dialled, accepted)
}

fn send(fd: &Fd, bytes: &[u8]) -> Result<usize> {
    sock::send_parts(fd.as_raw(), &[std::io::IoSlice::new(bytes)], false)
}

/// Receives exactly `count` bytes.
fn receive_bytes(fd: &Fd, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = [0; 65_536];
    while all.len() < count {
        await_ready(fd.as_raw(), READ);
        match sock::recv(fd.as_raw(), &mut buf) {
            Ok(0) => panic!("end after {} of {count} bytes", all.len()),
            Ok(got) => all.extend_from_slice(&buf[..got]),
            Err(errno) => assert!(errno.is_again(), "{errno}"),
        }
    }
    assert_eq!(all.len(), count);
    all
}

fn flag(fd: RawFd, get: libc::c_int, flag: libc::c_int) -> bool {
    unsafe { libc::fcntl(fd, get) & flag != 0 }
}

fn assert_cloexec_nonblock(fd: RawFd) {
    assert!(flag(fd, libc::F_GETFD, libc::FD_CLOEXEC), "not CLOEXEC");
    assert!(flag(fd, libc::F_GETFL, libc::O_NONBLOCK), "not NONBLOCK");
}

fn is_open(fd: RawFd) -> bool {
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Lowers the descriptor limit of this process so that no further one can be made. For children.
fn exhaust_descriptors() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) };
}

#[test]
fn an_errno_names_itself_and_knows_its_kind() {
    assert_eq!(
        Errno::ECONNRESET.to_string(),
        "connection reset by peer (ECONNRESET)"
    );
    assert_eq!(Errno(0).to_string(), "no error");
    assert_eq!(Errno(9999).to_string(), "errno 9999");
    assert!(Errno(libc::EWOULDBLOCK).is_again());
    assert!(!Errno::EMFILE.is_again());
    for limit in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
        assert!(limit.is_fd_limit(), "{limit}");
    }
    assert!(!Errno::EAGAIN.is_fd_limit());
}

#[test]
fn a_call_is_repeated_while_signals_interrupt_it_and_then_reports_its_own_error() {
    let mut interruptions = 3;
    let result = retry(|| {
        errno_after(&mut interruptions, libc::EINTR, libc::EIO);
        -1
    });
    assert_eq!((result, interruptions), (Err(Errno::EIO), 0));
}

fn errno_after(left: &mut i32, during: i32, after: i32) {
    process::errno_set(if *left > 0 { during } else { after });
    *left = (*left - 1).max(0);
}

#[test]
fn an_owned_descriptor_is_closed_on_drop_and_not_after_it_was_given_away() {
    let code = in_child(|| {
        // A child, because here no other thread can be given the freed number.
        let Ok(event) = event::EventFd::new() else {
            return 1;
        };
        let raw = event.into_fd().into_raw();
        if !is_open(raw) {
            return 2;
        }
        drop(Fd::from_raw(raw));
        i32::from(is_open(raw)) * 3
    });
    assert_eq!(code, 0);
}

#[test]
fn a_descriptor_moves_to_a_number_that_is_free_and_to_no_other() {
    let code = in_child(|| {
        let Ok((fd, other)) = fdpass::channel() else {
            return 1;
        };
        let (number, taken) = (500, other.as_raw());
        let open = || (0..1000).filter(|fd| is_open(*fd)).count();
        let before = open();
        let fd = fd.moved_to(number);
        if fd.as_raw() != number || !flag(number, libc::F_GETFD, libc::FD_CLOEXEC) {
            return 2;
        }
        let fd = fd.moved_to(taken).moved_to(i32::MAX);
        if fd.as_raw() != number || open() != before {
            return 3;
        }
        // Still the two ends of one channel.
        let sent = fdpass::pass(taken, b"x", &[]) == fdpass::Passed::Sent;
        let got = fdpass::receive(number, &mut [0; fdpass::MAX_PAYLOAD_BYTES]);
        let arrived = matches!(got, fdpass::Receive::Got(got) if got.len == 1);
        if sent && arrived { 0 } else { 4 }
    });
    assert_eq!(code, 0);
}

#[test]
fn the_clocks_agree_with_those_of_the_standard_library() {
    let (ms, us) = (clock::monotonic_ms(), clock::monotonic_us());
    assert!(ms <= us / 1_000);
    assert!(clock::monotonic_us() >= us);
    let since_epoch = || {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_millis() as u64
    };
    let before = since_epoch();
    let ours = clock::realtime_ms();
    assert!((before..=since_epoch()).contains(&ours));
}
