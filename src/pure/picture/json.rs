//! A picture as one JSON object (RFC 8259). Names are those of the C structures; values that have no
//! small bound are numbers all the same: 64-bit counters, which a reader with doubles rounds above 2^53.

use super::conn::ConnInfo;
use super::{Picture, Supervisor, reason_key};
use std::fmt::Write;

/// An object or array that is being written.
struct Out(String);

impl Out {
    fn comma(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with(['{', '[', ':']) {
            self.0.push(',');
        }
    }
    fn key(&mut self, key: &str) {
        self.comma();
        quote(&mut self.0, key);
        self.0.push(':');
    }
    fn number(&mut self, key: &str, value: impl Into<i128>) {
        self.key(key);
        let _ = write!(self.0, "{}", value.into());
    }
    fn truth(&mut self, key: &str, value: bool) {
        self.key(key);
        self.0.push_str(if value { "true" } else { "false" });
    }
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        quote(&mut self.0, value);
    }
    fn shown(&mut self, key: &str, value: &impl std::fmt::Display) {
        self.text(key, &value.to_string());
    }
    fn object(&mut self, fill: impl FnOnce(&mut Out)) {
        self.comma();
        self.0.push('{');
        fill(self);
        self.0.push('}');
    }
    fn member(&mut self, key: &str, fill: impl FnOnce(&mut Out)) {
        self.key(key);
        self.object(fill);
    }
    fn array<T>(&mut self, key: &str, items: &[T], mut fill: impl FnMut(&mut Out, &T)) {
        self.key(key);
        self.0.push('[');
        for item in items {
            self.object(|out| fill(out, item));
        }
        self.0.push(']');
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// On one line, with a newline at its end.
pub fn render(picture: &Picture) -> String {
    let mut out = Out(String::new());
    out.object(|out| {
        out.text("version", env!("CARGO_PKG_VERSION"));
        out.number("uptime_ms", picture.up_ms);
        out.text(
            "supervisor",
            match picture.supervisor {
                Supervisor::None => "none",
                Supervisor::Serves(_) => "serves",
                Supervisor::Gone => "gone",
            },
        );
        out.truth("stopping", picture.stopping);
        out.member("stats", |out| {
            for figure in picture.stats.figures() {
                out.number(figure.name, figure.value);
            }
            out.number("queued_bytes_max", picture.queued_max);
            out.number("partial_bytes_max", picture.partial_max);
            out.member("closed_by_reason", |out| {
                for (number, _, count) in picture.stats.reasons() {
                    out.number(&reason_key(number), count);
                }
            });
        });
        out.array("workers", &picture.workers, |out, worker| {
            out.number("worker", worker.number);
            out.text("state", worker.state());
            out.number("pid", worker.pid);
            out.number("held", worker.held);
            out.number("busy_ms", worker.busy_ms);
            out.number("lends", worker.lends);
            out.number("messages", worker.messages);
        });
        out.array("participants", &picture.participants, |out, one| {
            out.number("number", one.number);
            out.text("role", one.role);
            out.number("pid", one.pid);
            out.number("busy_ms", one.busy_ms);
        });
        out.array("listeners", &picture.listeners, |out, listener| {
            out.number("listener", listener.number);
            out.text("state", listener.state);
            out.shown("addr", &listener.addr);
            out.number("errno", listener.errno);
        });
        out.array("connections", &picture.connections, connection);
        out.array("blacklist", &picture.blacklist, |out, listed| {
            out.shown("addr", &listed.addr);
            out.number("remaining_ms", listed.remaining_ms);
            out.text("reason", &reason_key(listed.reason as usize));
        });
        out.member("settings", |out| {
            for (key, value) in &picture.settings {
                out.text(key, value);
            }
        });
    });
    out.0.push('\n');
    out.0
}

fn connection(out: &mut Out, conn: &ConnInfo) {
    out.number("conn_id", conn.conn_id);
    out.shown("remote", &conn.remote);
    out.shown("local", &conn.local);
    out.text("state", conn.state());
    out.text("owner", conn.owner_text());
    out.number("worker", conn.worker);
    out.number("listener", conn.listener);
    for (key, value) in [
        ("outbound", conn.outbound),
        ("connecting", conn.connecting),
        ("async", conn.async_mode),
        ("closing", conn.closing),
        ("half_closed", conn.half_closed),
        ("paused", conn.paused),
        ("slowed", conn.slowed),
        ("suspect", conn.suspect),
    ] {
        out.truth(key, value);
    }
    for (key, value) in [
        ("age_ms", conn.age_ms),
        ("idle_ms", conn.idle_ms),
        ("lifetime_ms", conn.lifetime_ms),
        ("queued_bytes", conn.queued_bytes),
        ("partial_bytes", conn.partial_bytes),
        ("bytes_in", conn.bytes_in),
        ("bytes_out", conn.bytes_out),
        ("messages_in", conn.messages_in),
        ("messages_out", conn.messages_out),
        ("flow_timer_ms", conn.flow_timer_ms),
        ("pong_wait_ms", conn.pong_wait_ms),
    ] {
        out.number(key, value);
    }
    out.number("pending_answers", conn.pending_answers);
    if conn.wire_remote != conn.remote {
        out.shown("wire_remote", &conn.wire_remote);
        out.shown("wire_local", &conn.wire_local);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_a_string_cannot_have_is_escaped() {
        let mut out = String::new();
        quote(&mut out, "a\"b\\c\nd\u{1}é");
        assert_eq!(out, "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }

    #[test]
    fn members_and_elements_are_separated() {
        let mut out = Out(String::new());
        out.object(|out| {
            out.number("a", 1u32);
            out.array("b", &[1u32, 2], |out, n| out.number("n", *n));
            out.array("c", &[] as &[u32], |_, _| ());
            out.member("d", |_| ());
            out.truth("e", false);
        });
        assert_eq!(
            out.0,
            r#"{"a":1,"b":[{"n":1},{"n":2}],"c":[],"d":{},"e":false}"#
        );
    }

    #[test]
    fn a_picture_is_one_line() {
        let text = render(&sample::picture());
        assert_eq!(text.matches('\n').count(), 1);
        for part in [
            r#""messages_in":1234567,"#,
            r#""closed_by_reason":{"host":0,"peer_closed":5,"#,
            r#""state":"busy","pid":4002,"#,
            r#""remote":"10.0.0.1:40001","#,
            r#""settings":{"send_timeout":"10s"}}"#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
