//! Which deadline of a connection comes next. The supervisor keeps one timer entry for each
//! connection at or before its earliest deadline and asks again when it fires, so that progress
//! (bytes written, a message received) moves a deadline without touching the timer.

use super::reason::Reason;

/// What the supervisor knows of one connection; all times in milliseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub connecting: bool,
    /// With the supervisor, nothing unread: only then does the lifetime run.
    pub idle: bool,
    pub queued: bool,
    /// No byte of this connection's output moved since.
    pub progress_ms: u64,
    /// Last return from a worker, last send, last output that moved, accept.
    pub activity_ms: u64,
    pub created_ms: u64,
    /// First byte of an unfinished message, 0: none.
    pub message_started_ms: u64,
    /// Accepted, and no complete message yet.
    pub waits_for_first_message: bool,
    /// Its bytes wait for a worker or are in one's hands: they may be that message, the rest of one, or a pong.
    pub unread: bool,
    /// Back-pressure keeps it from being read, for as long as that lasts: nothing that waits for input is due, and
    /// nobody looks until it is read again.
    pub stopped: bool,
    /// The peer's FIN was read, 0: not.
    pub half_closed_ms: u64,
    /// Our FIN went out and we wait for the peer's, 0: not.
    pub lingering_ms: u64,
    pub keep: Keep,
}

/// Keep-alive, see `keepalive`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// It is on, in one of the two directions: the lifetime does not run, silence is judged by it.
    pub on: bool,
    /// Our next ping is due then, 0: none is.
    pub next_ping_ms: u64,
    /// Our ping went out and its pong is awaited, 0: none is.
    pub pinged_ms: u64,
    /// What the peer promised to ping within, 0: nothing; and its last sign of life.
    pub flow_timer_ms: u64,
    pub heard_ms: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connect_timeout_ms: u64,
    pub send_timeout_ms: u64,
    pub lifetime_ms: u64,
    pub message_timeout_ms: u64,
    pub first_message_timeout_ms: u64,
    pub half_close_timeout_ms: u64,
    pub linger_ms: u64,
    pub pong_timeout_ms: u64,
    pub flow_timer_grace_ms: u64,
}

/// When nothing else is due, a connection is looked at this often.
const FAR_MS: u64 = 3_600_000;

/// How soon it is looked at again whether the reading of what may be a first message, or the sign of life
/// that is waited for, is over.
const LOOK_SOON_MS: u64 = 100;

/// What is to happen at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Close(Reason),
    /// A ping of ours.
    Ping,
    /// The linger is over: close now, whatever the peer still sends.
    LingerOver,
    /// Nothing can be due before; look again then.
    Look,
}

