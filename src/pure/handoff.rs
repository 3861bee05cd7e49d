//! `handoff=sticky`: which worker a connection with new data should go to rather than to the next one
//! in turn. The worker that had it last has it in its caches; one in a process of its own also keeps
//! a duplicate of its descriptor, so that none has to be passed.

/// One worker as the choice sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// It runs, is not stalled, and its ring has room.
    pub usable: bool,
    /// It keeps a duplicate of the connection's descriptor.
    pub keeps: bool,
    /// Hand-offs that lie in its ring.
    pub backlog: u32,
}

/// A worker is markedly busier than another one when so many more hand-offs lie in its ring than twice
/// the other's. A burst that comes in one turn of the supervisor is not yet that; a worker that takes
/// less than it gets is, soon, and then some of its connections go to others and stay there.
const BACKLOG: u32 = 16;

/// The one that had the connection last, if it is usable and not markedly busier than the least busy;
/// else, under the same conditions, the least busy of those that keep a duplicate. None: whose turn it
/// is.
pub fn sticky(candidates: &[Candidate], last: Option<usize>) -> Option<usize> {
    let usable = || candidates.iter().enumerate().filter(|(_, c)| c.usable);
    let least = usable().map(|(_, c)| c.backlog).min()?;
    let bound = least.saturating_mul(2).saturating_add(BACKLOG);
    let fits = |candidate: &Candidate| candidate.usable && candidate.backlog <= bound;
    if let Some(last) = last
        && candidates.get(last).is_some_and(fits)
    {
        return Some(last);
    }
    usable()
        .filter(|(_, c)| c.keeps && fits(c))
        .min_by_key(|(_, c)| c.backlog)
        .map(|(seat, _)| seat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(usable: bool, keeps: bool, backlog: u32) -> Candidate {
        Candidate {
            usable,
            keeps,
            backlog,
        }
    }

    #[test]
    fn a_connection_goes_to_the_worker_that_had_it_last() {
        let candidates = [
            candidate(true, true, 0),
            candidate(true, false, BACKLOG),
            candidate(true, false, 0),
        ];
        assert_eq!(sticky(&candidates, Some(1)), Some(1));
        assert_eq!(sticky(&candidates, Some(2)), Some(2));
    }

    #[test]
    fn one_that_is_stalled_gone_or_full_is_passed_over() {
        let candidates = [
            candidate(true, true, 3),
            candidate(false, true, 0),
            candidate(true, true, 1),
        ];
        assert_eq!(
            sticky(&candidates, Some(1)),
            Some(2),
            "the least busy that keeps it"
        );
        assert_eq!(
            sticky(&candidates, Some(7)),
            Some(2),
            "no such worker any more"
        );
    }

    #[test]
    fn one_that_is_markedly_busier_is_passed_over_too() {
        let busy = |backlog, least| {
            let candidates = [
                candidate(true, true, backlog),
                candidate(true, false, least),
            ];
            sticky(&candidates, Some(0))
        };
        assert_eq!(busy(BACKLOG, 0), Some(0));
        assert_eq!(busy(BACKLOG + 1, 0), None);
        assert_eq!(busy(2 * 10 + BACKLOG, 10), Some(0));
        assert_eq!(busy(2 * 10 + BACKLOG + 1, 10), None);
        assert_eq!(busy(u32::MAX, u32::MAX), Some(0));
    }

    #[test]
    fn a_new_connection_takes_its_turn() {
        let candidates = [candidate(true, false, 0); 3];
        assert_eq!(sticky(&candidates, None), None);
        assert_eq!(sticky(&[candidate(false, true, 0)], Some(0)), None);
        assert_eq!(sticky(&[], None), None);
    }
}
