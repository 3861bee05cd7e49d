//! The supervisor: accepts and owns connections, lends them to workers, dials, flushes queued
//! output, keeps time, ends connections, and cleans up after the dead. It runs no host code and
//! never waits for another participant; the only place it sleeps is its own poll.
//!
//! Everything here is used by one thread. A turn: what was posted, the poll's events, hand-offs that
//! could not go before, timers last (P11).

mod accept;
mod access;
mod alias;
mod death;
mod dial;
mod drain;
mod ending;
mod flow;
mod flush;
mod greeting;
mod handoff;
mod keep_alive;
mod lent;
mod listeners;
mod notices;
mod peers;
mod place;
mod priority;
mod sticky;
mod table;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::hash::RandomState;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::pure::access::Door;
use crate::pure::error::{Error, Result};
use crate::pure::hosts::Hosts;
use crate::pure::ratelimit::RateLimit;
use crate::pure::settings::Settings;
use crate::pure::wheel::Wheel;
use crate::pure::words::{Holder, OwnerState, OwnerWord};
use crate::roles::context::{Context, socket_options};
use crate::roles::failure;
use crate::roles::memory::reserved;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::shm::participants::SUPERVISOR;
use crate::sync::{Ordering, Word};
use crate::sys;
use crate::sys::clock::{monotonic_ms, realtime_ms};
use crate::sys::poll::{Interest, Poll, Ready};
use greeting::Guests;
use handoff::Seat;
use listeners::{Given, Socket};
use peers::Peer;
use place::Place;
use sticky::Sticky;

const TOKEN_WAKE: u64 = u64::MAX;
const TOKEN_ANNOUNCED: u64 = u64::MAX - 1;
const TOKEN_LISTENER: u64 = 1 << 63;
const TOKEN_PIDFD: u64 = 1 << 62;
const TOKEN_GUEST: u64 = 1 << 61;
const LOG_WARNING: u8 = 2;
const LEVEL_READ: Interest = Interest {
    read: true,
    write: false,
    end: false,
    one_shot: false,
};
pub const LOG_ERROR: u8 = 1;
const LOG_NOTICE: u8 = 3;
/// How often stalls are looked for, while some connection is lent.
const TICK_MS: u64 = 10;
/// A longer gap between two turns means that we were stopped or suspended (P11).
const GAP_MS: u64 = 1000;
/// Messages of the dial list that are placed in one turn.
const DIALS_PER_TURN: usize = 64;
/// Turns with all the events that one poll can bring, after which deadlines are served all the same.
const FULL_TURNS: u32 = 16;
/// How long a stop waits for workers to tell the host of the last ends.
const STOP_GRACE_MS: u64 = 5000;
/// And how long for a worker to come, when there is none.
const STOP_ALONE_MS: u64 = 1000;

pub struct Supervisor {
    /// Closed before the place is left, since a successor binds the same addresses. By number of the record.
    sockets: Vec<Option<Socket>>,
    /// Left before all else goes: nobody uses our poll by its number any more.
    place: Place,
    context: Arc<Context>,
    me: Holder,
    poll: Poll,
    ready: Vec<Ready>,
    /// The connection whose event is being served.
    event_of: Option<u32>,
    now_ms: u64,
    last_turn_ms: u64,
    /// Turns in a row whose poll brought all the events it can.
    full_turns: u32,
    live: Arc<Settings>,
    /// Of the settings, as far as all connections follow them.
    live_version: u64,
    given: Given,
    /// `listeners_asked` as far as it was looked at.
    listeners_heard: Option<u32>,
    wheel: Wheel,
    wheel_violations: u64,
    due: Vec<u32>,
    /// When exactly in its span a ping is due: not at the same instants as elsewhere.
    draw: RandomState,
    /// Free slots, first in first out: a slot rests as long as possible before it is used again.
    free: VecDeque<u32>,
    door: Door,
    peers: Vec<Peer>,
    spare_fds: Vec<sys::Fd>,
    seats: Vec<Seat>,
    next_seat: usize,
    sticky: Sticky,
    /// First lent connection of each seat, see `lent`.
    lent_heads: Vec<u32>,
    lent_count: u32,
    /// Connections with unread data that no worker could take yet: (slot, generation, read_closed).
    waiting: VecDeque<(u32, u32, bool)>,
    /// Connections not read for a moment: (slot, generation, until).
    deferred: VecDeque<(u32, u32, u64)>,
    /// Connections not read because parked input is at its bound: (slot, generation).
    no_room: VecDeque<(u32, u32)>,
    /// Messages of the dial list that have not had their turn.
    dials: VecDeque<u32>,
    /// For the next tick: a sender held the gate when something was queued behind it, or a reader may
    /// know why the connection failed: (slot, generation).
    look_again: VecDeque<(u32, u32)>,
    /// Ended connections whose `on_close` is to be told: (slot, generation); and those that are lent
    /// to a worker for it.
    closes: VecDeque<(u32, u32)>,
    lent_closes: Vec<(u32, OwnerWord)>,
    /// Connections that wait for room in all queues together: their senders, or they are not read.
    room_wanted: VecDeque<(u32, u32)>,
    notices: VecDeque<u32>,
    lent_notices: Vec<notices::LentNotice>,
    /// Notices that are not told yet, by connection id.
    untold: HashMap<u32, u32>,
    notice_number: u32,
    tick_ms: u64,
    sweep_ms: u64,
    /// Accepted, and not yet known for whom.
    guests: Guests,
    accept_resume_ms: Option<u64>,
    accept_log: RateLimit,
    end_log: RateLimit,
    listening: bool,
    stop_by_ms: Option<u64>,
    stop_alone_by_ms: u64,
    drain_scan_ms: u64,
    /// A drain has ended the last connection, and said so.
    drained: bool,
    /// Participants that died, with the epoch of their record: its next owner is another one.
    deaths: Vec<(Holder, u32)>,
    /// `deaths_told` as far as it was looked at.
    deaths_heard: u32,
}

