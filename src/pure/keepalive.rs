//! Keep-alive of one connection (RFC 5626 4.4.1 and 5.4, RFC 6223): what the host asked for, and when
//! our next ping is due.
//!
//! We ping: the pong ends the wait, and nothing else does. A message shows that the peer can reach us,
//! not that it reads what we send. There is at most one ping that waits for its pong, so that
//! two pongs never come together and look like a ping.
//! The peer pings: anything that arrives shows the flow, since RFC 5626 5.4 is about silence.

/// The longest time that fits, in milliseconds: four hours.
pub const LONGEST_MS: u32 = 4 * 3_600_000;
/// The shortest: the supervisor's tick.
pub const SHORTEST_MS: u32 = 10;
/// RFC 5626 4.4.1, for connections over TCP without Flow-Timer.
const DEFAULT_MS: (u64, u64) = (95_000, 120_000);

/// The time between our pings, as the host gives it.
#[deny(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interval {
    /// None are sent.
    #[default]
    Off,
    /// The RFC's own, where the peer named none.
    Default,
    /// At most this, in milliseconds.
    Ms(u32),
}

#[deny(missing_docs)]
impl Interval {
    /// The number of the C API for `Default`.
    pub const DEFAULT: i64 = -1;

    /// `None`: neither 0, nor `DEFAULT`, nor a time in range.
    pub fn from_number(number: i64) -> Option<Interval> {
        match number {
            0 => Some(Interval::Off),
            Interval::DEFAULT => Some(Interval::Default),
            _ => Some(Interval::Ms(time_in_range(number)?)),
        }
    }

    /// The number of the C API.
    pub fn number(self) -> i64 {
        match self {
            Interval::Off => 0,
            Interval::Default => Interval::DEFAULT,
            Interval::Ms(ms) => i64::from(ms),
        }
    }

    /// From one ping to the next: between 80 % and 100 % of the interval, as `draw`, any number, has it.
    pub fn wait_ms(self, draw: u64) -> u64 {
        let (least, most) = match self {
            Interval::Off => return u64::MAX,
            Interval::Default => DEFAULT_MS,
            Interval::Ms(ms) => ((u64::from(ms) * 4).div_ceil(5), u64::from(ms)),
        };
        least + draw % (most - least + 1)
    }
}

/// A time that the host gives in milliseconds.
pub fn time_in_range(number: i64) -> Option<u32> {
    let ms = u32::try_from(number).ok()?;
    (SHORTEST_MS..=LONGEST_MS).contains(&ms).then_some(ms)
}

/// What the host asked for on one connection:
/// low bits of the generation (16) | interval in ms (24, all ones: the default) | flow timer in ms (24).
///
/// The generation is in the word because who sets it pins nothing: without it, one that was
/// stopped in between would set it on the slot's next connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed(pub u64);

const TIME_MASK: u64 = 0xFF_FFFF;
const _: () = assert!((LONGEST_MS as u64) < TIME_MASK);

impl Agreed {
    pub fn new(generation: u32, interval: Interval) -> Agreed {
        Agreed(u64::from(generation & 0xFFFF) << 48).with_interval(interval)
    }
    pub fn is_of(self, generation: u32) -> bool {
        self.0 >> 48 == u64::from(generation & 0xFFFF)
    }
    pub fn interval(self) -> Interval {
        match self.0 >> 24 & TIME_MASK {
            0 => Interval::Off,
            TIME_MASK => Interval::Default,
            ms => Interval::Ms(ms as u32),
        }
    }
    /// 0: none.
    pub fn flow_timer_ms(self) -> u64 {
        self.0 & TIME_MASK
    }
    pub fn with_interval(self, interval: Interval) -> Agreed {
        let field = match interval {
            Interval::Off => 0,
            Interval::Default => TIME_MASK,
            Interval::Ms(ms) => u64::from(ms.min(LONGEST_MS)),
        };
        Agreed(self.0 & !(TIME_MASK << 24) | field << 24)
    }
    pub fn with_flow_timer(self, ms: u32) -> Agreed {
        Agreed(self.0 & !TIME_MASK | u64::from(ms.min(LONGEST_MS)))
    }
}