/// The earliest deadline. There always is one: a held connection may start a partial message that
/// the supervisor is not told of, so it looks at least once every `message_timeout`.
pub fn next(times: &Times, limits: &Limits, now_ms: u64) -> (u64, Due) {
    if times.lingering_ms > 0 {
        return (
            times.lingering_ms.saturating_add(limits.linger_ms),
            Due::LingerOver,
        );
    }
    let waits_for_first = times.waits_for_first_message && limits.first_message_timeout_ms > 0;
    // An idle connection cannot start a partial message unseen, so there is nothing to look for.
    let look_ms = if times.stopped {
        FAR_MS
    } else if waits_for_first && times.unread {
        // While something is read no message's limit holds, but it does right behind that.
        LOOK_SOON_MS
    } else if times.message_started_ms > 0 && times.unread {
        // Likewise; else who drips bytes might be looked at while one is read, and have all its time again.
        let deadline_ms = times
            .message_started_ms
            .saturating_add(limits.message_timeout_ms);
        deadline_ms.saturating_sub(now_ms).max(LOOK_SOON_MS)
    } else if times.idle || limits.message_timeout_ms == 0 {
        FAR_MS
    } else {
        limits.message_timeout_ms
    };
    let mut best = (now_ms.saturating_add(look_ms), Due::Look);
    let mut earliest = |at_ms: u64, due: Due| {
        if at_ms < best.0 {
            best = (at_ms, due);
        }
    };
    keep_alive(times, limits, now_ms, &mut earliest);
    let mut offer = |from_ms: u64, after_ms: u64, reason: Reason| {
        earliest(from_ms.saturating_add(after_ms), Due::Close(reason));
    };
    if times.connecting {
        offer(
            times.progress_ms,
            limits.connect_timeout_ms,
            Reason::ConnectTimeout,
        );
    } else if times.queued {
        offer(
            times.progress_ms,
            limits.send_timeout_ms,
            Reason::SendTimeout,
        );
    }
    if times.half_closed_ms > 0 {
        offer(
            times.half_closed_ms,
            limits.half_close_timeout_ms,
            Reason::HalfCloseTimeout,
        );
    } else if times.idle && !times.connecting && !times.queued && !times.keep.on {
        offer(times.activity_ms, limits.lifetime_ms, Reason::Lifetime);
    }
    if times.message_started_ms > 0 && !times.unread && limits.message_timeout_ms > 0 {
        offer(
            times.message_started_ms,
            limits.message_timeout_ms,
            Reason::MessageTimeout,
        );
    }
    if waits_for_first && !times.unread {
        offer(
            times.created_ms,
            limits.first_message_timeout_ms,
            Reason::FirstMessageTimeout,
        );
    }
    best
}

