//! What was measured in one run.

use hdrhistogram::Histogram;
use std::time::Duration;

pub struct Measured {
    pub answers: u64,
    pub bytes: u64,
    pub connections: u64,
    /// Connections that the server ended, or that could not be opened.
    pub broken: u64,
    pub took: Duration,
    latency_ns: Histogram<u64>,
}

impl Measured {
    pub fn new() -> Measured {
        // To 100 s, with three digits.
        let latency_ns =
            Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("fixed bounds are right");
        Measured {
            answers: 0,
            bytes: 0,
            connections: 0,
            broken: 0,
            took: Duration::ZERO,
            latency_ns,
        }
    }

    pub fn answered(&mut self, latency: Duration) {
        self.answers += 1;
        self.latency_ns.saturating_record(latency.as_nanos() as u64);
    }

    pub fn to_json(&self) -> String {
        let at = |q: f64| self.latency_ns.value_at_quantile(q) as f64 / 1000.0;
        format!(
            "{{\"answers\": {}, \"bytes\": {}, \"connections\": {}, \"broken\": {}, \"seconds\": {:.6}, \
             \"latency_us\": {{\"p50\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}, \"max\": {:.1}}}}}",
            self.answers,
            self.bytes,
            self.connections,
            self.broken,
            self.took.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(0.999),
            self.latency_ns.max() as f64 / 1000.0
        )
    }
}
