//! Looking at an instance through its segment, also at another process's: it only reads, waits for
//! nobody, and takes whatever it finds.

use crate::pure::addr::Addr;
use crate::pure::picture::stats::Stats;
use crate::pure::picture::{Listed, Listener, Participant, Picture, Supervisor, Worker};
use crate::pure::reason::Reason;
use crate::pure::settings::Settings;
use crate::pure::words::OwnerState;
use crate::roles::info;
use crate::shm::counters::Counter;
use crate::shm::participants::{Record, SUPERVISOR};
use crate::sync::Word;
use crate::sys::clock::monotonic_ms;
use crate::table::blacklist;
use crate::table::listeners::State;
use crate::table::segment::Segment;

/// What costs more than a glance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    pub connections: bool,
    pub settings: bool,
}

/// `made_with`: the settings that the instance was made with, if the caller knows them: those that cannot
/// change are not in the segment, and are not shown without.
pub fn take(segment: &Segment, made_with: Option<&Settings>, parts: Parts) -> Picture {
    let now_ms = monotonic_ms();
    let header = segment.header();
    let mut live = made_with.cloned().unwrap_or_else(|| Settings::new(1));
    segment.apply_live(&mut live);
    let supervisor = if header.supervisor_gone() {
        Supervisor::Gone
    } else {
        match header.claim_pid() {
            0 => Supervisor::None,
            pid => Supervisor::Serves(pid),
        }
    };
    let mut connections = Vec::new();
    if parts.connections {
        for (index, slot) in segment.touched_slots().iter().enumerate() {
            let owner = slot.owner();
            if owner.state() == OwnerState::Free {
                continue;
            }
            let place = (index as u32, slot, owner.generation());
            let seen = info::read(segment, &live, place, now_ms);
            // Of another connection by now: the next look shows it.
            if slot.owner().generation() == owner.generation() {
                connections.push(seen);
            }
        }
    }
    let mut listed = Vec::new();
    let entries = segment.blacklist();
    blacklist::list(entries, now_ms, &mut 0, &mut listed, entries.len());
    Picture {
        now_ms,
        up_ms: now_ms.saturating_sub(header.made_ms.load_sync()),
        supervisor,
        stopping: header.stopping.load_sync() != 0,
        stats: stats(segment),
        queued_max: live.wq_max_bytes,
        partial_max: header.partial_max.load_sync(),
        workers: (0..segment.workers().len())
            .filter_map(|index| worker(segment, index))
            .collect(),
        participants: participants(segment, now_ms),
        listeners: listeners(segment),
        connections,
        blacklist: listed
            .into_iter()
            .map(|(addr, remaining_ms, reason)| Listed {
                addr,
                remaining_ms,
                reason: Reason::from_number(reason),
            })
            .collect(),
        settings: if parts.settings {
            Settings::keys()
                .filter(|row| row.live || made_with.is_some())
                .map(|row| (row.key, live.get(row.key).unwrap_or_default()))
                .collect()
        } else {
            Vec::new()
        },
    }
}

