use super::*;
use crate::sync::{AtomicU32, Ordering};
use crate::sys::event::EventFd;

const ONE_SHOT: Interest = Interest {
    read: true,
    write: false,
    end: false,
    one_shot: true,
};
const DISARMED: Interest = Interest {
    read: false,
    write: false,
    end: false,
    one_shot: true,
};

fn tokens(events: &[Ready]) -> Vec<u64> {
    events.iter().map(|ready| ready.token).collect()
}

#[test]
fn level_reports_until_the_data_is_read() {
    let mut poll = Poll::new().unwrap();
    let event = EventFd::new().unwrap();
    // All 64 bits of a token come back.
    let token = u64::MAX - 3;
    poll.add(event.as_raw(), token, READ).unwrap();
    assert!(wait(&mut poll, 0).is_empty());
    event.notify();
    for _ in 0..3 {
        let events = wait(&mut poll, PATIENCE_MS);
        assert_eq!(
            events,
            [Ready {
                token,
                readable: true,
                writable: false,
                read_closed: false,
                hangup_or_error: false,
                priority: false,
            }]
        );
    }
    event.drain();
    assert!(wait(&mut poll, 0).is_empty());
}

#[test]
fn one_shot_reports_once_and_again_when_armed() {
    let mut poll = Poll::new().unwrap();
    let (dialled, accepted) = connection();
    poll.add(accepted.as_raw(), 7, ONE_SHOT).unwrap();
    send(&dialled, b"one").unwrap();
    assert_eq!(tokens(&wait(&mut poll, PATIENCE_MS)), [7]);
    assert!(wait(&mut poll, 0).is_empty());
    // New data wakes nobody either. It has arrived when the receiver's own poll says so.
    receive_bytes(&accepted, 3);
    send(&dialled, b"two").unwrap();
    await_ready(accepted.as_raw(), READ);
    assert!(wait(&mut poll, 0).is_empty());
    // What waits already is reported when armed.
    poll.modify(accepted.as_raw(), 8, ONE_SHOT).unwrap();
    assert_eq!(tokens(&wait(&mut poll, PATIENCE_MS)), [8]);
}

#[test]
fn disarmed_reports_no_data_and_a_hangup_at_most_once() {
    let mut poll = Poll::new().unwrap();
    let (dialled, accepted) = connection();
    poll.add(accepted.as_raw(), 1, DISARMED).unwrap();
    send(&dialled, b"data").unwrap();
    await_ready(accepted.as_raw(), READ);
    assert!(wait(&mut poll, 0).is_empty());
    sock::abort(dialled.as_raw());
    let events = wait(&mut poll, PATIENCE_MS);
    assert_eq!(events.len(), 1);
    assert!(events[0].hangup_or_error);
    assert!(wait(&mut poll, 0).is_empty());
}

#[test]
fn after_its_event_a_one_shot_does_not_even_report_a_hangup() {
    let mut poll = Poll::new().unwrap();
    let (dialled, accepted) = connection();
    poll.add(accepted.as_raw(), 1, ONE_SHOT).unwrap();
    send(&dialled, b"x").unwrap();
    assert_eq!(wait(&mut poll, PATIENCE_MS).len(), 1);
    sock::abort(dialled.as_raw());
    let closed = await_ready(accepted.as_raw(), DISARMED);
    assert!(closed.hangup_or_error && closed.read_closed);
    assert!(wait(&mut poll, 0).is_empty());
}

#[test]
fn the_end_of_the_peers_data_is_no_hangup() {
    let (dialled, accepted) = connection();
    sock::shutdown_write(dialled.as_raw());
    let ready = await_ready(accepted.as_raw(), READ);
    assert!(ready.readable && ready.read_closed);
    assert!(!ready.hangup_or_error && !ready.priority);
    // Both directions closed is one.
    sock::shutdown_write(accepted.as_raw());
    assert!(await_ready(accepted.as_raw(), READ).hangup_or_error);
}

#[test]
fn the_end_alone_is_told_of_and_no_data() {
    let mut poll = Poll::new().unwrap();
    let (dialled, accepted) = connection();
    let end = Interest {
        end: true,
        ..DISARMED
    };
    poll.add(accepted.as_raw(), 1, end).unwrap();
    send(&dialled, b"data").unwrap();
    await_ready(accepted.as_raw(), READ);
    assert!(wait(&mut poll, 0).is_empty());
    sock::shutdown_write(dialled.as_raw());
    let events = wait(&mut poll, PATIENCE_MS);
    assert_eq!(events.len(), 1);
    assert!(events[0].read_closed);
    assert!(!events[0].readable && !events[0].hangup_or_error);
    assert!(wait(&mut poll, 0).is_empty());
}