/// Pings asked and pings answered, both modulo 2^16: asked (16) | heard (16). Equal: no pong is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pongs(pub u32);

impl Pongs {
    fn asked(self) -> u32 {
        self.0 >> 16
    }
    pub fn awaited(self) -> bool {
        self.asked() != self.0 & 0xFFFF
    }
    /// One more ping, whose pong is awaited now.
    pub fn ask(self) -> Pongs {
        Pongs((self.asked() + 1) << 16 | self.asked())
    }
    /// `None`: no pong was awaited.
    pub fn hear(self) -> Option<Pongs> {
        self.awaited()
            .then(|| Pongs(self.asked() << 16 | self.asked()))
    }
}

/// The moment a 32-bit count of milliseconds means, less than 24 days from now. It may lie ahead:
/// another participant's clock was read later than ours.
pub fn moment_ms(now_ms: u64, stamp: u32) -> u64 {
    let ahead = stamp.wrapping_sub(now_ms as u32) as i32;
    now_ms.saturating_add_signed(i64::from(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_comes_after_80_to_100_percent_of_the_interval() {
        let bounds = |interval: Interval| {
            let waits = (0..1_000_000).step_by(7).map(|draw| interval.wait_ms(draw));
            let (mut least, mut most) = (u64::MAX, 0);
            for wait in waits {
                (least, most) = (least.min(wait), most.max(wait));
            }
            (least, most)
        };
        assert_eq!(bounds(Interval::Ms(30_000)), (24_000, 30_000));
        assert_eq!(bounds(Interval::Ms(10)), (8, 10));
        assert_eq!(bounds(Interval::Ms(11)), (9, 11), "never before 80 %");
        assert_eq!(bounds(Interval::Default), (95_000, 120_000));
        assert!(Interval::Ms(LONGEST_MS).wait_ms(u64::MAX) <= 14_400_000);
        assert_eq!(Interval::Off.wait_ms(5), u64::MAX);
    }

    #[test]
    fn numbers_of_the_host_are_in_range_or_refused() {
        for number in [0, -1, 10, 30_000, 14_400_000] {
            assert_eq!(
                Interval::from_number(number).map(Interval::number),
                Some(number)
            );
        }
        for number in [-2, 1, 9, 14_400_001, i64::MAX, i64::MIN, 1 << 32] {
            assert_eq!(Interval::from_number(number), None, "{number}");
        }
    }

    #[test]
    fn what_was_agreed_keeps_its_parts_apart() {
        let word = Agreed::new(0x3FF_0007, Interval::Default).with_flow_timer(LONGEST_MS);
        assert!(word.is_of(0x3FF_0007) && !word.is_of(8));
        assert_eq!(word.interval(), Interval::Default);
        assert_eq!(word.flow_timer_ms(), 14_400_000);
        let word = word
            .with_interval(Interval::Ms(LONGEST_MS))
            .with_flow_timer(0);
        assert_eq!(word.interval(), Interval::Ms(LONGEST_MS));
        assert_eq!(word.flow_timer_ms(), 0);
        assert!(word.is_of(7));
        assert_eq!(word.with_interval(Interval::Off).interval(), Interval::Off);
    }

    #[test]
    fn one_pong_ends_the_wait_for_one_ping() {
        let mut pongs = Pongs(0);
        for _ in 0..70_000 {
            assert_eq!(pongs.hear(), None);
            pongs = pongs.ask();
            assert!(pongs.awaited());
            pongs = pongs.hear().unwrap();
            assert!(!pongs.awaited());
        }
        assert!(Pongs(0xFFFF_FFFF).ask().awaited());
        // A wait that is given up by turning pings off and on again is over.
        assert_eq!(Pongs(0).ask().hear(), Some(Pongs(0x1_0001)));
    }

    #[test]
    fn a_moment_survives_the_wrap_of_32_bits_and_may_lie_ahead() {
        let now = (1u64 << 40) + 500;
        assert_eq!(moment_ms(now, (now - 800) as u32), now - 800);
        assert_eq!(moment_ms(now, (now + 3) as u32), now + 3);
        // Before the clock began.
        assert_eq!(moment_ms(7, u32::MAX - 2), 0);
    }
}
