//! The process that runs the sequences: a network of its own, and nothing of it left after any.

use std::time::{Duration, Instant};

/// Threads and descriptors.
#[derive(PartialEq, Eq, Debug)]
pub struct Usage {
    threads: usize,
    descriptors: usize,
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).expect("/proc is mounted").count()
}

impl Usage {
    pub fn now() -> Usage {
        Usage {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
        }
    }

    /// A thread that was joined is in /proc for a moment more.
    pub fn assert_again(&self) {
        let begun = Instant::now();
        while Usage::now() != *self {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}, was {self:?}",
                Usage::now()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub fn prepare() {
    // The library silences panics, which are not to reach its host's terminal. Here each one is a finding:
    // once it has done so, our hook is the last.
    unsafe {
        sipwire::ffi::instance::sipwire_new(
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        std::process::abort();
    }));
    // Where nobody else uses up ports; without the privilege it is the machine's.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        raise_loopback();
    }
}

fn raise_loopback() {
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request), 0);
        libc::close(socket);
    }
}
