//! The calling process and thread: identity, liveness, names, priority, signals, errno.

use super::{Errno, Fd, Result, retry};
use core::mem::MaybeUninit;

/// Names longer than this are cut by the kernel's limit (15 bytes and a NUL).
const THREAD_NAME_BYTES: usize = 16;

pub fn pid() -> i32 {
    // SAFETY: no pointers, cannot fail.
    unsafe { libc::getpid() }
}

/// The kernel's number of this thread; in a main thread it is the pid.
pub fn thread_id() -> i32 {
    // By number, because glibc has the function only since 2.30.
    // SAFETY: no pointers, cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    i32::try_from(tid).unwrap_or(0)
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // EAGAIN only in the first moments of a machine that has gathered no randomness yet.
    // SAFETY: `bytes` is writable memory of that length.
    let got =
        retry(|| unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, libc::GRND_NONBLOCK) })?;
    // Up to 256 bytes come whole.
    if got.unsigned_abs() == N {
        Ok(bytes)
    } else {
        Err(Errno::EAGAIN)
    }
}

pub fn pidfd_self() -> Result<Fd> {
    pidfd_open(pid())
}

/// A descriptor that becomes readable when the process ends, and cannot come to mean another one,
/// as a number can. ENOSYS before Linux 5.3.
pub fn pidfd_open(pid: i32) -> Result<Fd> {
    // The kernel sets CLOEXEC by itself.
    // SAFETY: no pointers.
    let raw = retry(|| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    i32::try_from(raw)
        .map(Fd::from_raw)
        .map_err(|_| Errno::EBADF)
}

/// Whether a process has this number. A zombie counts, and so does a stranger that was given the
/// number later: certain only through a pidfd.
pub fn process_alive(pid: i32) -> bool {
    // 0 and negative numbers mean groups.
    pid > 0 && {
        // SAFETY: signal 0 only checks.
        let answer = retry(|| unsafe { libc::kill(pid, 0) });
        // EPERM: it lives and belongs to somebody else.
        matches!(answer, Ok(_) | Err(Errno::EPERM))
    }
}

/// As by SIGKILL: nothing of the process runs any more.
#[cfg(crash_points)]
pub fn end_at_once() -> ! {
    loop {
        // SAFETY: no pointers; does not return.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

/// What `ps` and `top` show for this thread; cut to 15 bytes.
pub fn set_thread_name(name: &str) {
    let mut raw = [0u8; THREAD_NAME_BYTES];
    let room = raw.iter_mut().take(THREAD_NAME_BYTES - 1);
    for (to, from) in room.zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: `raw` is NUL-terminated: its last byte is never written.
    unsafe { libc::prctl(libc::PR_SET_NAME, raw.as_ptr()) };
}

pub fn thread_name() -> String {
    let mut raw = [0u8; THREAD_NAME_BYTES];
    // SAFETY: the kernel writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, raw.as_mut_ptr()) };
    let name = raw.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Nice value of this thread only; on Linux it belongs to the thread.
pub fn set_nice(nice: i32) -> Result<()> {
    let thread = thread_id().unsigned_abs();
    // SAFETY: no pointers.
    retry(|| unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, nice) }).map(drop)
}

/// That of this thread.
pub fn nice() -> i32 {
    let thread = thread_id().unsigned_abs();
    // SAFETY: no pointers. Of a thread of our own the kernel tells it, so -1 is a nice value here.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, thread) }
}

/// SCHED_RR for this thread, or the normal policy for priority 0. What it forks or spawns starts at
/// normal priority again: a host's child must not inherit it.
pub fn set_rt_priority(priority: i32) -> Result<()> {
    // SAFETY: all zeroes is a valid sched_param (some systems have more fields than one).
    let mut param: libc::sched_param = unsafe { core::mem::zeroed() };
    param.sched_priority = priority;
    let policy = if priority > 0 {
        libc::SCHED_RR
    } else {
        libc::SCHED_OTHER
    };
    // The flag stays at a return to normal: clearing it would need the privilege (sched(7)).
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `param` is valid over the call; 0 is the calling thread.
    retry(|| unsafe { libc::sched_setscheduler(0, policy, &raw const param) }).map(drop)
}

/// How many descriptors this process may have open (the soft limit).
pub fn fd_limit() -> u64 {
    // What POSIX promises every process. Unlimited is the largest number.
    soft_limit(libc::RLIMIT_NOFILE).unwrap_or(20)
}

/// The largest file that this process may make, in bytes.
pub fn file_limit() -> u64 {
    soft_limit(libc::RLIMIT_FSIZE).unwrap_or(libc::RLIM_INFINITY)
}

/// The stack that a new thread of this process gets by default, in bytes; 0: no limit is set.
pub fn stack_limit() -> usize {
    match soft_limit(libc::RLIMIT_STACK) {
        Some(bytes) if bytes != libc::RLIM_INFINITY => usize::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}

fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid to write.
    let known = retry(|| unsafe { libc::getrlimit(resource, &raw mut limit) }).is_ok();
    known.then_some(limit.rlim_cur)
}

/// CPUs this process may use (affinity and cgroup quota count), at least 1. Reads files the first
/// time: for set-up only.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Runs `f` with all signals blocked in this thread, then restores the mask, also when `f` panics.
/// Threads spawned in `f` inherit the blocked mask, so the host's handlers never run on ours.
pub fn with_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all`; pthread_sigmask reads it and initialises `old`. Neither
    // can fail: the pointers are valid and SIG_SETMASK is known.
    let _restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        RestoreMask(old.assume_init())
    };
    f()
}

struct RestoreMask(libc::sigset_t);

impl Drop for RestoreMask {
    fn drop(&mut self) {
        // SAFETY: the mask is initialised; no old one is asked for.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, core::ptr::null_mut())
        };
    }
}

/// errno of this thread. A library must leave the host's untouched: get before, set after.
pub fn errno_get() -> i32 {
    // SAFETY: the pointer is this thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}

pub fn errno_set(errno: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno }
}
