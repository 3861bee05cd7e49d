//! What happened between two looks, by the second. Counters of another instance, or of a segment that was
//! scribbled on, may be lower than before: then nothing happened.

use super::Picture;
use std::collections::HashMap;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub messages_in: f64,
    pub messages_out: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
    pub accepted: f64,
    pub closed: f64,
    /// Messages of each worker.
    pub workers: Vec<f64>,
    /// Bytes of each connection, both ways, by its id.
    pub connections: HashMap<u32, f64>,
}

impl Rates {
    /// `None`: no time passed.
    pub fn between(before: &Picture, after: &Picture) -> Option<Rates> {
        let ms = after
            .now_ms
            .checked_sub(before.now_ms)
            .filter(|&ms| ms > 0)?;
        let rate = |old: u64, new: u64| new.saturating_sub(old) as f64 * 1_000.0 / ms as f64;
        let (old, new) = (&before.stats, &after.stats);
        let bytes: HashMap<u32, u64> = before
            .connections
            .iter()
            .map(|conn| (conn.conn_id, conn.bytes()))
            .collect();
        Some(Rates {
            messages_in: rate(old.messages_in, new.messages_in),
            messages_out: rate(old.messages_out, new.messages_out),
            bytes_in: rate(old.bytes_in, new.bytes_in),
            bytes_out: rate(old.bytes_out, new.bytes_out),
            accepted: rate(old.accepted, new.accepted),
            closed: rate(old.closed, new.closed),
            workers: before
                .workers
                .iter()
                .zip(&after.workers)
                .map(|(old, new)| rate(old.messages, new.messages))
                .collect(),
            connections: after
                .connections
                .iter()
                .map(|conn| {
                    // One that is new has had all its traffic since.
                    let old = bytes.get(&conn.conn_id).copied().unwrap_or(0);
                    (conn.conn_id, rate(old, conn.bytes()))
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn rates_are_by_the_second_and_never_negative() {
        let before = sample::picture();
        let mut after = before.clone();
        assert_eq!(Rates::between(&before, &after), None);
        after.now_ms += 500;
        after.stats.messages_in += 10;
        after.stats.messages_out = 0;
        after.workers[0].messages += 1;
        after.connections[0].bytes_in += 100;
        let rates = Rates::between(&before, &after).unwrap();
        assert_eq!((rates.messages_in, rates.messages_out), (20.0, 0.0));
        assert_eq!(rates.workers[0], 2.0);
        let id = after.connections[0].conn_id;
        assert_eq!(rates.connections[&id], 200.0);
        assert_eq!(Rates::between(&after, &before), None);
    }
}
