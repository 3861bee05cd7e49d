//! The text exposition format of Prometheus, version 0.0.4. Counters end in _total, times are in seconds;
//! connections and addresses are no labels: there are too many of them.

use super::stats::Kind;
use super::{Picture, Supervisor, Worker, reason_key};
use std::fmt::Write;

/// Of the media type by which a server offers it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {}", number(value));
    }

    fn sample(&mut self, name: &str, label: &str, word: &str, value: f64) {
        let word = escaped(word);
        let _ = writeln!(self.0, "{name}{{{label}=\"{word}\"}} {}", number(value));
    }

    fn of_workers(
        &mut self,
        workers: &[Worker],
        (name, kind, help): (&str, Kind, &str),
        value: impl Fn(&Worker) -> f64,
    ) {
        self.head(name, kind, help);
        for worker in workers {
            self.sample(name, "worker", &worker.number.to_string(), value(worker));
        }
    }
}

/// Whole numbers are written whole: f64's own text has no exponent.
fn number(value: f64) -> String {
    format!("{value}")
}

fn escaped(word: &str) -> String {
    let word = word.replace('\\', "\\\\");
    word.replace('"', "\\\"").replace('\n', "\\n")
}

pub fn render(picture: &Picture) -> String {
    let mut page = Page(String::new());
    let version = env!("CARGO_PKG_VERSION");
    page.head(
        "sipwire_info",
        Kind::Gauge,
        "The library that tells this, by its version.",
    );
    page.sample("sipwire_info", "version", version, 1.0);
    let serves = matches!(picture.supervisor, Supervisor::Serves(_));
    for (name, help, value) in [
        (
            "sipwire_uptime_seconds",
            "Time since the instance was made.",
            picture.up_ms as f64 / 1_000.0,
        ),
        (
            "sipwire_up",
            "1 while a supervisor serves.",
            f64::from(u8::from(serves)),
        ),
        (
            "sipwire_queued_bytes_max",
            "The setting wq_max.",
            picture.queued_max as f64,
        ),
        (
            "sipwire_partial_bytes_max",
            "The setting partial_max.",
            picture.partial_max as f64,
        ),
    ] {
        page.one(name, Kind::Gauge, help, value);
    }
    for figure in picture.stats.figures() {
        let name = match figure.kind {
            Kind::Counter => format!("sipwire_{}_total", figure.name),
            // That end is a counter's.
            Kind::Gauge => format!("sipwire_{}", figure.name.replace("_total", "_max")),
        };
        page.one(&name, figure.kind, figure.help, figure.value as f64);
    }
    let name = "sipwire_closed_by_reason_total";
    page.head(name, Kind::Counter, "Connections closed, by reason.");
    for (number, _, count) in picture.stats.reasons() {
        page.sample(name, "reason", &reason_key(number), count as f64);
    }
    let workers = &picture.workers;
    let running = |worker: &Worker| f64::from(u8::from(worker.pid != 0));
    page.of_workers(
        workers,
        ("sipwire_worker_running", Kind::Gauge, "1 while it runs."),
        running,
    );
    page.of_workers(
        workers,
        (
            "sipwire_worker_stalled",
            Kind::Gauge,
            "1 while it is in one callback for longer than worker_stall.",
        ),
        |worker| f64::from(u8::from(worker.stalled)),
    );
    page.of_workers(
        workers,
        (
            "sipwire_worker_busy_seconds",
            Kind::Gauge,
            "How long the callback that runs has been running, 0: none runs.",
        ),
        |worker| worker.busy_ms as f64 / 1_000.0,
    );
    page.of_workers(
        workers,
        (
            "sipwire_worker_held",
            Kind::Gauge,
            "Connections that it holds.",
        ),
        |worker| worker.held as f64,
    );
    page.of_workers(
        workers,
        (
            "sipwire_worker_lends_total",
            Kind::Counter,
            "Connections handed to it.",
        ),
        |worker| worker.lends as f64,
    );
    page.of_workers(
        workers,
        (
            "sipwire_worker_messages_total",
            Kind::Counter,
            "Messages that it delivered.",
        ),
        |worker| worker.messages as f64,
    );
    page.0
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use std::collections::HashMap;

    fn name_is_valid(name: &str) -> bool {
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    }

    #[test]
    fn every_line_is_of_the_format() {
        let text = render(&sample::picture());
        assert!(text.ends_with('\n'));
        let mut types = HashMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => assert!(name_is_valid(name) && !help.is_empty()),
                ["#", "TYPE", name, kind] => {
                    assert!(types.insert(name, kind).is_none(), "{name} twice");
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                }
                [sample, value] => {
                    let name = sample.split('{').next().unwrap();
                    assert!(types.contains_key(name), "{line}");
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                }
                _ => panic!("{line}"),
            }
        }
        for wanted in [
            "sipwire_messages_in_total 1234567\n",
            "sipwire_queued_bytes 12345\n",
            "sipwire_closed_by_reason_total{reason=\"peer_closed\"} 5\n",
            "sipwire_worker_busy_seconds{worker=\"1\"} 0.012\n",
            "sipwire_uptime_seconds 754\n",
            "sipwire_up 1\n",
        ] {
            assert!(text.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn what_a_label_cannot_have_is_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        let mut page = Page(String::new());
        page.head("x", Kind::Gauge, "one\nof \\ two");
        assert_eq!(page.0, "# HELP x one\\nof \\\\ two\n# TYPE x gauge\n");
    }

    #[test]
    fn the_largest_number_is_written_whole() {
        assert_eq!(number(u64::MAX as f64), "18446744073709552000");
    }
}
