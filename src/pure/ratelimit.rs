//! Rate limit for log lines: so many in an interval, the rest is counted.
//!
//! One per kind of line, owned by the role that logs; not shared. A line that is allowed carries the
//! number of those left out since the last one, so that nothing is lost without a trace.

/// Allows `per_interval` events in each interval. An interval begins with the first event after the
/// last one ended, so that a lone event is never held up.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_interval: u32,
    interval_ms: u64,
    began_ms: Option<u64>,
    allowed: u32,
    suppressed: u32,
}

impl RateLimit {
    /// `per_interval` 0 allows nothing; `interval_ms` 0 sets no limit above 0.
    pub const fn new(per_interval: u32, interval_ms: u64) -> RateLimit {
        RateLimit {
            per_interval,
            interval_ms,
            began_ms: None,
            allowed: 0,
            suppressed: 0,
        }
    }

    /// `Some` when this event may pass: how many were suppressed since the last that passed.
    pub fn allow(&mut self, now_ms: u64) -> Option<u32> {
        // A clock that went back begins a new interval: better a line too many than silence until
        // it has caught up.
        let goes_on = self
            .began_ms
            .and_then(|began_ms| now_ms.checked_sub(began_ms))
            .is_some_and(|elapsed_ms| elapsed_ms < self.interval_ms);
        if !goes_on {
            self.began_ms = Some(now_ms);
            self.allowed = 0;
        }
        if self.allowed >= self.per_interval {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.allowed = self.allowed.saturating_add(1);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::RateLimit;
    use proptest::prelude::*;

    #[test]
    fn passes_one_a_second_and_counts_the_rest() {
        let mut limit = RateLimit::new(1, 1_000);
        assert_eq!(limit.allow(5_000), Some(0));
        assert_eq!(limit.allow(5_000), None);
        assert_eq!(limit.allow(5_999), None);
        assert_eq!(limit.allow(6_000), Some(2));
        assert_eq!(limit.allow(6_001), None);
        assert_eq!(limit.allow(60_000), Some(1));
        assert_eq!(limit.allow(61_000), Some(0));
    }

    #[test]
    fn the_first_event_passes_at_any_time() {
        assert_eq!(RateLimit::new(1, 1_000).allow(0), Some(0));
        assert_eq!(RateLimit::new(1, u64::MAX).allow(u64::MAX), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_silence() {
        let mut limit = RateLimit::new(1, 1_000);
        assert_eq!(limit.allow(1_000_000), Some(0));
        assert_eq!(limit.allow(1_000_001), None);
        assert_eq!(limit.allow(10), Some(1));
        assert_eq!(limit.allow(11), None);
    }

    #[test]
    fn zero_allows_nothing_and_no_interval_limits_nothing() {
        let mut never = RateLimit::new(0, 1_000);
        assert!((0..5_000).all(|now_ms| never.allow(now_ms).is_none()));
        let mut always = RateLimit::new(1, 0);
        assert!((0..10).all(|_| always.allow(7) == Some(0)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_interval_overflows(
            per_interval in 1_u32..4,
            steps in prop::collection::vec(0_u64..400, 1..200),
        ) {
            let mut limit = RateLimit::new(per_interval, 1_000);
            let mut now_ms = 0_u64;
            let mut passed: Vec<u64> = Vec::new();
            let mut reported = 0_u64;
            let mut waiting = 0_u64;
            for step in &steps {
                now_ms += step;
                match limit.allow(now_ms) {
                    Some(suppressed) => {
                        passed.push(now_ms);
                        reported += u64::from(suppressed);
                        waiting = 0;
                    }
                    None => waiting += 1,
                }
            }
            prop_assert_eq!(passed.len() as u64 + reported + waiting, steps.len() as u64);
            // Two intervals can meet back to back, so any window of 1 s holds at most twice the limit.
            for (index, start) in passed.iter().enumerate() {
                let within = passed.iter().skip(index).take_while(|at| **at < start + 1_000).count();
                prop_assert!(within <= 2 * per_interval as usize);
            }
        }
    }
}
