//! A picture as text for a log or a debugger: everything, a fact a line, in sections.

use super::{Picture, Supervisor};
use std::fmt::Write;

/// Sections, as bits.
pub mod section {
    pub const STATS: u32 = 1;
    pub const WORKERS: u32 = 2;
    pub const PARTICIPANTS: u32 = 4;
    pub const LISTENERS: u32 = 8;
    pub const CONNECTIONS: u32 = 16;
    pub const BLACKLIST: u32 = 32;
    pub const SETTINGS: u32 = 64;
    pub const ALL: u32 = 127;
}

/// `what`: bits of `section`.
pub fn render(picture: &Picture, what: u32) -> String {
    let mut out = String::new();
    // A String takes everything.
    let _ = write(&mut out, picture, what);
    out
}

fn write(out: &mut String, picture: &Picture, what: u32) -> std::fmt::Result {
    let wants = |section| what & section != 0;
    if wants(section::STATS) {
        writeln!(out, "[instance]")?;
        writeln!(out, "version {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "uptime_ms {}", picture.up_ms)?;
        match picture.supervisor {
            Supervisor::None => writeln!(out, "supervisor none")?,
            Supervisor::Serves(pid) => writeln!(out, "supervisor {pid}")?,
            Supervisor::Gone => writeln!(out, "supervisor gone")?,
        }
        writeln!(out, "stopping {}", u8::from(picture.stopping))?;
        for figure in picture.stats.figures() {
            writeln!(out, "{} {}", figure.name, figure.value)?;
        }
        for (reason, count) in picture.stats.frequent_reasons() {
            writeln!(out, "closed {count} {}", reason.text())?;
        }
    }
    if wants(section::WORKERS) {
        writeln!(out, "[workers]")?;
        for worker in &picture.workers {
            writeln!(
                out,
                "{} {} pid {} held {} busy_ms {} lends {} messages {}",
                worker.number,
                worker.state(),
                worker.pid,
                worker.held,
                worker.busy_ms,
                worker.lends,
                worker.messages
            )?;
        }
    }
    if wants(section::PARTICIPANTS) {
        writeln!(out, "[participants]")?;
        for one in &picture.participants {
            writeln!(
                out,
                "{} {} pid {} busy_ms {}",
                one.number, one.role, one.pid, one.busy_ms
            )?;
        }
    }
    if wants(section::LISTENERS) {
        writeln!(out, "[listeners]")?;
        for listener in &picture.listeners {
            write!(
                out,
                "{} {} {}",
                listener.number, listener.state, listener.addr
            )?;
            if listener.errno != 0 {
                write!(out, " errno {}", listener.errno)?;
            }
            writeln!(out)?;
        }
    }
    if wants(section::CONNECTIONS) {
        writeln!(out, "[connections]")?;
        for conn in &picture.connections {
            writeln!(
                out,
                "{:#x} {} {} {} {} owner {} worker {} age_ms {} idle_ms {} queued {} partial {} in {}/{} out {}/{} answers {}",
                conn.conn_id,
                if conn.outbound { "to" } else { "from" },
                conn.remote,
                conn.local,
                conn.state(),
                conn.owner_text(),
                conn.worker,
                conn.age_ms,
                conn.idle_ms,
                conn.queued_bytes,
                conn.partial_bytes,
                conn.messages_in,
                conn.bytes_in,
                conn.messages_out,
                conn.bytes_out,
                conn.pending_answers
            )?;
        }
    }
    if wants(section::BLACKLIST) {
        writeln!(out, "[blacklist]")?;
        for listed in &picture.blacklist {
            writeln!(
                out,
                "{} remaining_ms {} {}",
                listed.addr,
                listed.remaining_ms,
                listed.reason.text()
            )?;
        }
    }
    if wants(section::SETTINGS) {
        writeln!(out, "[settings]")?;
        for (key, value) in &picture.settings {
            writeln!(out, "{key} = {value}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn sections_are_those_that_were_asked_for() {
        let picture = sample::picture();
        let all = render(&picture, section::ALL);
        for part in [
            "[instance]\n",
            "\nmessages_in 1234567\n",
            "\nclosed 5 closed by the peer\n",
            "\n1 busy pid 4002 held 1 busy_ms 12 lends 3 messages 600000\n",
            "\n0 open 192.0.2.1:5060\n",
            "\n0x40000001 from 10.0.0.1:40001 192.0.2.1:5060 held owner held worker 0 ",
            "\n203.0.113.9:5060 remaining_ms 42000 connect failed\n",
            "\nsend_timeout = 10s\n",
        ] {
            assert!(all.contains(part), "{part} is not in {all}");
        }
        assert_eq!(
            render(&picture, section::SETTINGS),
            "[settings]\nsend_timeout = 10s\n"
        );
        let sum: usize = (0..7).map(|bit| render(&picture, 1 << bit).len()).sum();
        assert_eq!(sum, all.len());
    }
}
