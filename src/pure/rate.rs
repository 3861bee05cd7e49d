//! How many connections may come in a second: over all, and from each host.
//!
//! A bucket holds what may come at this instant; it fills evenly and never holds more than a second's
//! worth. Per host there is a table of fixed size, so that many hosts cost no more memory or time than
//! few: one that does not fit takes the place of the one in its set that came longest ago. Who did not
//! come for a second has a full bucket anyway, so the limit is exact unless more than `WAYS` hosts of
//! one set come within a second; then one of them begins anew, and is let in rather than kept out.

use super::addr::Addr;
use std::hash::{BuildHasher, RandomState};

/// Thousandths of a connection.
const ONE: u64 = 1_000;
const SETS: usize = 1_024;
const WAYS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    level: u64,
    at_ms: u64,
}

impl Bucket {
    pub fn full(rate: u32, now_ms: u64) -> Bucket {
        Bucket {
            level: u64::from(rate) * ONE,
            at_ms: now_ms,
        }
    }

    /// `rate` may be another one than last time. A clock that went back fills nothing.
    fn fill(&mut self, rate: u32, now_ms: u64) {
        let (rate, passed_ms) = (u64::from(rate), now_ms.saturating_sub(self.at_ms));
        self.level = self
            .level
            .saturating_add(passed_ms.saturating_mul(rate))
            .min(rate * ONE);
        self.at_ms = now_ms;
    }

    pub fn has_one(&mut self, rate: u32, now_ms: u64) -> bool {
        self.fill(rate, now_ms);
        self.level >= ONE
    }

    pub fn take(&mut self, rate: u32, now_ms: u64) -> bool {
        let has = self.has_one(rate, now_ms);
        if has {
            self.level -= ONE;
        }
        has
    }
}

/// The buckets of the hosts that came lately.
#[derive(Debug, Default)]
pub struct HostRates {
    /// Empty before the first use; sets of `WAYS`.
    places: Vec<(Addr, Bucket)>,
    /// Keyed: who may choose its address must not choose its set.
    keys: RandomState,
}

impl HostRates {
    /// Takes the memory for all hosts. False: there is none.
    fn ready(&mut self) -> bool {
        if self.places.is_empty() && self.places.try_reserve_exact(SETS * WAYS).is_ok() {
            self.places
                .resize(SETS * WAYS, (Addr::none(), Bucket::default()));
        }
        !self.places.is_empty()
    }

    /// `host`: what counts as one, without a port. Without memory everybody may come.
    pub fn take(&mut self, host: &Addr, rate: u32, now_ms: u64) -> bool {
        if !self.ready() {
            return true;
        }
        let set = self.keys.hash_one(host) as usize % SETS * WAYS;
        let Some(places) = self.places.get_mut(set..set + WAYS) else {
            return true;
        };
        // Its own place, else a free one (never used: at 0), else the one of longest ago.
        let best = places
            .iter_mut()
            .min_by_key(|(known, bucket)| (known != host, bucket.at_ms));
        let Some((known, bucket)) = best else {
            return true;
        };
        if known != host {
            (*known, *bucket) = (*host, Bucket::full(rate, now_ms));
        }
        bucket.take(rate, now_ms)
    }

    /// The limit is off: the memory goes.
    pub fn forget(&mut self) {
        self.places = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(n: u32) -> Addr {
        Addr::v4(n.to_be_bytes(), 0)
    }

    #[test]
    fn a_second_gives_as_many_as_the_rate_and_saves_no_more() {
        let mut bucket = Bucket::full(5, 1_000);
        assert_eq!((0..20).filter(|_| bucket.take(5, 1_000)).count(), 5);
        assert!(!bucket.take(5, 1_199));
        assert!(bucket.take(5, 1_200));
        assert!(!bucket.take(5, 1_399));
        assert_eq!((0..20).filter(|_| bucket.take(5, 90_000)).count(), 5);
        assert!(!bucket.take(5, 10), "the clock went back");
        assert!(bucket.take(5, 210));
    }

    #[test]
    fn a_new_rate_counts_at_once() {
        let mut bucket = Bucket::full(100, 1_000);
        assert_eq!((0..200).filter(|_| bucket.take(2, 1_000)).count(), 2);
        assert_eq!((0..200).filter(|_| bucket.take(100, 1_100)).count(), 10);
    }

    #[test]
    fn each_host_has_its_own() {
        let mut rates = HostRates::default();
        for _ in 0..2 {
            assert!(rates.take(&host(1), 2, 1_000));
            assert!(rates.take(&host(2), 2, 1_000));
        }
        assert!(!rates.take(&host(1), 2, 1_000));
        assert!(!rates.take(&host(2), 2, 1_000));
        assert!(rates.take(&host(3), 2, 1_000));
        rates.forget();
        assert!(rates.take(&host(1), 2, 1_000));
    }

    #[test]
    fn who_comes_again_and_again_is_not_forgotten_for_many_others() {
        let mut rates = HostRates::default();
        let mut taken = 0;
        for n in 0..100_000 {
            let now_ms = 1_000 + u64::from(n) / 100; // a second
            taken += usize::from(rates.take(&host(7), 10, now_ms));
            rates.take(&host(1_000 + n), 10, now_ms);
        }
        assert!(taken <= 21, "{taken}");
        assert_eq!(rates.places.len(), SETS * WAYS);
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_twice_the_rate(
            rate in 1_u32..20,
            steps in prop::collection::vec(0_u64..300, 1..300),
        ) {
            let mut bucket = Bucket::full(rate, 0);
            let (mut now_ms, mut taken) = (0, Vec::new());
            for step in steps {
                now_ms += step;
                if bucket.take(rate, now_ms) {
                    taken.push(now_ms);
                }
            }
            for (i, from) in taken.iter().enumerate() {
                let within = taken[i..].iter().take_while(|at| **at < from + 1_000).count();
                prop_assert!(within <= 2 * rate as usize);
            }
            let most = u64::from(rate) * (1_000 + now_ms) / 1_000;
            prop_assert!(taken.len() as u64 <= most, "{} of {most}", taken.len());
        }
    }
}
