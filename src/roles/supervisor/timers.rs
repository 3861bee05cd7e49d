//! P11: one timer entry for each connection, at or before its earliest deadline. What moves a
//! deadline (progress, messages) does not touch the entry; when it fires we look again.

use super::ending::Mode;
use super::table::SlotLinks;
use super::{Supervisor, lent};
use crate::pure::deadline::{self, Due, Limits, Times};
use crate::pure::reason::Reason;
use crate::pure::words::{GateWord, OwnerState};
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::table::phase;
use crate::table::slot::Slot;

/// Deadlines served in one turn.
const PER_TURN: usize = 1024;

impl Supervisor {
    fn times(&self, index: u32, slot: &Slot) -> Times {
        let gate = GateWord(slot.output.gate.load_sync());
        let now = slot.supervised.phase.get();
        let state = slot.owner().state();
        let supervised = &slot.supervised;
        let ending = now & phase::ENDING != 0;
        // An end that does not wait for output waits for a reader or a gate holder, without a deadline.
        let outputs = !ending || now & phase::GRACEFUL != 0;
        let half_closed = now & (phase::HALF_CLOSED | phase::STOPPED_FIN) != 0 && !ending;
        let lingering = now & phase::LINGERING != 0;
        let unread = now & (phase::WAITING | phase::DEFERRED | phase::STOPPED) != 0
            || matches!(state, OwnerState::Lent | OwnerState::Reading)
            || (state == OwnerState::Idle && slot.has_kept_input());
        let stopped = now & phase::STOPPED != 0 && !ending;
        let connecting = gate.has(GateWord::CONNECTING);
        Times {
            connecting: connecting && now & phase::FD_CLOSED == 0 && outputs,
            // Still in a worker's list: it has just come back, and its lifetime does not run before we noted that.
            idle: state == OwnerState::Idle
                && !lent::is_linked(&self.context.segment, index)
                && now & (phase::WAITING | phase::STOPPED | phase::ENDING) == 0,
            // Progress counts from when we saw the queue begin; an inbox, or a ping of ours, behind a holder
            // that is stopped counts too.
            queued: now & phase::QUEUED != 0
                && outputs
                && (slot.output.queue_head.get() != 0
                    || gate.inbox() != 0
                    || (gate.holder() != 0 && (ending || now & phase::PING_OWED != 0))),
            progress_ms: supervised.progress_ms.get(),
            activity_ms: slot.active_ms(),
            created_ms: supervised.created_ms.get(),
            message_started_ms: if ending {
                0
            } else {
                slot.input.message_started_ms.get()
            },
            waits_for_first_message: !slot.is_outbound()
                && now & (phase::ENDING | phase::WAS_STOPPED) == 0
                && slot.input.messages_in.get() == 0,
            unread,
            stopped,
            half_closed_ms: if half_closed {
                supervised.activity_ms.get().max(1)
            } else {
                0
            },
            lingering_ms: if lingering {
                supervised.progress_ms.get().max(1)
            } else {
                0
            },
            keep: self.keep(index, slot, !connecting && !ending && !half_closed),
        }
    }

    /// The next deadline, with one more look at a connection whose silence would end it: what is waited
    /// for may lie in the socket, where no worker has come to read it. `None`: it has ended in another way.
    fn next_due(&mut self, index: u32, slot: &Slot) -> Option<(u64, Due)> {
        let limits = self.limits(slot);
        let next = deadline::next(&self.times(index, slot), &limits, self.now_ms);
        let silent = matches!(
            next.1,
            Due::Close(
                Reason::FlowFailed
                    | Reason::FlowTimer
                    | Reason::MessageTimeout
                    | Reason::FirstMessageTimeout
            )
        );
        if next.0 > self.now_ms || !silent {
            return Some(next);
        }
        // In this order: what is not in the socket any more is in a worker's hand, or heard.
        match Self::has_unread(slot) {
            Ok(unread) => {
                let mut times = self.times(index, slot);
                times.unread |= unread;
                Some(deadline::next(&times, &limits, self.now_ms))
            }
            Err(errno) => {
                self.end_by_error(index, slot, errno);
                None
            }
        }
    }

