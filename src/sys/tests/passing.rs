use super::*;
use crate::sys::event::EventFd;
use crate::sys::fdpass::{
    MAX_FDS, MAX_PAYLOAD_BYTES, Passed, Receive, Received, channel, pass, receive,
};

fn got(fd: &Fd, buf: &mut [u8]) -> Received {
    match receive(fd.as_raw(), buf) {
        Receive::Got(received) => received,
        other => panic!("{other:?}"),
    }
}

fn same_file(a: RawFd, b: RawFd) -> bool {
    let inode = |fd| {
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        assert_eq!(unsafe { libc::fstat(fd, &raw mut stat) }, 0);
        (stat.st_dev, stat.st_ino)
    };
    inode(a) == inode(b)
}

#[test]
fn several_descriptors_arrive_in_order_with_their_payload() {
    let (here, there) = channel().unwrap();
    // Sockets, because each has an inode of its own.
    let (a, b) = connection();
    let (c, d) = connection();
    let sent = [&a, &b, &c, &d].map(Fd::as_raw);
    for count in 0..=MAX_FDS {
        assert_eq!(pass(here.as_raw(), b"lend", &sent[..count]), Passed::Sent);
        let mut buf = [0; MAX_PAYLOAD_BYTES];
        let received = got(&there, &mut buf);
        assert_eq!(&buf[..received.len], b"lend");
        assert!(!received.truncated);
        let fds: Vec<_> = received.fds.iter().flatten().collect();
        assert_eq!(fds.len(), count);
        for (fd, original) in fds.iter().zip(sent) {
            assert_ne!(fd.as_raw(), original);
            assert!(same_file(fd.as_raw(), original));
            assert!(flag(fd.as_raw(), libc::F_GETFD, libc::FD_CLOEXEC));
        }
    }
    assert!(matches!(
        receive(there.as_raw(), &mut [0; 64]),
        Receive::Empty
    ));
}

#[test]
fn a_passed_connection_works_for_the_receiver_after_the_sender_closed_its_own() {
    let (here, there) = channel().unwrap();
    let (dialled, accepted) = connection();
    assert_eq!(
        pass(here.as_raw(), &[1], &[accepted.as_raw()]),
        Passed::Sent
    );
    drop(accepted);
    let [received, ..] = got(&there, &mut [0; 64]).fds;
    send(&dialled, b"hello").unwrap();
    assert_eq!(receive_bytes(&received.unwrap(), 5), b"hello");
}

#[test]
fn records_keep_their_boundaries() {
    let (here, there) = channel().unwrap();
    let full = [9; MAX_PAYLOAD_BYTES];
    assert_eq!(pass(here.as_raw(), b"a", &[]), Passed::Sent);
    assert_eq!(pass(here.as_raw(), &full, &[]), Passed::Sent);
    let mut buf = [0; MAX_PAYLOAD_BYTES];
    assert_eq!(got(&there, &mut buf).len, 1);
    assert_eq!(got(&there, &mut buf).len, MAX_PAYLOAD_BYTES);
    assert_eq!(buf, full);
}

#[test]
fn sizes_that_the_receiver_could_not_understand_are_refused() {
    let (here, there) = channel().unwrap();
    let refused = Passed::Failed(Errno::EINVAL);
    let five = [here.as_raw(); MAX_FDS + 1];
    assert_eq!(pass(here.as_raw(), &[], &[]), refused);
    assert_eq!(
        pass(here.as_raw(), &[0; MAX_PAYLOAD_BYTES + 1], &[]),
        refused
    );
    assert_eq!(pass(here.as_raw(), &[0], &five), refused);
    assert_eq!(
        pass(here.as_raw(), &[0], &[-1]),
        Passed::Failed(Errno::EBADF)
    );
    assert!(matches!(
        receive(there.as_raw(), &mut [0; 64]),
        Receive::Empty
    ));
}

#[test]
fn a_message_too_long_for_the_buffer_is_an_error_and_leaks_no_descriptor() {
    let (here, there) = channel().unwrap();
    let (dialled, accepted) = connection();
    assert_eq!(
        pass(here.as_raw(), &[0; 32], &[accepted.as_raw()]),
        Passed::Sent
    );
    assert!(matches!(
        receive(there.as_raw(), &mut [0; 8]),
        Receive::Failed(Errno::EMSGSIZE)
    ));
    // Were a duplicate left, this close would not reach the peer.
    drop(accepted);
    assert!(await_ready(dialled.as_raw(), READ).read_closed);
}

#[test]
fn a_receiver_out_of_descriptors_is_told_that_some_were_lost() {
    let (here, there) = channel().unwrap();
    let event = EventFd::new().unwrap();
    let fds = [event.as_raw(); 2];
    assert_eq!(pass(here.as_raw(), b"x", &fds), Passed::Sent);
    let code = in_child(|| {
        exhaust_descriptors();
        match receive(there.as_raw(), &mut [0; 8]) {
            Receive::Got(received) => {
                let arrived = received.fds.iter().flatten().count() as i32;
                10 * arrived + i32::from(received.truncated)
            }
            _ => 255,
        }
    });
    assert_eq!(code, 1);
}

#[test]
fn a_full_channel_says_so_and_takes_more_when_it_was_read() {
    let (here, there) = channel().unwrap();
    let mut sent = 0;
    let end = loop {
        match pass(here.as_raw(), b"x", &[there.as_raw()]) {
            Passed::Sent => sent += 1,
            other => break other,
        }
    };
    assert_eq!(end, Passed::Full);
    assert!(sent > 1);
    for _ in 0..sent {
        assert!(got(&there, &mut [0; 8]).fds[0].is_some());
    }
    assert_eq!(pass(here.as_raw(), b"x", &[]), Passed::Sent);
}

#[test]
fn a_closed_end_is_gone_for_the_sender_and_closed_for_the_receiver() {
    let (here, there) = channel().unwrap();
    assert_eq!(pass(here.as_raw(), b"last", &[]), Passed::Sent);
    drop(here);
    // What was sent before the end is still there.
    assert_eq!(got(&there, &mut [0; 8]).len, 4);
    eventually("the receiver sees the end", || {
        matches!(receive(there.as_raw(), &mut [0; 8]), Receive::Closed)
    });
    eventually("the sender sees the end", || {
        pass(there.as_raw(), b"x", &[]) == Passed::Gone
    });

    // Messages unread at the other end turn the end into a reset.
    let (here, there) = channel().unwrap();
    assert_eq!(pass(here.as_raw(), b"unread", &[]), Passed::Sent);
    drop(there);
    eventually("the reset is an end", || {
        matches!(receive(here.as_raw(), &mut [0; 8]), Receive::Closed)
    });
}

#[test]
fn channels_neither_block_nor_leak() {
    let (here, there) = channel().unwrap();
    assert_cloexec_nonblock(here.as_raw());
    assert_cloexec_nonblock(there.as_raw());
}
