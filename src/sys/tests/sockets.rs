use super::*;
use std::io::IoSlice;

fn option(fd: &Fd, level: i32, name: i32) -> i32 {
    let mut value: libc::c_int = -1;
    let mut len = 4;
    let at = (&raw mut value).cast();
    let result = unsafe { libc::getsockopt(fd.as_raw(), level, name, at, &raw mut len) };
    assert_eq!(result, 0, "{}", Errno::last());
    value
}

#[test]
fn both_ends_see_each_others_address_and_no_descriptor_blocks_or_leaks() {
    let opts = SocketOptions::default();
    let (listener, addr) = listener(&opts);
    assert!(matches!(sock::accept(listener.as_raw()), Accepted::Empty));
    let dialled = connect(&addr, None, &opts);
    let (accepted, peer) = accept_one(&listener);
    assert_eq!(peer, sock::local_addr(dialled.as_raw()).unwrap());
    assert_eq!(peer, sock::peer_addr(accepted.as_raw()).unwrap());
    assert_eq!(addr, sock::peer_addr(dialled.as_raw()).unwrap());
    for fd in [&listener, &dialled, &accepted] {
        assert_cloexec_nonblock(fd.as_raw());
    }
}

#[test]
fn options_reach_dialled_and_accepted_connections() {
    let opts = SocketOptions {
        nodelay: true,
        keepalive: true,
        keepidle_s: Some(31),
        keepintvl_s: Some(7),
        keepcnt: Some(3),
        user_timeout_ms: Some(12_345),
        tos: Some(0x68),
        reuse_port: false,
        defer_accept_s: 0,
    };
    let (listener, addr) = listener(&opts);
    let dialled = connect(&addr, None, &opts);
    let (accepted, _) = accept_one(&listener);
    sock::apply(accepted.as_raw(), &opts).unwrap();
    for fd in [&dialled, &accepted] {
        assert_ne!(option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
        assert_ne!(option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 0);
        assert_eq!(option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 31);
        assert_eq!(option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL), 7);
        assert_eq!(option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT), 3);
        assert_eq!(
            option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
            12_345
        );
        assert_eq!(option(fd, libc::IPPROTO_IP, libc::IP_TOS), 0x68);
    }
}