    fn limits(&self, slot: &Slot) -> Limits {
        let own = u64::from(slot.output.lifetime_ms.get());
        Limits {
            connect_timeout_ms: self.live.connect_timeout_ms,
            send_timeout_ms: self.live.send_timeout_ms,
            lifetime_ms: if own > 0 {
                own
            } else {
                self.live.connection_lifetime_ms
            },
            message_timeout_ms: self.live.message_timeout_ms,
            first_message_timeout_ms: self.live.first_message_timeout_ms,
            half_close_timeout_ms: self.live.half_close_timeout_ms,
            linger_ms: self.live.linger_ms,
            pong_timeout_ms: self.live.pong_timeout_ms,
            flow_timer_grace_ms: self.live.flow_timer_grace_ms,
        }
    }

    /// Makes sure that the connection's entry fires no later than its next deadline.
    pub(super) fn schedule(&mut self, index: u32, slot: &Slot) {
        if !slot.is_open() {
            return;
        }
        let (at_ms, _) = deadline::next(&self.times(index, slot), &self.limits(slot), self.now_ms);
        self.look_by(index, slot, at_ms);
    }

    /// The entry fires at `at_ms` or before.
    fn look_by(&mut self, index: u32, slot: &Slot, at_ms: u64) {
        let context = self.context.clone();
        let links = SlotLinks(&context.segment);
        let linked = crate::pure::wheel::Wheel::is_linked(&links, index);
        if !linked || slot.supervised.timer_deadline_ms.get() > at_ms {
            self.wheel.insert(&links, index, at_ms);
        }
    }

    pub(super) fn serve_timers(&mut self) {
        if self.accept_resume_ms.is_some_and(|at| self.now_ms >= at) {
            self.resume_accept();
        }
        self.serve_guests();
        let context = self.context.clone();
        if self.wheel.violations() != self.wheel_violations {
            // A scribbled link made the wheel cut a list: no connection may lose its timer (P12).
            self.wheel_violations = self.wheel.violations();
            context.segment.violation(self.me);
            self.wheel.rebuild(
                &SlotLinks(&context.segment),
                context.segment.slots().len() as u32,
            );
        }
        let mut due = core::mem::take(&mut self.due);
        due.clear();
        self.wheel.expire(
            &SlotLinks(&context.segment),
            self.now_ms,
            PER_TURN,
            &mut due,
        );
        for &index in &due {
            let Some(slot) = context.segment.slot(index) else {
                continue;
            };
            if !slot.is_open() {
                continue;
            }
            let Some((at_ms, what)) = self.next_due(index, slot) else {
                self.schedule(index, slot);
                continue;
            };
            if at_ms > self.now_ms {
                self.look_by(index, slot, at_ms);
                continue;
            }
            match what {
                Due::Close(reason) => {
                    if let Some((reason, errno)) = Self::failed_before(slot) {
                        self.end(index, slot, reason, errno, Mode::Reset);
                        self.schedule(index, slot);
                        continue;
                    }
                    if reason == Reason::FlowFailed {
                        self.count(Counter::FlowsFailed, 1);
                    }
                    let errno = match reason {
                        Reason::ConnectTimeout | Reason::SendTimeout => {
                            crate::sys::Errno::ETIMEDOUT.0
                        }
                        _ => 0,
                    };
                    let mode = match reason {
                        // Nothing is under way: an orderly end.
                        Reason::Lifetime | Reason::HalfCloseTimeout => Mode::Graceful,
                        other => Mode::of(other),
                    };
                    self.end(index, slot, reason, errno, mode);
                    self.schedule(index, slot);
                }
                Due::Ping => self.ping(index, slot),
                Due::LingerOver => self.linger_over(index, slot),
                Due::Look => self.schedule(index, slot),
            }
        }
        self.due = due;
    }
}