#[test]
fn an_urgent_byte_is_flagged_and_keeps_no_reader_busy() {
    let mut poll = Poll::new().unwrap();
    let (dialled, accepted) = connection();
    poll.add(accepted.as_raw(), 1, READ).unwrap();
    let fd = dialled.as_raw();
    assert_eq!(
        unsafe { libc::send(fd, b"!".as_ptr().cast(), 1, libc::MSG_OOB) },
        1
    );
    let ready = wait(&mut poll, PATIENCE_MS)[0];
    assert!(ready.priority && ready.readable);
    assert_eq!(receive_bytes(&accepted, 1), b"!");
    assert!(wait(&mut poll, 0).is_empty());
}

#[test]
fn a_removed_descriptor_is_silent_and_removing_it_elsewhere_twice_is_harmless() {
    let mut poll = Poll::new().unwrap();
    let event = EventFd::new().unwrap();
    event.notify();
    poll.add(event.as_raw(), 1, READ).unwrap();
    assert_eq!(poll.add(event.as_raw(), 1, READ), Err(Errno::EEXIST));
    epoll_twice(poll.fd(), event.as_raw());
    assert!(wait(&mut poll, 0).is_empty());
    assert_eq!(poll.remove(event.as_raw()), Err(Errno::ENOENT));
    assert_eq!(poll.modify(event.as_raw(), 1, READ), Err(Errno::ENOENT));
}

fn epoll_twice(epoll: RawFd, fd: RawFd) {
    poll::epoll_remove(epoll, fd);
    poll::epoll_remove(epoll, fd);
}

#[test]
fn a_poll_is_itself_pollable() {
    let inner = Poll::new().unwrap();
    let mut outer = Poll::new().unwrap();
    let event = EventFd::new().unwrap();
    inner.add(event.as_raw(), 1, READ).unwrap();
    outer.add(inner.fd(), 2, READ).unwrap();
    assert!(wait(&mut outer, 0).is_empty());
    event.notify();
    assert_eq!(tokens(&wait(&mut outer, PATIENCE_MS)), [2]);
}

#[test]
fn more_events_than_one_wait_takes_all_come() {
    let mut poll = Poll::new().unwrap();
    let event = EventFd::new().unwrap();
    event.notify();
    let duplicates: Vec<Fd> = (0..1500)
        .map_while(|_| {
            let raw = unsafe { libc::fcntl(event.as_raw(), libc::F_DUPFD_CLOEXEC, 0) };
            (raw >= 0).then(|| Fd::from_raw(raw))
        })
        .collect();
    for (token, fd) in (0..).zip(&duplicates) {
        poll.add(fd.as_raw(), token, READ).unwrap();
    }
    let mut seen = vec![false; duplicates.len()];
    let waits = duplicates.len().div_ceil(1024);
    for _ in 0..waits {
        let events = wait(&mut poll, PATIENCE_MS);
        assert_eq!(events.len(), duplicates.len().min(1024));
        for ready in events {
            seen[ready.token as usize] = true;
        }
    }
    assert!(seen.iter().all(|&seen| seen));
    // An epoll's registration outlives the number while a duplicate is open.
    for fd in &duplicates {
        poll.remove(fd.as_raw()).unwrap();
    }
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);
static WAITED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_signal_ends_a_wait_without_events() {
    let handler = count_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    unsafe { libc::signal(libc::SIGUSR2, handler) };
    let mut poll = Poll::new().unwrap();
    let event = EventFd::new().unwrap();
    event.notify();
    poll.add(event.as_raw(), 1, READ).unwrap();
    assert_eq!(wait(&mut poll, PATIENCE_MS).len(), 1);
    event.drain();
    let waiter = unsafe { libc::pthread_self() } as usize;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Again and again, because the first may come before the wait has begun.
            while WAITED.load(Ordering::SeqCst) == 0 {
                unsafe { libc::pthread_kill(waiter as libc::pthread_t, libc::SIGUSR2) };
                std::thread::yield_now();
            }
        });
        // Without end: only the signal can end it.
        let result = poll.wait(None);
        WAITED.store(1, Ordering::SeqCst);
        assert_eq!(result, Ok(()));
    });
    // The event of the wait before is gone as well.
    assert_eq!(poll.events().count(), 0);
    assert!(SIGNALS.load(Ordering::SeqCst) > 0);
}

#[test]
fn many_notifications_are_one_and_a_full_counter_neither_blocks_nor_touches_errno() {
    let event = EventFd::new().unwrap();
    assert_cloexec_nonblock(event.as_raw());
    event.notify();
    event::notify_raw(event.as_raw());
    await_ready(event.as_raw(), READ);
    event.drain();
    event.drain();
    let mut poll = Poll::new().unwrap();
    poll.add(event.as_raw(), 1, READ).unwrap();
    assert!(wait(&mut poll, 0).is_empty());

    let full = u64::MAX - 1;
    let fd = event.as_raw();
    assert_eq!(unsafe { libc::write(fd, (&raw const full).cast(), 8) }, 8);
    process::errno_set(1234);
    event.notify();
    assert_eq!(process::errno_get(), 1234);
    assert_eq!(wait(&mut poll, 0).len(), 1);
}
