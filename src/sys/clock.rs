//! Clocks. Both are answered by the vDSO without entering the kernel, so they may be read once per
//! turn without thought.

/// CLOCK_MONOTONIC: the same in every process of the machine, so deadlines in the segment compare.
pub fn monotonic_ms() -> u64 {
    monotonic_us() / 1_000
}

pub fn monotonic_us() -> u64 {
    read_us(libc::CLOCK_MONOTONIC)
}

/// Milliseconds since 1970, for people and logs only: it jumps when the clock is set.
pub fn realtime_ms() -> u64 {
    realtime_us() / 1_000
}

/// Microseconds since 1970, for what is written down beside a message.
pub fn realtime_us() -> u64 {
    read_us(libc::CLOCK_REALTIME)
}

fn read_us(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec to write. The call fails only for an unknown clock or a
    // bad pointer; neither can happen, and zero would be the answer.
    unsafe { libc::clock_gettime(clock, &mut now) };
    // A clock set before 1970 reads as 0.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let micros = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000;
    seconds.saturating_mul(1_000_000).saturating_add(micros)
}

/// Lets this thread rest. Only for a participant that waits for its place, before it takes part.
pub fn pause_ms(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}
