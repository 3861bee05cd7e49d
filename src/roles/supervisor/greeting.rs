//! The waiting room of listeners that speak PROXY: accepted connections whose header is not whole yet.
//! They have no slot, so nobody else knows of them; a mute client costs a descriptor and delays nobody.
//!
//! The header is peeked at: what of it is here stays in the kernel until it is whole, and then exactly its
//! bytes are taken. So nothing is kept for a guest, and its stream begins behind the header.
//!
//! Invariant: GUEST-1 guests and connections together are never more than `max_connections` by an accept;
//! for a new connection the guest that has waited longest makes room.

use super::accept::Arrival;
use super::{LOG_WARNING, Supervisor, TOKEN_GUEST};
use crate::pure::networks::Networks;
use crate::pure::proxy::{self, Moment, Verdict};
use crate::pure::ratelimit::RateLimit;
use crate::pure::reason::Reason;
use crate::pure::settings::ProxyProtocol;
use crate::roles::context::Context;
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::sys::poll::Ready;
use crate::sys::sock;
use std::collections::BTreeMap;

/// Guests whose time is over that are seen to in one turn.
const LATE_PER_TURN: usize = 1024;

struct Guest {
    arrival: Arrival,
    since_ms: u64,
}

/// Those who wait, the oldest first: each has the next number.
pub(super) struct Guests {
    waiting: BTreeMap<u64, Guest>,
    next: u64,
    log: RateLimit,
}

impl Guests {
    pub(super) fn new() -> Guests {
        Guests {
            waiting: BTreeMap::new(),
            next: 0,
            log: RateLimit::new(1, 1000),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest came.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.waiting
            .first_key_value()
            .map(|(_, guest)| guest.since_ms)
    }
}

impl Supervisor {
    /// A connection that was just accepted; its listener may speak PROXY.
    pub(super) fn greet(&mut self, arrival: Arrival) {
        let context = self.context.clone();
        let (mode, networks) = spoken(&context, arrival.listener);
        let peer = &arrival.wire.source;
        // The header often comes with the connection: then nothing waits.
        let verdict = proxy::on_accept(mode, networks, peer)
            .unwrap_or_else(|| look(mode, &arrival, Moment::Open));
        if verdict != Verdict::Wait {
            self.settle(arrival, verdict);
            return;
        }
        let number = self.guests.next;
        let token = TOKEN_GUEST | number;
        if self.poll.add_edge(arrival.fd.as_raw(), token).is_ok() {
            self.guests.next += 1;
            let since_ms = self.now_ms;
            let guest = Guest { arrival, since_ms };
            self.guests.waiting.insert(number, guest);
            self.show_guests();
        }
    }

    pub(super) fn on_guest_event(&mut self, number: u64, event: &Ready) {
        let ended = event.read_closed || event.hangup_or_error;
        let moment = if ended { Moment::Ended } else { Moment::Open };
        self.look_at(number, moment);
    }

    /// From the timers: `proxy_timeout` of the oldest is over.
    pub(super) fn serve_guests(&mut self) {
        for _ in 0..LATE_PER_TURN {
            let Some((&number, guest)) = self.guests.waiting.first_key_value() else {
                return;
            };
            if self.now_ms < guest.since_ms + self.live.proxy_timeout_ms {
                return;
            }
            self.look_at(number, Moment::Late);
        }
    }

    fn look_at(&mut self, number: u64, moment: Moment) {
        let context = self.context.clone();
        let Some(guest) = self.guests.waiting.get(&number) else {
            return;
        };
        let (mode, _) = spoken(&context, guest.arrival.listener);
        let verdict = look(mode, &guest.arrival, moment);
        if verdict != Verdict::Wait
            && let Some(arrival) = self.dismiss(number)
        {
            self.settle(arrival, verdict);
        }
    }

    /// Takes a guest out of the room.
    fn dismiss(&mut self, number: u64) -> Option<Arrival> {
        let guest = self.guests.waiting.remove(&number)?;
        self.show_guests();
        // Before it is closed or registered as a connection: a duplicate in a forked child would keep the
        // registration.
        let _ = self.poll.remove(guest.arrival.fd.as_raw());
        Some(guest.arrival)
    }

    fn settle(&mut self, arrival: Arrival, verdict: Verdict) {
        match verdict {
            Verdict::Serve { header, pair } => {
                if header > 0 {
                    let mut place = [0; proxy::LONGEST];
                    let place = place.get_mut(..header).unwrap_or_default();
                    sock::discard(arrival.fd.as_raw(), place);
                }
                self.arrived(arrival, pair, header);
            }
            Verdict::Refuse(why) => self.refuse(arrival, why),
            Verdict::Wait | Verdict::Gone => self.send_away(arrival),
        }
    }

    fn refuse(&mut self, arrival: Arrival, why: &str) {
        self.count(Counter::RefusedProxy, 1);
        let ended = &self.context.segment.header().gauges.closed_by_reason;
        if let Some(cell) = ended.get(Reason::Proxy as usize) {
            cell.bump(1);
        }
        if let Some(suppressed) = self.guests.log.allow(self.now_ms) {
            let remote = arrival.wire.source;
            let text = format!("refused a connection from {remote}: PROXY header: {why}");
            self.log(LOG_WARNING, 0, suppressed, &text);
        }
        self.send_away(arrival);
    }

    /// Also for its peer if the host has forked children that hold a copy of the descriptor.
    fn send_away(&mut self, arrival: Arrival) {
        sock::shutdown_both(arrival.fd.as_raw());
        drop(arrival);
        self.an_fd_is_free();
    }

    /// The guest that has waited longest goes, so that another connection has its place. False: there is
    /// none.
    pub(super) fn dismiss_oldest(&mut self) -> bool {
        let oldest = self.guests.waiting.keys().next().copied();
        let Some(arrival) = oldest.and_then(|number| self.dismiss(number)) else {
            return false;
        };
        self.refuse(arrival, "not there, and its place is needed");
        true
    }

    /// No connections any more: also none that have not begun.
    pub(super) fn dismiss_all(&mut self) {
        while let Some((&number, _)) = self.guests.waiting.first_key_value() {
            if let Some(arrival) = self.dismiss(number) {
                self.send_away(arrival);
            }
        }
    }

    fn show_guests(&self) {
        let shown = &self.context.segment.header().gauges.proxy_waiting;
        shown.set(self.guests.count() as u64);
    }
}

/// Whether a listener speaks PROXY, and with whom. Those that are added while running have the instance's
/// settings, also with the number of one that the instance was made with.
fn spoken(context: &Context, listener: usize) -> (ProxyProtocol, &Networks) {
    let settings = &context.settings;
    let records = context.segment.listeners();
    let inherited = records.get(listener).is_some_and(|r| r.is_inherited());
    let own = context.listeners.get(listener).filter(|_| inherited);
    own.map_or(
        (settings.proxy_protocol, &settings.proxy_networks),
        |listener| (listener.proxy, &listener.proxy_networks),
    )
}

/// What the connection's bytes so far say.
fn look(mode: ProxyProtocol, arrival: &Arrival, moment: Moment) -> Verdict {
    let mut bytes = [0; proxy::LONGEST];
    let (got, moment) = match sock::peek(arrival.fd.as_raw(), &mut bytes) {
        Ok(0) => (0, Moment::Ended),
        Ok(got) => (got, moment),
        Err(errno) if errno.is_again() => (0, moment),
        // Reset: what had come is gone with it.
        Err(_) => return Verdict::Gone,
    };
    proxy::on_bytes(mode, bytes.get(..got).unwrap_or_default(), moment)
}
