use super::*;
use crate::sync::{AtomicU32, Ordering};
use crate::sys::map::{IdentityPage, SharedMap};
use crate::sys::process::*;

#[test]
fn a_child_finds_the_identity_wiped_and_the_parent_keeps_its_own() {
    let page = IdentityPage::new().unwrap();
    assert_eq!(page.get(), 0);
    assert_eq!(page.update(|_| Some(77)), Ok(0));
    let code = in_child(|| {
        let inherited = page.get();
        let _ = page.update(|_| Some(5));
        // 0 before and its own afterwards.
        i32::from(inherited != 0 || page.get() != 5)
    });
    assert_eq!(code, 0);
    assert_eq!(page.get(), 77);
}

#[test]
fn what_a_child_writes_into_the_segment_is_seen_by_the_parent() {
    let map = SharedMap::new("sipwire-test", 1 << 20).unwrap();
    assert_eq!(map.len(), 1 << 20);
    let last = map.len() / 4 - 1;
    let word = |index| unsafe { &*map.as_ptr().cast::<AtomicU32>().add(index) };
    assert_eq!(
        (
            word(0).load(Ordering::SeqCst),
            word(last).load(Ordering::SeqCst)
        ),
        (0, 0)
    );
    word(0).store(1, Ordering::SeqCst);
    let code = in_child(|| {
        word(last).store(2, Ordering::SeqCst);
        word(0).load(Ordering::SeqCst) as i32
    });
    assert_eq!(code, 1);
    assert_eq!(word(last).load(Ordering::SeqCst), 2);
}

/// The line of /proc/self/maps for a memfd of that name.
fn map_line(name: &str) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let wanted = format!("memfd:{name} ");
    maps.lines().find(|l| l.contains(&wanted)).map(String::from)
}

#[test]
fn a_segment_shows_its_name_and_is_unmapped_on_drop() {
    let map = SharedMap::new("sipwire-drop", 8192).unwrap();
    let line = map_line("sipwire-drop").unwrap();
    assert!(line.contains("rw-s"), "{line}");
    drop(map);
    assert_eq!(map_line("sipwire-drop"), None);
}

#[test]
fn nobody_can_change_the_size_of_a_segment() {
    let _map = SharedMap::new("sipwire-sealed", 8192).unwrap();
    let line = map_line("sipwire-sealed").unwrap();
    let range = line.split(' ').next().unwrap();
    let path = format!("/proc/self/map_files/{range}");
    // Opening it needs a privilege; without it, nobody can try anyway.
    let Ok(file) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    else {
        return;
    };
    for size in [0, 4096, 16_384] {
        let error = file.set_len(size).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "size {size}");
    }
}

#[test]
fn an_impossible_segment_is_refused() {
    assert_eq!(SharedMap::new("x", 0).unwrap_err(), Errno::EINVAL);
    assert_eq!(SharedMap::new("a\0b", 4096).unwrap_err(), Errno::EINVAL);
    assert_eq!(
        SharedMap::new("x", usize::MAX).unwrap_err(),
        Errno::EOVERFLOW
    );
    assert!(SharedMap::new("x", 1 << 50).is_err());
}

#[test]
fn a_pidfd_becomes_readable_when_the_process_ends() {
    assert_eq!(pid(), std::process::id() as i32);
    let mut poll = Poll::new().unwrap();
    let own = pidfd_self().unwrap();
    poll.add(own.as_raw(), 1, READ).unwrap();
    unsafe {
        let child = libc::fork();
        if child == 0 {
            loop {
                libc::pause();
            }
        }
        let fd = pidfd_open(child).unwrap();
        assert!(flag(fd.as_raw(), libc::F_GETFD, libc::FD_CLOEXEC));
        poll.add(fd.as_raw(), 2, READ).unwrap();
        assert!(wait(&mut poll, 0).is_empty());
        assert!(process_alive(child));
        libc::kill(child, libc::SIGKILL);
        let events = wait(&mut poll, PATIENCE_MS);
        assert_eq!(events.iter().map(|r| r.token).collect::<Vec<_>>(), [2]);
        // A zombie still has its number.
        assert!(process_alive(child));
        libc::waitpid(child, core::ptr::null_mut(), 0);
        assert!(!process_alive(child));
        assert_eq!(pidfd_open(child), Err(Errno::ESRCH));
    }
    assert!(process_alive(pid()));
    assert!(process_alive(1));
    assert!(!process_alive(0) && !process_alive(-1));
}

#[test]
fn a_thread_has_its_own_number_and_a_name_of_at_most_15_bytes() {
    let here = thread_id();
    std::thread::spawn(move || {
        assert_ne!(thread_id(), here);
        set_thread_name("sipwire-w0");
        assert_eq!(thread_name(), "sipwire-w0");
        set_thread_name("sipwire-supervisor");
        assert_eq!(thread_name(), "sipwire-supervi");
    })
    .join()
    .unwrap();
    assert_ne!(thread_name(), "sipwire-supervi");
    assert_eq!(in_child(|| i32::from(thread_id() != pid())), 0);
}

#[test]
fn nice_changes_this_thread_only() {
    let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, thread_id() as u32) };
    let before = nice();
    let inside = std::thread::spawn(move || {
        set_nice(19).unwrap();
        nice()
    });
    assert_eq!(inside.join().unwrap(), 19);
    assert_eq!(nice(), before);
}

#[test]
fn real_time_priority_is_not_inherited() {
    std::thread::spawn(|| match set_rt_priority(1) {
        Err(errno) => assert_eq!(errno, Errno::EPERM, "without the privilege"),
        Ok(()) => {
            let policy = || unsafe { libc::sched_getscheduler(0) };
            assert_eq!(policy(), libc::SCHED_RR | libc::SCHED_RESET_ON_FORK);
            assert_eq!(in_child(policy), libc::SCHED_OTHER);
        }
    })
    .join()
    .unwrap();
    assert_eq!(set_rt_priority(1_000), Err(Errno::EINVAL));
}

#[test]
fn the_limits_of_the_process_are_those_of_the_kernel() {
    let code = in_child(|| {
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        fd_limit() as i32
    });
    assert_eq!(code, 64);
    assert!(cpus() >= 1);
}

fn is_blocked(signal: libc::c_int) -> bool {
    unsafe {
        let mut mask: libc::sigset_t = core::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, core::ptr::null(), &raw mut mask);
        libc::sigismember(&raw const mask, signal) == 1
    }
}

#[test]
fn threads_spawned_with_signals_blocked_inherit_that_and_the_old_mask_returns() {
    std::thread::spawn(|| {
        unsafe {
            let mut one: libc::sigset_t = core::mem::zeroed();
            libc::sigaddset(&raw mut one, libc::SIGUSR1);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const one, core::ptr::null_mut());
        }
        let seen = with_signals_blocked(|| {
            std::thread::spawn(|| [libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1].map(is_blocked))
                .join()
                .unwrap()
        });
        assert_eq!(seen, [true; 3]);
        assert!(is_blocked(libc::SIGUSR1) && !is_blocked(libc::SIGTERM));
        let panicked = std::panic::catch_unwind(|| with_signals_blocked(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert!(is_blocked(libc::SIGUSR1) && !is_blocked(libc::SIGTERM));
    })
    .join()
    .unwrap();
}