impl Supervisor {
    /// Takes the supervisor's place. `Role`: another one lives.
    pub fn open(context: &Arc<Context>) -> Result<Supervisor> {
        let place = Place::in_process(context)?;
        let header = context.segment.header();
        let pid = place.pid;
        let before = header.claim.load_sync();
        // A claim of our own pid is that of a dead process whose number we were given: in this
        // process nobody supervises.
        let lives = header.supervised()
            && before as u32 != pid
            && sys::process::process_alive(before as u32 as i32);
        if lives {
            return Err(Error::Role);
        }
        // Everything that can fail comes before the claim.
        let mut supervisor = Supervisor::new(context, place)?;
        let claim = supervisor.place.claim(before)?;
        // Our own predecessor may have left descriptors open that a thread was using.
        let fds_are_ours = before != 0 && context.claimed.get() == before;
        if fds_are_ours {
            let _ = context.claimed.update(|_| Some(claim));
        }
        // Until all is set right the fd numbers in the slots are a dead process's.
        header.supervisor_pid.store_sync(0);
        context.segment.participants().join_as_supervisor(pid);
        if header.epoch.load_sync() > 0 {
            supervisor.inherit(fds_are_ours);
        }
        if fds_are_ours {
            context.nothing_is_left_open();
        }
        // Not before: a bug on the way leaves numbers of the dead, which are something else's here.
        let _ = context.claimed.update(|_| Some(claim));
        context.supervises_with(supervisor.poll.fd());
        header.supervisor_pid.store_sync(pid);
        header.epoch.fetch_add(1, Ordering::SeqCst);
        // The first step finds what came before it, however the host polls: see `sleeping`.
        context.wake.notify();
        Ok(supervisor)
    }

    fn new(context: &Arc<Context>, place: Place) -> Result<Supervisor> {
        let segment = &context.segment;
        let now_ms = monotonic_ms();
        let poll = Poll::new().map_err(|_| Error::System)?;
        poll.add_wake(context.wake.as_raw(), TOKEN_WAKE)
            .map_err(|_| Error::System)?;
        poll.add(context.announced.as_raw(), TOKEN_ANNOUNCED, LEVEL_READ)
            .map_err(|_| Error::System)?;
        let slots = segment.slots().len();
        let participants = segment.participants().records.len();
        let mut free = VecDeque::from(reserved(slots)?);
        free.extend(0..slots as u32);
        let mut supervisor = Supervisor {
            sockets: Vec::new(),
            place,
            me: SUPERVISOR,
            poll,
            ready: Vec::new(),
            event_of: None,
            now_ms,
            last_turn_ms: now_ms,
            full_turns: 0,
            live_version: segment.header().live_version.load_sync(),
            live: context.live(),
            given: Given {
                options: socket_options(&context.settings),
                backlog: context.settings.listen_backlog,
            },
            listeners_heard: None,
            wheel: Wheel::new(now_ms),
            wheel_violations: 0,
            due: Vec::new(),
            draw: RandomState::new(),
            free,
            door: Door::new(Hosts::with_room(slots).map_err(|_| Error::NoMemory)?),
            spare_fds: Vec::new(),
            peers: (0..=participants).map(|_| Peer::default()).collect(),
            seats: segment.workers().iter().map(|_| Seat::default()).collect(),
            next_seat: 0,
            sticky: Sticky::new(slots, segment.workers().len())?,
            lent_heads: segment.workers().iter().map(|_| lent::NONE).collect(),
            lent_count: 0,
            waiting: VecDeque::new(),
            deferred: VecDeque::new(),
            no_room: VecDeque::new(),
            dials: VecDeque::new(),
            look_again: VecDeque::new(),
            closes: VecDeque::new(),
            lent_closes: Vec::new(),
            room_wanted: VecDeque::new(),
            notices: VecDeque::new(),
            lent_notices: Vec::new(),
            untold: HashMap::new(),
            notice_number: 0,
            tick_ms: now_ms,
            sweep_ms: 0,
            guests: Guests::new(),
            accept_resume_ms: None,
            accept_log: RateLimit::new(1, 1000),
            end_log: RateLimit::new(10, 1000),
            listening: false,
            stop_by_ms: None,
            stop_alone_by_ms: 0,
            drain_scan_ms: 0,
            drained: false,
            deaths: Vec::new(),
            deaths_heard: 0,
            context: context.clone(),
        };
        supervisor.listen()?;
        supervisor.follow_options();
        // What a predecessor left is counted by `inherit`.
        supervisor.door.follow(&supervisor.live);
        supervisor.keep_spare_fds();
        Ok(supervisor)
    }

