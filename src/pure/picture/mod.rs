//! What an instance looks like at a moment, as plain data, and the texts made of it: for a screen, for a
//! log, as JSON, for Prometheus. Not one moment's in the strict sense: each value is true for some
//! instant of the look, and what comes from a segment that was scribbled on may be anything.

pub mod conn;
pub mod dump;
pub mod json;
pub mod prometheus;
pub mod rates;
pub mod screen;
pub mod stats;
pub mod units;

use self::conn::ConnInfo;
use self::stats::Stats;
use super::addr::Addr;
use super::reason::{REASON_COUNT, Reason};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Monotonic, when it was taken.
    pub now_ms: u64,
    /// Since the instance was made.
    pub up_ms: u64,
    pub supervisor: Supervisor,
    /// sipwire_stop was called.
    pub stopping: bool,
    pub stats: Stats,
    /// Bounds of `queued_bytes` and `partial_bytes`.
    pub queued_max: u64,
    pub partial_max: u64,
    pub workers: Vec<Worker>,
    pub participants: Vec<Participant>,
    pub listeners: Vec<Listener>,
    pub connections: Vec<ConnInfo>,
    pub blacklist: Vec<Listed>,
    pub settings: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervisor {
    /// There never was one.
    #[default]
    None,
    Serves(u32),
    Gone,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    pub number: u32,
    /// 0: it does not run.
    pub pid: u32,
    pub stalled: bool,
    pub held: u64,
    pub lends: u64,
    pub messages: u64,
    /// How long it has been in the callback that runs, 0: in none.
    pub busy_ms: u64,
}

impl Worker {
    pub fn state(&self) -> &'static str {
        match self {
            Worker { pid: 0, .. } => "absent",
            Worker { stalled: true, .. } => "stalled",
            Worker { busy_ms: 1.., .. } => "busy",
            _ => "ready",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub number: u32,
    pub role: &'static str,
    pub pid: u32,
    pub busy_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub number: u32,
    pub state: &'static str,
    pub addr: Addr,
    /// Of `state` "failed".
    pub errno: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub addr: Addr,
    pub remaining_ms: u64,
    pub reason: Reason,
}

/// Name of a reason for machines: as in the C header, in small letters.
pub fn reason_key(number: usize) -> String {
    let name = format!("{:?}", Reason::from_number(number as u32));
    let mut key = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !key.is_empty() {
            key.push('_');
        }
        key.push(letter.to_ascii_lowercase());
    }
    key
}

impl Stats {
    /// Reasons for which connections ended, with how many: those that are known, 0 included.
    pub fn reasons(&self) -> impl Iterator<Item = (usize, Reason, u64)> {
        let counts = self.closed_by_reason;
        (1..REASON_COUNT)
            .map(|number| (number, Reason::from_number(number as u32)))
            .filter(|&(number, reason)| reason as usize == number)
            .map(move |(number, reason)| (number, reason, counts.get(number).copied().unwrap_or(0)))
    }

    /// Those that occurred, the most frequent first.
    pub fn frequent_reasons(&self) -> Vec<(Reason, u64)> {
        let mut found: Vec<_> = self
            .reasons()
            .filter(|&(_, _, count)| count > 0)
            .map(|(_, reason, count)| (reason, count))
            .collect();
        found.sort_by_key(|&(_, count)| core::cmp::Reverse(count));
        found
    }
}

#[cfg(test)]
pub mod sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_named_as_in_the_header() {
        assert_eq!(reason_key(2), "peer_closed");
        assert_eq!(reason_key(11), "not_sip");
        assert_eq!(reason_key(22), "io_error");
    }

    #[test]
    fn reasons_that_occurred_come_by_number() {
        let mut stats = Stats::default();
        stats.closed_by_reason[2] = 3;
        stats.closed_by_reason[5] = 9;
        let frequent = stats.frequent_reasons();
        assert_eq!(
            frequent,
            [(Reason::SendTimeout, 9), (Reason::PeerClosed, 3)]
        );
        assert_eq!(stats.reasons().count(), 29);
    }
}