pub fn stats(segment: &Segment) -> Stats {
    let header = segment.header();
    let gauges = &header.gauges;
    let total = |counter| segment.total(counter);
    let pools = [segment.blocks(), segment.partial_blocks()];
    let held: u64 = segment
        .workers()
        .iter()
        .map(|w| u64::from(w.held.get()))
        .sum();
    let running = segment
        .participants()
        .active()
        .filter(|(_, record)| record.own.callback_since_ms.load_sync() != 0)
        .count() as u64;
    let connections = gauges.connections.get();
    let entries = blacklist::count(segment.blacklist(), monotonic_ms());
    Stats {
        connections,
        connections_idle: connections.saturating_sub(held),
        queued_bytes: segment.participants().queued_bytes(),
        partial_bytes: segment.participants().partial_bytes(),
        blocks_used: pools.iter().map(|pool| pool.in_use()).sum(),
        blocks_total: pools.iter().map(|pool| pool.blocks.len() as u64).sum(),
        slots_used: gauges.slots_used.get(),
        slots_total: segment.slots().len() as u64,
        participants: segment.participants().active().count() as u64,
        workers: segment.workers().len() as u64,
        blacklist_entries: u64::from(entries),
        supervisor_pid: u64::from(header.supervisor_pid.load_sync()),
        accept_paused: gauges.accept_paused.get(),
        degraded: u64::from(header.degraded.load_sync()),
        accepted: total(Counter::Accepted),
        dialled: total(Counter::Dialled),
        connected: total(Counter::Connected),
        connect_failed: total(Counter::ConnectFailed),
        closed: total(Counter::Closed),
        refused_max_connections: total(Counter::RefusedMaxConnections),
        refused_max_connections_per_ip: total(Counter::RefusedMaxConnectionsPerIp),
        accept_pauses: total(Counter::AcceptPauses),
        handoffs: total(Counter::Handoffs),
        givebacks: total(Counter::Givebacks),
        relends: total(Counter::Relends),
        nofd_returns: total(Counter::NoFdReturns),
        fds_passed: total(Counter::FdsPassed),
        messages_in: total(Counter::MessagesIn),
        bytes_in: total(Counter::BytesIn),
        messages_out: total(Counter::MessagesOut),
        bytes_out: total(Counter::BytesOut),
        pings: total(Counter::Pings),
        error_answers: total(Counter::ErrorAnswers),
        sends_direct: total(Counter::SendsDirect),
        sends_queued: total(Counter::SendsQueued),
        sends_refused: total(Counter::SendsRefused),
        async_started: total(Counter::AsyncStarted),
        async_ended: total(Counter::AsyncEnded),
        failures_reported: total(Counter::FailuresReported),
        failures_repeated: total(Counter::FailuresRepeated),
        messages_lost_report: total(Counter::MessagesLostReport),
        blacklist_added: total(Counter::BlacklistAdded),
        blacklist_refused: total(Counter::BlacklistRefused),
        participants_died: total(Counter::ParticipantsDied),
        log_dropped: segment.log().dropped(),
        callbacks_running: running,
        closed_by_reason: core::array::from_fn(|i| {
            gauges.closed_by_reason.get(i).map_or(0, Word::get)
        }),
        pings_sent: total(Counter::PingsSent),
        pongs_heard: total(Counter::PongsHeard),
        flows_failed: total(Counter::FlowsFailed),
        refused_proxy: total(Counter::RefusedProxy),
        proxy_waiting: gauges.proxy_waiting.get(),
        refused_denied: total(Counter::RefusedDenied),
        refused_not_allowed: total(Counter::RefusedNotAllowed),
        refused_rate: total(Counter::RefusedRate),
        refused_rate_per_ip: total(Counter::RefusedRatePerIp),
        draining: u64::from(header.drain_ms.load_sync() != 0),
        drain_cut: total(Counter::DrainCut),
        aliases_added: total(Counter::AliasesAdded),
        aliases_refused: total(Counter::AliasesRefused),
    }
}

/// `None`: there is no worker of this number. One that does not run has pid 0.
pub fn worker(segment: &Segment, index: usize) -> Option<Worker> {
    let place = segment.workers().get(index)?;
    let record = segment
        .participants()
        .get(place.participant.load_sync() as u16);
    Some(Worker {
        number: index as u32,
        pid: record.map_or(0, |record| record.tenant().pid()),
        stalled: place.stalled.get() != 0,
        held: u64::from(place.held.get()),
        lends: place.lends.get(),
        messages: place.messages.get(),
        busy_ms: record.map_or(0, |record| busy_ms(record, monotonic_ms())),
    })
}

/// How long it has been in the callback that runs: 0 only when none does.
fn busy_ms(record: &Record, now_ms: u64) -> u64 {
    match record.own.callback_since_ms.load_sync() {
        0 => 0,
        since_ms => now_ms.saturating_sub(since_ms).max(1),
    }
}