    pub fn fd(&self) -> RawFd {
        self.poll.fd()
    }

    fn count(&self, counter: Counter, by: u64) {
        self.context.segment.count(self.me, counter, by);
    }

    /// A line for the host's log; told by a worker.
    fn log(&self, level: u8, conn_id: u32, suppressed: u32, text: &str) {
        if self.context.wants.log && level <= self.live.log_level as u8 {
            let log = self.context.segment.log();
            log.write(self.me, level, conn_id, suppressed, realtime_ms(), text);
            self.wake_some_worker();
        }
    }

    /// One turn. Waits at most `max_wait_ms` (none: until something is due). Ok(true): more is ready.
    pub fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        let wait = self.announce_sleep(max_wait_ms);
        let waited = self.poll.wait(wait);
        let header_sleep = &self.context.segment.header().line_sleep.sleeping;
        header_sleep.store_sync(0);
        waited.map_err(|_| Error::System)?;
        self.now_ms = monotonic_ms();
        // Stopped or suspended: what piled up in the sockets is served before any deadline is
        // believed; a late supervisor must not close the healthy.
        let gap = self.now_ms.saturating_sub(self.last_turn_ms) > GAP_MS;
        self.last_turn_ms = self.now_ms;

        self.follow_settings();
        self.follow_listeners();
        self.serve_posts();
        self.serve_dial_list(DIALS_PER_TURN);
        let mut ready = core::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.poll.events());
        for event in &ready {
            self.on_event(event);
        }
        let full = ready.len() >= sys::poll::EVENTS_PER_WAIT;
        self.ready = ready;
        self.serve_deaths();
        self.serve_waiting();
        self.tick();
        // A poll that brought all it can may have left behind the very event that would move a
        // deadline. Not without end: the sockets of a flood never run dry.
        self.full_turns = if full { self.full_turns + 1 } else { 0 };
        let sockets_first = gap || (full && self.full_turns < FULL_TURNS);
        if !sockets_first {
            self.serve_timers();
        }
        self.serve_stop(gap)?;
        self.tell_workers();
        // A host with a loop of its own polls now: what is posted meanwhile must wake it.
        let pending = max_wait_ms == Some(0) && self.sleeps_with_work();
        Ok(sockets_first || pending)
    }

    /// Takes the settings as they are now. Also behind the taking of what was posted: who changes a setting
    /// and then asks for something gets it under the new one.
    fn follow_settings(&mut self) {
        let version = self.context.segment.header().live_version.load_sync();
        if core::mem::replace(&mut self.live_version, version) == version {
            return;
        }
        self.live = self.context.live();
        self.follow_options();
        self.follow_access();
        self.follow_priority();
        self.look_at_all();
    }

    /// P2: says that we sleep, then looks once more at everything that could have come before.
    fn announce_sleep(&mut self, max_wait_ms: Option<u64>) -> Option<u64> {
        let pending = self.sleeps_with_work();
        if pending {
            return Some(0);
        }
        match (self.next_timeout_ms(), max_wait_ms) {
            (Some(due), Some(max)) => Some(due.min(max)),
            (due, max) => due.or(max),
        }
    }

    /// Says that we sleep; true: there is work all the same.
    fn sleeps_with_work(&self) -> bool {
        let segment = &self.context.segment;
        let header = segment.header();
        header.line_sleep.sleeping.store_sync(1);
        !segment.mailbox().is_empty()
            || header.line_dial.head.load_sync() != 0
            || !self.dials.is_empty()
            || !self.deaths.is_empty()
            || header.deaths_told.load_sync() != self.deaths_heard
            || header.live_version.load_sync() != self.live_version
            || self.listeners_heard != Some(header.listeners_asked.load_sync())
            || (header.stopping.load_sync() == 1 && self.stop_by_ms.is_none())
    }

    /// Milliseconds until something is due; none: nothing is.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        let now_ms = monotonic_ms();
        let header = self.context.segment.header();
        let mut due: Option<u64> = self.wheel.next_ms();
        let mut offer = |at: u64| due = Some(due.map_or(at, |d| d.min(at)));
        if let Some(every) = self.tick_every_ms() {
            offer(self.tick_ms + every);
        }
        if let Some(at) = self.accept_resume_ms {
            offer(at);
        }
        if let Some(since) = self.guests.oldest_ms() {
            offer(since + self.live.proxy_timeout_ms);
        }
        if self.peers.iter().any(|peer| peer.sweep_due) {
            offer(self.sweep_ms + 1000);
        }
        if header.drain_ms.load_sync() != 0 || self.stop_by_ms.is_some() {
            offer(self.drain_scan_ms + drain::DRAIN_SCAN_MS);
        }
        due.map(|at| at.saturating_sub(now_ms))
    }

    fn on_event(&mut self, event: &Ready) {
        match event.token {
            // What it is for is looked for in every turn.
            TOKEN_WAKE => {}
            TOKEN_ANNOUNCED => self.serve_announcements(),
            token if token & TOKEN_LISTENER != 0 => self.accept((token & 0xFFFF) as usize),
            token if token & TOKEN_PIDFD != 0 => {
                self.on_process_end((token & 0xFFFF) as Holder, (token >> 16) as u32)
            }
            token if token & TOKEN_GUEST != 0 => self.on_guest_event(token & !TOKEN_GUEST, event),
            token => self.on_connection_event(token as u32, (token >> 32) as u32, event),
        }
    }

    /// `sipwire_stop` and `sipwire_drain`. `gap`: we stood still, and whoever is to come could not.
    fn serve_stop(&mut self, gap: bool) -> Result<()> {
        let context = self.context.clone();
        let header = context.segment.header();
        if header.drain_ms.load_sync() != 0 && self.stop_by_ms.is_none() {
            self.drain_scan(header.drain_ms.load_sync());
        }
        if header.stopping.load_sync() == 0 {
            return Ok(());
        }
        if self.stop_by_ms.is_none() || gap {
            if self.stop_by_ms.is_none() {
                self.unlisten();
                self.end_all();
            }
            self.stop_by_ms = Some(self.now_ms + STOP_GRACE_MS);
            self.stop_alone_by_ms = self.now_ms + STOP_ALONE_MS;
        }
        self.drain_scan_ms = self.now_ms;
        let told = self.free.len() == context.segment.slots().len()
            && self.notices.is_empty()
            && self.lent_notices.is_empty()
            && self.dials.is_empty()
            && header.line_dial.head.load_sync() == 0;
        // Also none of the supervisor before. Its workers end now and come again, to tell the rest; so may
        // the successor of one that died.
        let mut active = context.segment.participants().active();
        let some = self.seats.iter().any(|seat| seat.holder != 0)
            || active.any(|(_, record)| record.worker.load_sync() != 0);
        if some {
            self.stop_alone_by_ms = self.now_ms + STOP_ALONE_MS;
        }
        let nobody = self.now_ms >= self.stop_alone_by_ms;
        if told || nobody || self.stop_by_ms.is_some_and(|by| self.now_ms >= by) {
            header.stop(2);
            context.end.notify();
            return Err(Error::ShuttingDown);
        }
        Ok(())
    }

    /// Orderly end of the role: connections are closed, a successor may begin.
    pub fn close(mut self) {
        self.dismiss_all();
        self.place.lend_no_fds();
        let segment = &self.context.segment;
        // Where the host has said, wrongly, that we died, they may be a successor's.
        let ours = segment.header().claim.load_sync() == self.place.number();
        for slot in segment.slots().iter().filter(|slot| ours && slot.is_open()) {
            let fd = slot.identity.fd.load_sync();
            sys::sock::shutdown_both(fd);
            // Who is in the middle keeps its number open.
            let used = gate::load(&slot.output.gate).holder() != 0
                || slot.owner().state() == OwnerState::Reading;
            if used {
                self.context.leave_open(fd);
            } else {
                slot.close_fd();
            }
        }
        self.place.end_in_order();
    }

    /// After a bug, said while its log is still ours: the same.
    pub fn fail(self) {
        let context = self.context.clone();
        let _ = failure::caught(|| failure::report(&context, SUPERVISOR, "the supervisor"));
        self.close();
    }

    /// In a child that was forked since: the role is the parent's, only our copies go.
    pub fn abandon(self) {}
}