fn keep_alive(times: &Times, limits: &Limits, now_ms: u64, earliest: &mut impl FnMut(u64, Due)) {
    let keep = &times.keep;
    let mut silent = |at_ms: u64, reason: Reason, blind: bool| {
        if times.stopped {
            // Then the wait begins anew.
        } else if blind && at_ms <= now_ms {
            earliest(now_ms.saturating_add(LOOK_SOON_MS), Due::Look);
        } else {
            earliest(at_ms, Due::Close(reason));
        }
    };
    if keep.pinged_ms > 0 {
        let at_ms = keep.pinged_ms.saturating_add(limits.pong_timeout_ms);
        // RFC 5626 4.4.1: 10 s, "or immediately after processing any incoming message being received
        // when that 10 seconds expires": inside it the peer cannot send a pong.
        let inside_message = (1..=at_ms).contains(&times.message_started_ms);
        silent(at_ms, Reason::FlowFailed, times.unread || inside_message);
    }
    if keep.flow_timer_ms > 0 {
        let after_ms = keep.flow_timer_ms + limits.flow_timer_grace_ms;
        let at_ms = keep.heard_ms.saturating_add(after_ms);
        silent(at_ms, Reason::FlowTimer, times.unread);
    }
    if keep.next_ping_ms > 0 {
        earliest(keep.next_ping_ms, Due::Ping);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connect_timeout_ms: 10_000,
        send_timeout_ms: 10_000,
        lifetime_ms: 120_000,
        message_timeout_ms: 20_000,
        first_message_timeout_ms: 0,
        half_close_timeout_ms: 32_000,
        linger_ms: 2_000,
        pong_timeout_ms: 10_000,
        flow_timer_grace_ms: 10_000,
    };

    #[test]
    fn an_idle_connection_ends_with_its_lifetime_and_is_not_looked_at_before() {
        let times = Times {
            idle: true,
            activity_ms: 1000,
            ..Times::default()
        };
        assert_eq!(
            next(&times, &LIMITS, 1000),
            (121_000, Due::Close(Reason::Lifetime))
        );
    }

    #[test]
    fn a_lent_connection_has_no_lifetime_but_is_looked_at() {
        let times = Times {
            activity_ms: 1000,
            ..Times::default()
        };
        assert_eq!(next(&times, &LIMITS, 1000), (21_000, Due::Look));
    }

    #[test]
    fn queued_output_without_progress_ends_before_anything_else() {
        let times = Times {
            idle: true,
            queued: true,
            progress_ms: 5000,
            activity_ms: 1000,
            ..Times::default()
        };
        assert_eq!(
            next(&times, &LIMITS, 6000),
            (15_000, Due::Close(Reason::SendTimeout))
        );
        let times = Times {
            connecting: true,
            queued: true,
            progress_ms: 7,
            ..times
        };
        assert_eq!(
            next(&times, &LIMITS, 8),
            (10_007, Due::Close(Reason::ConnectTimeout))
        );
    }

    #[test]
    fn a_partial_message_counts_from_its_first_byte() {
        let times = Times {
            idle: true,
            activity_ms: 30_000,
            message_started_ms: 15_000,
            ..Times::default()
        };
        assert_eq!(
            next(&times, &LIMITS, 30_000),
            (35_000, Due::Close(Reason::MessageTimeout))
        );
    }

    #[test]
    fn a_half_closed_connection_waits_for_its_answers_not_for_its_lifetime() {
        let limits = Limits {
            lifetime_ms: 1000,
            ..LIMITS
        };
        let times = Times {
            idle: true,
            half_closed_ms: 500,
            ..Times::default()
        };
        assert_eq!(
            next(&times, &limits, 600),
            (32_500, Due::Close(Reason::HalfCloseTimeout))
        );
    }

    #[test]
    fn a_lingering_connection_has_no_other_deadline() {
        let times = Times {
            lingering_ms: 100,
            queued: true,
            progress_ms: 1,
            ..Times::default()
        };
        assert_eq!(next(&times, &LIMITS, 200), (2_100, Due::LingerOver));
    }

    #[test]
    fn a_short_message_timeout_hides_no_later_deadline() {
        let limits = Limits {
            message_timeout_ms: 1500,
            first_message_timeout_ms: 3000,
            ..LIMITS
        };
        let times = Times {
            idle: true,
            waits_for_first_message: true,
            created_ms: 10,
            activity_ms: 10,
            ..Times::default()
        };
        assert_eq!(
            next(&times, &limits, 20),
            (3_010, Due::Close(Reason::FirstMessageTimeout))
        );
    }

    #[test]
    fn what_is_being_read_has_no_limit_but_is_looked_at_soon() {
        let limits = Limits {
            first_message_timeout_ms: 3000,
            ..LIMITS
        };
        let times = Times {
            unread: true,
            waits_for_first_message: true,
            message_started_ms: 20,
            ..Times::default()
        };
        let look = |limits, times| next(&times, limits, 60_000);
        assert_eq!(look(&limits, times), (60_000 + LOOK_SOON_MS, Due::Look));
        let answered = Times {
            waits_for_first_message: false,
            ..times
        };
        assert_eq!(look(&limits, answered), (60_000 + LOOK_SOON_MS, Due::Look));
        let begun = Times {
            message_started_ms: 59_000,
            ..answered
        };
        assert_eq!(look(&limits, begun), (79_000, Due::Look));
    }

    #[test]
    fn a_silent_new_connection_ends_at_first_message_timeout() {
        let limits = Limits {
            first_message_timeout_ms: 3000,
            ..LIMITS
        };
        let times = Times {
            idle: true,
            waits_for_first_message: true,
            created_ms: 10,
            activity_ms: 10,
            ..Times::default()
        };
        assert_eq!(
            next(&times, &limits, 20),
            (3_010, Due::Close(Reason::FirstMessageTimeout))
        );
    }

    /// Pinged at 1000.
    fn pinged() -> Times {
        Times {
            idle: true,
            activity_ms: 1000,
            keep: Keep {
                on: true,
                pinged_ms: 1000,
                ..Keep::default()
            },
            ..Times::default()
        }
    }

    #[test]
    fn a_pong_that_does_not_come_fails_the_flow() {
        let failed = (11_000, Due::Close(Reason::FlowFailed));
        for now in [1000, 11_000, 99_000] {
            assert_eq!(next(&pinged(), &LIMITS, now), failed);
        }
        let queued = Times {
            queued: true,
            progress_ms: 500,
            ..pinged()
        };
        let (at, due) = next(&queued, &LIMITS, 2000);
        assert_eq!((at, due), (10_500, Due::Close(Reason::SendTimeout)));
    }

    #[test]
    fn a_flow_is_not_failed_while_the_pong_may_be_unread() {
        let unread = Times {
            unread: true,
            ..pinged()
        };
        let failed = (11_000, Due::Close(Reason::FlowFailed));
        assert_eq!(next(&unread, &LIMITS, 10_999), failed);
        assert_eq!(
            next(&unread, &LIMITS, 11_000),
            (11_000 + LOOK_SOON_MS, Due::Look)
        );
        assert_eq!(
            next(&unread, &LIMITS, 99_000),
            (99_000 + LOOK_SOON_MS, Due::Look)
        );
        let silent = Times {
            unread: true,
            keep: Keep {
                on: true,
                flow_timer_ms: 30_000,
                heard_ms: 5000,
                ..Keep::default()
            },
            ..Times::default()
        };
        assert_eq!(
            next(&silent, &LIMITS, 45_000),
            (45_000 + LOOK_SOON_MS, Due::Look)
        );
    }

    #[test]
    fn what_is_not_read_waits_without_a_look() {
        let limits = Limits {
            first_message_timeout_ms: 3000,
            ..LIMITS
        };
        let stopped = Times {
            stopped: true,
            unread: true,
            idle: false,
            waits_for_first_message: true,
            message_started_ms: 20,
            keep: Keep {
                flow_timer_ms: 30_000,
                heard_ms: 5000,
                ..pinged().keep
            },
            ..Times::default()
        };
        let look = next(&stopped, &limits, 60_000);
        assert_eq!(look, (60_000 + FAR_MS, Due::Look));
        // What has nothing to do with input is due as ever.
        let queued = Times {
            queued: true,
            progress_ms: 55_000,
            ..stopped
        };
        let (at, due) = next(&queued, &limits, 60_000);
        assert_eq!((at, due), (65_000, Due::Close(Reason::SendTimeout)));
        let finished = Times {
            half_closed_ms: 50_000,
            ..stopped
        };
        let (at, due) = next(&finished, &limits, 60_000);
        assert_eq!((at, due), (82_000, Due::Close(Reason::HalfCloseTimeout)));
    }

    #[test]
    fn a_message_that_was_under_way_at_the_end_of_the_wait_goes_first() {
        let inside = |started| Times {
            message_started_ms: started,
            ..pinged()
        };
        assert_eq!(
            next(&inside(10_900), &LIMITS, 12_000),
            (12_000 + LOOK_SOON_MS, Due::Look)
        );
        let failed = (11_000, Due::Close(Reason::FlowFailed));
        assert_eq!(next(&inside(11_001), &LIMITS, 12_000), failed);
        // It has its own limit.
        let (at, due) = next(&inside(1), &LIMITS, 20_000);
        assert_eq!((at, due), (20_001, Due::Close(Reason::MessageTimeout)));
    }

    #[test]
    fn a_ping_is_due_and_the_lifetime_does_not_run() {
        let times = Times {
            idle: true,
            activity_ms: 1000,
            keep: Keep {
                on: true,
                next_ping_ms: 200_000,
                ..Keep::default()
            },
            ..Times::default()
        };
        assert_eq!(next(&times, &LIMITS, 2000), (200_000, Due::Ping));
    }

    #[test]
    fn a_peer_that_promised_to_ping_may_be_silent_for_its_time_and_the_grace() {
        let times = Times {
            idle: true,
            activity_ms: 1000,
            keep: Keep {
                on: true,
                flow_timer_ms: 30_000,
                heard_ms: 5000,
                ..Keep::default()
            },
            ..Times::default()
        };
        let over = (45_000, Due::Close(Reason::FlowTimer));
        assert_eq!(next(&times, &LIMITS, 6000), over);
    }
}
