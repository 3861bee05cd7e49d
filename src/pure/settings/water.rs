//! High-water and low-water of one connection's queue: how full it must be for its peer to be slowed
//! and its senders to be asked to wait, and how empty for both to go on.

use super::{SettingError, Settings};

/// Bytes of one connection's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Water {
    /// Above it the connection is slowed.
    pub high: u64,
    /// At it, or below, it goes on. Never above `high`: there would be no way back.
    pub low: u64,
}

impl Settings {
    /// As they are in force. Live settings are changed one by one, so what contradicts here is cut.
    pub fn water(&self) -> Water {
        let conn_max = self.conn_wq_max_bytes;
        let high = self
            .queue_high_bytes
            .unwrap_or(conn_max / 4 * 3)
            .min(conn_max);
        let low = self.queue_low_bytes.unwrap_or(high / 3).min(high);
        Water { high, low }
    }

    /// What is set explicitly must be reachable.
    pub(super) fn check_water(&self) -> Result<(), SettingError> {
        let in_force = self.water();
        for (key, wanted, largest, of) in [
            (
                "queue_high",
                self.queue_high_bytes,
                self.conn_wq_max_bytes,
                "conn_wq_max",
            ),
            (
                "queue_low",
                self.queue_low_bytes,
                in_force.high,
                "queue_high",
            ),
        ] {
            if wanted.is_some_and(|bytes| bytes > largest) {
                let largest = super::text::format_size(i64::try_from(largest).unwrap_or(i64::MAX));
                return Err(SettingError::BadValue {
                    key,
                    value: self.get(key)?,
                    hint: format!("above {of}; the largest is {largest}"),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new(2);
        for (key, value) in pairs {
            settings.set(key, value).unwrap();
        }
        settings
    }

    #[test]
    fn the_marks_follow_the_limit_of_the_queue() {
        let water = |pairs: &[(&str, &str)]| {
            let water = with(pairs).water();
            (water.high, water.low)
        };
        assert_eq!(water(&[]), (24_576, 8_192));
        assert_eq!(water(&[("conn_wq_max", "4k")]), (3_072, 1_024));
        assert_eq!(water(&[("queue_high", "12k")]), (12_288, 4_096));
        assert_eq!(
            water(&[("queue_high", "12k"), ("queue_low", "0")]),
            (12_288, 0)
        );
        // Whatever was stored one by one, there is a way back.
        assert_eq!(
            water(&[
                ("queue_high", "12k"),
                ("queue_low", "20k"),
                ("conn_wq_max", "1k")
            ]),
            (1_024, 1_024)
        );
    }

    #[test]
    fn marks_that_cannot_be_reached_are_refused_in_one_line() {
        let error = |pairs: &[(&str, &str)]| with(pairs).check().unwrap_err().to_string();
        assert_eq!(
            error(&[("queue_high", "64k")]),
            "queue_high = \"64k\": above conn_wq_max; the largest is 32k"
        );
        assert_eq!(
            error(&[("queue_low", "25k")]),
            "queue_low = \"25k\": above queue_high; the largest is 24k"
        );
        assert_eq!(with(&[("conn_wq_max", "1k")]).check(), Ok(()));
        assert_eq!(
            with(&[("queue_high", "32k"), ("queue_low", "32k")]).check(),
            Ok(())
        );
    }
}
