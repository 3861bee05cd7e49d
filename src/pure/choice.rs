//! Which of the open connections to one destination a message takes, and whether a further one is
//! dialled first.
//!
//! With `connections_per_destination` at n, a destination has n lanes, and each connection that we
//! dial is opened for one. A hash always means the same lane, so that the messages of one dialog keep
//! to one connection and in order. Without a hash the least loaded connection is taken.
//!
//! Beside a connection that the peer opened none is dialled: its port may be one from which the peer
//! dials and at which it does not listen, and where it listens (an alias), it asked us to come this way.
//!
//! One that the peer has closed on its side takes only what nothing else can take: it waits for our answers,
//! and who has closed it altogether reads nothing any more.

/// What the caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// 0: the least loaded connection; else the lane of this number.
    pub hash: u32,
    /// `connections_per_destination`.
    pub lanes: u32,
}

impl Wish {
    /// The newest connection, whatever its load: what `connections_per_destination=1` means.
    pub const NEWEST: Wish = Wish { hash: 0, lanes: 1 };
}

/// More lanes than any setting allows have no bit of their own.
pub const MOST_LANES: u32 = 64;

/// What counts of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candidate {
    pub lane: u32,
    /// We opened it, and to this very address.
    pub dialled: bool,
    /// Found by its alias only.
    pub alias: bool,
    pub connecting: bool,
    /// The peer's FIN was read.
    pub half_closed: bool,
    /// In async mode: what is sent now waits.
    pub busy: bool,
    pub queued_bytes: u64,
}

/// What speaks against a connection, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Against {
    half_closed: bool,
    alias: bool,
    other_lane: bool,
    connecting: bool,
    queued_bytes: u64,
}

/// The choice so far. Candidates are offered newest first; of equal ones the newest is taken, which is
/// how a connection that the host wanted fresh takes its lane over.
pub struct Choice<T> {
    wish: Wish,
    best: Option<(Against, T)>,
    dialled: u32,
    all_dialled: bool,
    all_busy: bool,
    some_connecting: bool,
    taken: u64,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<T> {
    /// The best of those that are open.
    pub open: Option<T>,
    /// A further one is to be dialled, if that may be; until then, or if not, `open` serves.
    pub further: bool,
    /// `open` serves also while a further one is dialled.
    pub meanwhile: bool,
    /// The lane that a further one is for.
    pub lane: u32,
}

impl<T> Choice<T> {
    pub fn new(wish: Wish) -> Choice<T> {
        Choice {
            wish,
            best: None,
            dialled: 0,
            all_dialled: true,
            all_busy: true,
            some_connecting: false,
            taken: 0,
        }
    }

    fn lanes(&self) -> u32 {
        self.wish.lanes.clamp(1, MOST_LANES)
    }

    pub fn offer(&mut self, candidate: Candidate, what: T) {
        let by_lane = self.wish.hash != 0 || self.lanes() == 1;
        let wanted = self.wish.hash % self.lanes();
        let other_lane = self.wish.hash != 0 && self.lanes() > 1 && candidate.lane != wanted;
        let by_load = !by_lane || other_lane;
        let against = Against {
            half_closed: candidate.half_closed,
            alias: candidate.alias,
            other_lane,
            connecting: by_load && candidate.connecting,
            queued_bytes: if by_load { candidate.queued_bytes } else { 0 },
        };
        if self.best.as_ref().is_none_or(|(best, _)| against < *best) {
            self.best = Some((against, what));
        }
        self.all_dialled &= candidate.dialled;
        if candidate.half_closed {
            // Its lane is to have another one.
            return;
        }
        self.all_busy &= candidate.busy;
        self.some_connecting |= candidate.connecting;
        self.dialled += 1;
        if candidate.lane < MOST_LANES {
            self.taken |= 1 << candidate.lane;
        }
    }