fn participants(segment: &Segment, now_ms: u64) -> Vec<Participant> {
    segment
        .participants()
        .active()
        .map(|(holder, record)| Participant {
            number: u32::from(holder),
            role: match (holder, record.worker.get()) {
                (SUPERVISOR, _) => "supervisor",
                (_, 0) => "sender",
                _ => "worker",
            },
            pid: record.tenant().pid(),
            busy_ms: busy_ms(record, now_ms),
        })
        .collect()
}

fn listeners(segment: &Segment) -> Vec<Listener> {
    let records = segment.listeners().iter().enumerate();
    records
        .filter_map(|(number, record)| {
            let bound = record.bound();
            let bound_or_wanted = |bound: Addr| {
                if bound.is_none() {
                    record.wanted()
                } else {
                    bound
                }
            };
            let (state, errno) = match record.state() {
                State::Free | State::Asking(_) | State::Closed => return None,
                State::Wanted => ("wanted", 0),
                State::Open => ("open", 0),
                State::Failed(errno) => ("failed", errno),
                State::Unwanted => ("closing", 0),
            };
            Some(Listener {
                number: number as u32,
                state,
                addr: bound_or_wanted(bound),
                errno,
            })
        })
        .collect()
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use crate::pure::picture::screen::{View, render};
    use crate::pure::picture::{dump, json, prometheus};
    use proptest::prelude::*;

    const ALL: Parts = Parts {
        connections: true,
        settings: true,
    };

    fn small() -> (Settings, Segment) {
        let mut settings = Settings::new(2);
        settings.set("max_connections", "64").unwrap();
        settings.set("wq_max", "70000").unwrap();
        settings.set("partial_max", "70000").unwrap();
        let listen = [Addr::v4([127, 0, 0, 1], 5060)];
        let segment = Segment::new(&settings, &listen, true).unwrap();
        (settings, segment)
    }

    #[test]
    fn a_new_instance_is_seen_as_it_is() {
        let (settings, segment) = small();
        let picture = take(&segment, Some(&settings), ALL);
        assert_eq!(picture.supervisor, Supervisor::None);
        assert!(picture.connections.is_empty() && picture.blacklist.is_empty());
        assert_eq!(picture.stats.slots_total, 64);
        assert_eq!(picture.workers.len(), 2);
        assert_eq!(picture.workers[1].state(), "absent");
        assert_eq!(picture.listeners.len(), 1);
        assert_eq!(picture.listeners[0].state, "open");
        assert_eq!(picture.queued_max, 70_000);
        let holds = |pair: &(&str, String)| *pair == ("max_connections", "64".to_string());
        assert!(picture.settings.iter().any(holds));
        let without = take(&segment, None, ALL);
        assert!(!without.settings.iter().any(holds));
        assert_eq!((without.queued_max, without.partial_max), (70_000, 70_000));
        assert!(segment.header().claim(0, 77).is_some());
        let picture = take(&segment, None, Parts::default());
        assert_eq!(picture.supervisor, Supervisor::Serves(77));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// P12, and a server that writes while we look: whatever is in the segment, a look ends, and so
        /// does what is made of it. It sets nothing right, which from outside would be its end.
        #[test]
        fn what_was_scribbled_on_is_looked_at_all_the_same(seed: u64, alike: bool) {
            let (settings, segment) = small();
            let outside = segment.from_outside().unwrap();
            let mut state = seed | 1;
            segment.scribble(|| {
                if !alike {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                }
                state
            });
            let before = take(&outside, Some(&settings), ALL);
            let picture = take(&outside, Some(&settings), ALL);
            let rates = crate::pure::picture::rates::Rates::between(&before, &picture);
            let view = View { width: 80, height: 24, keys: true, ..View::default() };
            prop_assert_eq!(render(&picture, rates.as_ref(), &view).lines.len(), 24);
            prop_assert!(json::render(&picture).ends_with('\n'));
            prop_assert!(!prometheus::render(&picture).is_empty());
            prop_assert!(!dump::render(&picture, dump::section::ALL).is_empty());
        }
    }

    #[test]
    fn all_ones_are_looked_at_too() {
        let (settings, segment) = small();
        segment.scribble(|| u64::MAX);
        assert!(!json::render(&take(&segment, Some(&settings), ALL)).is_empty());
    }
}