#[test]
fn a_refused_option_is_reported_and_the_others_are_set() {
    let (dialled, _accepted) = connection();
    let opts = SocketOptions {
        nodelay: true,
        keepalive: true,
        keepcnt: Some(100_000),
        user_timeout_ms: Some(500),
        ..SocketOptions::default()
    };
    assert_eq!(sock::apply(dialled.as_raw(), &opts), Err(Errno::EINVAL));
    assert_eq!(
        option(&dialled, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
        500
    );
}

#[test]
fn a_port_is_shared_only_with_reuse_port() {
    let plain = SocketOptions::default();
    let (_first, addr) = listener(&plain);
    assert_eq!(
        sock::listen(&addr, 1, &plain).err(),
        Some(Errno::EADDRINUSE)
    );
    let reuse = SocketOptions {
        reuse_port: true,
        ..plain
    };
    let (_first, addr) = listener(&reuse);
    assert!(sock::listen(&addr, 1, &reuse).is_ok());
}

#[test]
fn the_two_families_can_listen_on_the_same_port() {
    let opts = SocketOptions::default();
    let mut tries = 0;
    let (v6, port, _v4) = loop {
        let v6 = match sock::listen(&Addr::v6([0; 16], 0, 0), 4, &opts) {
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => return, // A machine without IPv6.
            made => made.unwrap().0,
        };
        let port = sock::local_addr(v6.as_raw()).unwrap().port;
        match sock::listen(&Addr::v4([0; 4], port), 4, &opts) {
            // An IPv4 connection of somebody else's has that port.
            Err(Errno::EADDRINUSE) if tries < 20 => tries += 1,
            made => break (v6, port, made.unwrap()),
        }
    };

    let mut loopback = [0; 16];
    loopback[15] = 1;
    let opts = SocketOptions {
        tos: Some(0x28),
        ..opts
    };
    let dialled = connect(&Addr::v6(loopback, port, 0), None, &opts);
    let (_accepted, peer) = accept_one(&v6);
    assert_eq!((peer.family, peer.ip), (6, loopback));
    assert_eq!(
        option(&dialled, libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        0x28
    );
}

#[test]
fn dialling_uses_the_local_address_that_is_asked_for() {
    let opts = SocketOptions::default();
    let (listener, addr) = listener(&opts);
    let source = [127, 0, 0, 2];
    let dialled = connect(&addr, Some(&Addr::v4(source, 0)), &opts);
    let local = sock::local_addr(dialled.as_raw()).unwrap();
    assert_eq!(local, Addr::v4(source, local.port));
    assert_ne!(local.port, 0);
    assert_eq!(accept_one(&listener).1, local);
}

#[test]
fn dialling_can_start_from_the_port_we_listen_on() {
    let opts = SocketOptions {
        reuse_port: true,
        ..SocketOptions::default()
    };
    let (_ours, from) = listener(&opts);
    let (theirs, to) = listener(&opts);
    let _dialled = connect(&to, Some(&from), &opts);
    assert_eq!(accept_one(&theirs).1, from);
}

#[test]
fn a_dial_that_cannot_be_tried_fails_at_once() {
    let opts = SocketOptions::default();
    let v4 = Addr::v4(LOOPBACK, 5060);
    let v6 = Addr::v6([0; 16], 0, 0);
    let failed = |to: &Addr, from: Option<&Addr>| match sock::dial(to, from, &opts) {
        Dial::Failed(errno) => errno,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(&Addr::none(), None), Errno::EAFNOSUPPORT);
    assert_eq!(failed(&v4, Some(&v6)), Errno::EAFNOSUPPORT);
    let foreign = Addr::v4([192, 0, 2, 1], 0);
    assert_eq!(failed(&v4, Some(&foreign)), Errno::EADDRNOTAVAIL);
}

#[test]
fn a_refused_dial_reports_why_once() {
    // Bound and not listening: the port is ours, so nobody else can answer on it.
    let bound = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    let bound = Fd::from_raw(bound);
    let mut any: libc::sockaddr_in = unsafe { core::mem::zeroed() };
    any.sin_family = libc::AF_INET as libc::sa_family_t;
    any.sin_addr.s_addr = u32::from_ne_bytes(LOOPBACK);
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let result = unsafe { libc::bind(bound.as_raw(), (&raw const any).cast(), len) };
    assert_eq!(result, 0);
    let to = sock::local_addr(bound.as_raw()).unwrap();
    match sock::dial(&to, None, &SocketOptions::default()) {
        Dial::Refused(errno) => assert_eq!(errno, Errno::ECONNREFUSED),
        Dial::Failed(errno) => panic!("{errno} is our own failure"),
        Dial::Connected(_) => panic!("connected to a port that nobody listens on"),
        Dial::InProgress(fd) => {
            assert!(await_ready(fd.as_raw(), WRITE).hangup_or_error);
            assert_eq!(sock::socket_error(fd.as_raw()), Errno::ECONNREFUSED);
            assert_eq!(sock::socket_error(fd.as_raw()), Errno(0));
        }
    }
}

#[test]
fn a_failure_on_our_own_side_says_nothing_about_the_destination() {
    let opts = SocketOptions::default();
    let (_listener, to) = listener(&opts);
    let of_other_family = Addr::v6([0; 16], 0, 0);
    let not_ours = Addr::v4([192, 0, 2, 1], 0);
    for (from, expected) in [
        (of_other_family, Errno::EAFNOSUPPORT),
        (not_ours, Errno::EADDRNOTAVAIL),
        (to, Errno::EADDRINUSE),
    ] {
        match sock::dial(&to, Some(&from), &opts) {
            Dial::Failed(errno) => assert_eq!(errno, expected),
            other => panic!("from {from}: {other:?}"),
        }
    }
}

#[test]
fn what_is_turned_off_later_is_off_on_connections_accepted_then() {
    let on = SocketOptions {
        nodelay: true,
        keepalive: true,
        keepidle_s: Some(77),
        user_timeout_ms: Some(30_000),
        ..SocketOptions::default()
    };
    let (fd, plain) = sock::listen(&Addr::v4(LOOPBACK, 0), 4, &on).unwrap();
    let addr = sock::local_addr(fd.as_raw()).unwrap();
    let off = SocketOptions::default();
    sock::apply_again(fd.as_raw(), &off, &plain);
    let _dialled = connect(&addr, None, &off);
    let (accepted, _) = accept_one(&fd);
    let option = |level, name| {
        let (mut value, mut len) = (-1i32, 4 as libc::socklen_t);
        let value_at = (&raw mut value).cast();
        let raw = accepted.as_raw();
        let result = unsafe { libc::getsockopt(raw, level, name, value_at, &raw mut len) };
        assert_eq!(result, 0);
        value
    };
    assert_eq!(option(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 0);
    assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
    assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT), 0);
    let idle = option(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE);
    assert_eq!(u32::try_from(idle).ok(), plain.keepidle_s);
}

#[test]
fn accepting_without_descriptors_is_told_apart() {
    let opts = SocketOptions::default();
    let (listener, addr) = listener(&opts);
    let _dialled = connect(&addr, None, &opts);
    await_ready(listener.as_raw(), READ);
    let code = in_child(|| {
        exhaust_descriptors();
        match sock::accept(listener.as_raw()) {
            Accepted::FdLimit(errno) => errno.0,
            _ => 0,
        }
    });
    assert_eq!(Errno(code), Errno::EMFILE);
    // The connection was not lost.
    accept_one(&listener);
}

#[test]
fn accepting_from_what_does_not_listen_fails() {
    let (dialled, _accepted) = connection();
    match sock::accept(dialled.as_raw()) {
        Accepted::Failed(errno) => assert_eq!(errno, Errno::EINVAL),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_arrive_in_order_as_one_stream() {
    let (dialled, accepted) = connection();
    let parts = ["INVITE sip:a SIP/2.0\r\n", "", "\r\n", "body"].map(str::as_bytes);
    let whole = parts.concat();
    let slices = parts.map(IoSlice::new);
    let sent = sock::send_parts(dialled.as_raw(), &slices, false);
    assert_eq!(sent, Ok(whole.len()));
    assert_eq!(receive_bytes(&accepted, whole.len()), whole);
    assert_eq!(
        sock::recv(accepted.as_raw(), &mut [0; 8]),
        Err(Errno::EAGAIN)
    );
}

#[test]
fn more_parts_than_the_kernel_takes_count_as_not_taken() {
    let (dialled, accepted) = connection();
    let slices: Vec<_> = (0..2_000).map(|_| IoSlice::new(b"x")).collect();
    let sent = sock::send_parts(dialled.as_raw(), &slices, false);
    assert_eq!(sent, Ok(1024));
    receive_bytes(&accepted, 1024);
}

#[test]
fn a_full_connection_says_again_and_nothing_is_lost() {
    let (dialled, accepted) = connection();
    // The wrappers must not block even when somebody else has made the socket blocking.
    unsafe { libc::fcntl(dialled.as_raw(), libc::F_SETFL, 0) };
    unsafe { libc::fcntl(accepted.as_raw(), libc::F_SETFL, 0) };
    assert_eq!(
        sock::recv(accepted.as_raw(), &mut [0; 1]),
        Err(Errno::EAGAIN)
    );
    let block = [7; 100_000];
    let mut taken = 0;
    let errno = loop {
        match send(&dialled, &block) {
            Ok(count) => taken += count,
            Err(errno) => break errno,
        }
    };
    assert!(errno.is_again(), "{errno}");
    assert!(sock::unsent_bytes(dialled.as_raw()).unwrap() > 0);
    // More is taken as soon as the acknowledgements make room; only the sum of both is certain.
    assert!(receive_bytes(&accepted, taken).iter().all(|&b| b == 7));
    eventually("all bytes acknowledged", || {
        sock::unsent_bytes(dialled.as_raw()) == Ok(0)
    });
}

#[test]
fn the_kernel_says_how_many_bytes_it_has_taken() {
    let (dialled, accepted) = connection();
    let taken = [(&dialled, true), (&accepted, false)];
    let all = |n| {
        taken
            .iter()
            .all(|(fd, dialled)| sock::bytes_taken(fd.as_raw(), *dialled) == Some(n))
    };
    assert!(all(0));
    let slices = [IoSlice::new(b"seven b")];
    for (fd, _) in taken {
        assert_eq!(sock::send_parts(fd.as_raw(), &slices, false), Ok(7));
    }
    assert!(all(7), "not acknowledged yet, or just now");
    receive_bytes(&accepted, 7);
    receive_bytes(&dialled, 7);
    for fd in [&dialled, &accepted] {
        eventually("acknowledged", || sock::unsent_bytes(fd.as_raw()) == Ok(0));
    }
    assert!(all(7));
}

#[test]
fn sending_to_a_closed_peer_is_an_error_and_no_signal() {
    let (dialled, accepted) = connection();
    let code = in_child(|| {
        // Rust's runtime ignores SIGPIPE; a C host does not.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        sock::abort(accepted.as_raw());
        let parts = [IoSlice::new(b"x")];
        loop {
            match sock::send_parts(dialled.as_raw(), &parts, false) {
                Err(Errno::EPIPE) => return 0,
                // The first error after RST is the reset itself.
                Ok(_) | Err(Errno::ECONNRESET) => {}
                Err(errno) => return errno.0,
            }
        }
    });
    assert_eq!(code, 0, "EPIPE expected, not {}", Errno(code));
}

#[test]
fn abort_resets_the_connection_while_a_duplicate_lives() {
    let (dialled, accepted) = connection();
    let duplicate = Fd::from_raw(unsafe { libc::dup(accepted.as_raw()) });
    sock::abort(accepted.as_raw());
    assert!(await_ready(dialled.as_raw(), READ).hangup_or_error);
    assert_eq!(
        sock::recv(dialled.as_raw(), &mut [0; 8]),
        Err(Errno::ECONNRESET)
    );
    assert!(is_open(duplicate.as_raw()));
}

#[test]
fn after_the_write_side_is_shut_the_peer_reads_to_the_end_and_can_still_answer() {
    let (dialled, accepted) = connection();
    send(&dialled, b"bye").unwrap();
    sock::shutdown_write(dialled.as_raw());
    assert_eq!(receive_bytes(&accepted, 3), b"bye");
    assert!(await_ready(accepted.as_raw(), READ).read_closed);
    assert_eq!(sock::recv(accepted.as_raw(), &mut [0; 8]), Ok(0));
    send(&accepted, b"200 OK").unwrap();
    assert_eq!(receive_bytes(&dialled, 6), b"200 OK");
    sock::shutdown_both(dialled.as_raw());
    assert_eq!(sock::recv(dialled.as_raw(), &mut [0; 8]), Ok(0));
    assert_eq!(send(&dialled, b"x"), Err(Errno::EPIPE));
}

#[test]
fn an_urgent_byte_stays_in_the_stream() {
    let (dialled, accepted) = connection();
    let fd = dialled.as_raw();
    let result = unsafe { libc::send(fd, b"ab!".as_ptr().cast(), 3, libc::MSG_OOB) };
    assert_eq!(result, 3);
    send(&dialled, b"cd").unwrap();
    assert_eq!(receive_bytes(&accepted, 5), b"ab!cd");
}