    pub fn made(self) -> Chosen<T> {
        let lanes = self.lanes();
        let hash = self.wish.hash;
        let (further, meanwhile) = match &self.best {
            None => (true, false),
            Some(_) if !self.all_dialled => (false, true),
            Some((best, _)) if best.half_closed => (true, false),
            Some(_) if lanes == 1 => (false, true),
            Some((best, _)) if hash != 0 => (best.other_lane, !best.other_lane),
            Some(_) => {
                let more = self.dialled < lanes && self.all_busy && !self.some_connecting;
                (more, true)
            }
        };
        let lane = if hash != 0 {
            hash % lanes
        } else {
            // One that is wanted fresh when all lanes have theirs takes the first lane over.
            match self.taken.trailing_ones() {
                free if free < lanes => free,
                _ => 0,
            }
        };
        Chosen {
            open: self.best.map(|(_, what)| what),
            further,
            meanwhile,
            lane,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALLED: Candidate = Candidate {
        lane: 0,
        dialled: true,
        alias: false,
        connecting: false,
        half_closed: false,
        busy: false,
        queued_bytes: 0,
    };

    fn choose(hash: u32, lanes: u32, offered: &[Candidate]) -> Chosen<usize> {
        let mut choice = Choice::new(Wish { hash, lanes });
        for (i, candidate) in offered.iter().enumerate() {
            choice.offer(*candidate, i);
        }
        choice.made()
    }
    fn lane(lane: u32) -> Candidate {
        Candidate { lane, ..DIALLED }
    }
    fn queued(lane: u32, queued_bytes: u64) -> Candidate {
        Candidate {
            lane,
            busy: queued_bytes > 0,
            queued_bytes,
            ..DIALLED
        }
    }

    #[test]
    fn without_a_connection_one_is_dialled_for_the_lane_of_the_hash() {
        for (hash, lanes, expected) in [(0, 1, 0), (7, 1, 0), (0, 4, 0), (7, 4, 3), (8, 4, 0)] {
            let chosen = choose(hash, lanes, &[]);
            let wanted = Chosen {
                open: None,
                further: true,
                meanwhile: false,
                lane: expected,
            };
            assert_eq!(chosen, wanted, "hash {hash}, {lanes} lanes");
        }
    }

    #[test]
    fn with_one_lane_the_newest_is_used_whatever_its_load() {
        let busy = Candidate {
            connecting: true,
            ..queued(0, 5000)
        };
        for hash in [0, 3] {
            let chosen = choose(hash, 1, &[busy, lane(0), lane(2)]);
            assert_eq!((chosen.open, chosen.further), (Some(0), false));
        }
    }

    #[test]
    fn the_same_hash_keeps_its_connection_when_others_come() {
        let mut open = vec![lane(1)];
        for newer in [0, 3, 2, 0] {
            let chosen = choose(5, 4, &open);
            assert_eq!(chosen.open, Some(open.len() - 1), "beside {open:?}");
            assert!(!chosen.further);
            // Its load plays no part.
            open.last_mut().unwrap().queued_bytes = 9000;
            open.insert(0, lane(newer));
        }
    }

    #[test]
    fn a_lane_without_a_connection_is_dialled_and_the_least_loaded_serves_where_that_may_not_be() {
        let chosen = choose(2, 4, &[queued(0, 10), queued(1, 5), queued(3, 7)]);
        assert_eq!(
            chosen,
            Chosen {
                open: Some(1),
                further: true,
                meanwhile: false,
                lane: 2
            }
        );
    }

    #[test]
    fn a_fresh_connection_takes_its_lane_over() {
        assert_eq!(choose(6, 4, &[lane(2), lane(2)]).open, Some(0));
        assert_eq!(choose(0, 2, &[lane(0), lane(1)]).lane, 0);
        assert_eq!(choose(0, 3, &[lane(0), lane(1)]).lane, 2);
    }

    #[test]
    fn without_a_hash_the_least_loaded_is_taken_and_none_that_is_still_connecting() {
        let connecting = Candidate {
            connecting: true,
            busy: true,
            ..lane(2)
        };
        let chosen = choose(0, 3, &[connecting, queued(0, 50), queued(1, 40)]);
        assert_eq!(chosen.open, Some(2));
        assert!(!chosen.further, "one is on its way");
    }

    #[test]
    fn a_further_one_is_dialled_only_when_all_are_in_use_and_there_are_fewer_than_allowed() {
        let (used, other) = (queued(0, 50), queued(1, 1));
        assert!(choose(0, 3, &[used, other]).further);
        assert_eq!(choose(0, 3, &[used, other]).lane, 2);
        assert!(
            !choose(0, 3, &[used, other, lane(2)]).further,
            "one is free"
        );
        assert!(!choose(0, 2, &[used, other]).further, "there are two");
        assert!(!choose(0, 3, &[queued(0, 0), other]).further);
    }

    #[test]
    fn beside_a_connection_of_the_peers_none_is_dialled() {
        let theirs = Candidate {
            dialled: false,
            ..queued(0, 100)
        };
        let aliased = Candidate {
            alias: true,
            ..theirs
        };
        for peers in [theirs, aliased] {
            for hash in [0, 3] {
                let chosen = choose(hash, 4, &[peers]);
                assert_eq!((chosen.open, chosen.further), (Some(0), false));
            }
        }
        // What has the address itself goes before what has it by alias.
        assert_eq!(choose(0, 4, &[aliased, queued(0, 999)]).open, Some(1));
        assert_eq!(choose(1, 4, &[aliased, lane(3)]).open, Some(1));
    }

    #[test]
    fn one_that_the_peer_has_closed_takes_only_what_nothing_else_can() {
        let closed = Candidate {
            half_closed: true,
            ..lane(1)
        };
        for (hash, lanes, place) in [(0, 1, 0), (0, 3, 0), (4, 3, 1)] {
            let chosen = choose(hash, lanes, &[closed]);
            let wanted = Chosen {
                open: Some(0),
                further: true,
                meanwhile: false,
                lane: place,
            };
            assert_eq!(chosen, wanted, "hash {hash}, {lanes} lanes");
        }
        // It takes no other one's place, and none is dialled beside a connection of the peer's.
        let chosen = choose(0, 2, &[closed, queued(0, 9)]);
        assert_eq!((chosen.open, chosen.further), (Some(1), true));
        let theirs = Candidate {
            dialled: false,
            ..closed
        };
        for others in [&[theirs][..], &[theirs, closed]] {
            let chosen = choose(0, 1, others);
            assert_eq!((chosen.open, chosen.further), (Some(0), false));
        }
    }

    #[test]
    fn a_lane_beyond_those_of_the_setting_harms_nothing() {
        let wild = lane(u32::MAX);
        assert_eq!(choose(0, 0, &[wild]).open, Some(0));
        assert_eq!(choose(9, 1000, &[wild]).lane, 9);
    }
}
