use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

const IDS: u32 = 24;

struct Table(RefCell<Vec<Link>>);

impl Table {
    fn new(ids: u32) -> Table {
        Table(RefCell::new(vec![Link::UNLINKED; ids as usize]))
    }
}

impl Links for Table {
    fn link(&self, id: u32) -> Link {
        let links = self.0.borrow();
        links.get(id as usize).copied().unwrap_or(Link::UNLINKED)
    }
    fn set_link(&self, id: u32, link: Link) {
        if let Some(place) = self.0.borrow_mut().get_mut(id as usize) {
            *place = link;
        }
    }
}

fn expire_all(wheel: &mut Wheel, links: &Table, now_ms: u64) -> Vec<u32> {
    let mut out = Vec::new();
    while wheel.next_ms().is_some_and(|next| next <= now_ms) {
        wheel.expire(links, now_ms, 1000, &mut out);
    }
    wheel.expire(links, now_ms, 1000, &mut out);
    out
}

#[test]
fn a_lone_entry_is_linked_and_unlinked() {
    let (links, mut wheel) = (Table::new(4), Wheel::new(1000));
    assert_eq!((wheel.next_ms(), wheel.len()), (None, 0));
    wheel.insert(&links, 2, 1010);
    assert!(Wheel::is_linked(&links, 2) && !Wheel::is_linked(&links, 1));
    assert_eq!((wheel.next_ms(), wheel.len()), (Some(1010), 1));
    wheel.remove(&links, 2);
    wheel.remove(&links, 2);
    assert!(!Wheel::is_linked(&links, 2));
    assert_eq!(
        (wheel.next_ms(), wheel.len(), wheel.violations()),
        (None, 0, 0)
    );
}

#[test]
fn expires_at_its_millisecond_and_not_before() {
    for distance in [0, 1, 63, 64, 65, 4095, 4096, 10_000, 120_000, 1 << 40] {
        let (links, mut wheel) = (Table::new(1), Wheel::new(777_777));
        let deadline = 777_777 + distance;
        wheel.insert(&links, 0, deadline);
        assert_eq!(expire_all(&mut wheel, &links, deadline - 1), []);
        assert_eq!(expire_all(&mut wheel, &links, deadline), [0], "{distance}");
        assert_eq!(wheel.next_ms(), None);
    }
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let (links, mut wheel) = (Table::new(1), Wheel::new(500));
    wheel.insert(&links, 0, 3);
    assert!(wheel.next_ms().unwrap() <= 500);
    assert_eq!(expire_all(&mut wheel, &links, 500), [0]);
}

#[test]
fn the_ends_of_time_have_a_bucket() {
    let (links, mut wheel) = (Table::new(2), Wheel::new(0));
    wheel.insert(&links, 0, u64::MAX);
    wheel.insert(&links, 1, 0);
    assert_eq!(expire_all(&mut wheel, &links, 0), [1]);
    assert_eq!(expire_all(&mut wheel, &links, u64::MAX - 1), []);
    assert_eq!(expire_all(&mut wheel, &links, u64::MAX), [0]);
}

#[test]
fn a_clock_that_steps_back_expires_nothing_early() {
    let (links, mut wheel) = (Table::new(1), Wheel::new(1000));
    assert_eq!(expire_all(&mut wheel, &links, 2000), []);
    wheel.insert(&links, 0, 2000);
    assert_eq!(expire_all(&mut wheel, &links, 1500), []);
    assert_eq!(expire_all(&mut wheel, &links, 2000), [0]);
}

#[test]
fn an_idle_poll_loop_wakes_at_most_once_per_level() {
    for (now, distance) in [
        (0, 120_000u64),
        (987_654_321, 120_000),
        (4095, 2),
        (1 << 36, 1 << 30),
    ] {
        let (links, mut wheel) = (Table::new(1), Wheel::new(now));
        wheel.insert(&links, 0, now + distance);
        let (mut wakes, mut clock, mut out) = (0, now, Vec::new());
        while let Some(next) = wheel.next_ms() {
            assert!(next > clock || wakes == 0, "a wake-up without progress");
            assert!(next <= now + distance, "late");
            clock = next;
            wheel.expire(&links, clock, 8, &mut out);
            wakes += 1;
        }
        assert_eq!((out, clock), (vec![0], now + distance));
        assert!(wakes <= LEVELS, "{wakes} wake-ups");
    }
}

#[test]
fn a_big_cascade_is_spread_over_calls_and_loses_nothing() {
    let ids = 5000;
    let (links, mut wheel) = (Table::new(ids), Wheel::new(0));
    for id in 0..ids {
        wheel.insert(&links, id, 1 << 20 | u64::from(id));
    }
    let (now, mut out) = (1 << 20 | 9999, Vec::new());
    wheel.expire(&links, now, 10, &mut out);
    assert!(out.is_empty() && wheel.len() == ids as usize);
    assert!(wheel.next_ms().unwrap() <= now, "work remains");
    // In the middle of the cascade an insert and a remove still do what they say.
    wheel.insert(&links, 0, 1 << 20 | 5);
    wheel.remove(&links, 1);
    while wheel.next_ms().is_some() {
        let before = out.len();
        wheel.expire(&links, now, 10, &mut out);
        assert!(out.len() - before <= 10);
    }
    let deadline = |id: u32| if id == 0 { 5 } else { id };
    assert!(out.is_sorted_by_key(|&id| deadline(id)), "earliest first");
    out.sort();
    assert!(out.iter().copied().eq((0..ids).filter(|&id| id != 1)));
}

#[test]
fn an_id_out_of_range_is_ignored() {
    let (links, mut wheel) = (Table::new(2), Wheel::new(0));
    for id in [2, HEAD, HEAD | 5, NONE] {
        wheel.insert(&links, id, 10);
        wheel.remove(&links, id);
    }
    assert_eq!(
        (wheel.next_ms(), wheel.len(), wheel.violations()),
        (None, 0, 0)
    );
}

#[test]
fn a_loop_in_the_links_ends_and_rebuild_finds_the_lost() {
    let (links, mut wheel) = (Table::new(3), Wheel::new(0));
    for id in 0..3 {
        wheel.insert(&links, id, 50);
    }
    // List 2, 1, 0. The first entry now follows itself.
    let first = links.link(2);
    links.set_link(2, Link { next: 2, ..first });
    assert_eq!(expire_all(&mut wheel, &links, 50), [2]);
    assert!(wheel.violations() > 0);
    assert_eq!(wheel.next_ms(), None);

    wheel.rebuild(&links, 3);
    assert_eq!(wheel.len(), 2);
    let mut out = expire_all(&mut wheel, &links, 50);
    out.sort();
    assert_eq!(out, [0, 1]);
}

#[test]
fn a_changed_link_does_no_harm_to_the_list_it_names() {
    let (links, mut wheel) = (Table::new(5), Wheel::new(0));
    for id in 0..3 {
        wheel.insert(&links, id, 50);
    }
    wheel.insert(&links, 3, 60);
    // The lone entry claims to follow the first of the list 2, 1, 0.
    let lone = links.link(3);
    links.set_link(3, Link { prev: 2, ..lone });
    wheel.remove(&links, 3);
    assert_eq!(wheel.violations(), 1);
    assert_eq!(expire_all(&mut wheel, &links, 50), [2, 1, 0]);

    // And the same for one that claims to be the first of another bucket.
    for id in 0..3 {
        wheel.insert(&links, id, 150);
    }
    wheel.insert(&links, 4, 300);
    let (first, lone) = (links.link(2), links.link(4));
    links.set_link(
        4,
        Link {
            prev: first.prev,
            ..lone
        },
    );
    wheel.remove(&links, 4);
    let mut out = expire_all(&mut wheel, &links, 150);
    out.sort(); // one deadline: a cascade keeps no order among them
    assert_eq!(out, [0, 1, 2]);
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u64),
    Remove(u32),
    Advance(u64),
    Expire(usize),
}

/// Distances of every magnitude: each level and the borders between them.
fn distance() -> impl Strategy<Value = u64> {
    (0u32..44).prop_flat_map(|bits| 0..=(1u64 << bits))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..IDS, distance()).prop_map(|(id, d)| Op::Insert(id, d)),
        1 => (0..IDS).prop_map(Op::Remove),
        2 => distance().prop_map(Op::Advance),
        3 => (0usize..6).prop_map(Op::Expire),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Which entry, what its links become, and which of the three are changed.
fn scribble() -> impl Strategy<Value = (u32, Link, u8)> {
    let prev = prop_oneof![0..IDS, (0..80u32).prop_map(|bucket| HEAD | bucket)];
    let link = (prev, 0..IDS + 2, distance());
    let link = link.prop_map(|(prev, next, deadline_ms)| Link {
        prev,
        next,
        deadline_ms,
    });
    (0..IDS, link, any::<u8>())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn agrees_with_a_sorted_map(
        start in any::<u32>(),
        past in 0u64..100,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut now = u64::from(start);
        let (links, mut wheel) = (Table::new(IDS), Wheel::new(now));
        let mut oracle: BTreeMap<u32, u64> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Insert(id, distance) => {
                    // Some of the short ones lie in the past.
                    let deadline = (now + distance).saturating_sub(past);
                    wheel.insert(&links, id, deadline);
                    oracle.insert(id, deadline);
                }
                Op::Remove(id) => {
                    wheel.remove(&links, id);
                    oracle.remove(&id);
                }
                Op::Advance(distance) => now += distance,
                Op::Expire(max) => {
                    // One call may end at its bound on moves; `next_ms` then asks for another.
                    let (mut out, mut calls) = (Vec::new(), 0);
                    while out.len() < max && (calls == 0 || wheel.next_ms().is_some_and(|next| next <= now)) {
                        let left = max - out.len();
                        wheel.expire(&links, now, left, &mut out);
                        calls += 1;
                        prop_assert!(calls < 20, "no progress");
                    }
                    prop_assert!(out.len() <= max);
                    let none_left = out.len() < max;
                    for id in out {
                        let deadline = oracle.remove(&id);
                        prop_assert!(deadline.is_some_and(|d| d <= now), "early, or not linked");
                    }
                    if none_left {
                        prop_assert!(oracle.values().all(|&d| d > now), "a due one was left");
                    }
                }
            }
            prop_assert_eq!(wheel.len(), oracle.len());
            prop_assert_eq!(wheel.is_empty(), oracle.is_empty());
            for id in 0..IDS {
                prop_assert_eq!(Wheel::is_linked(&links, id), oracle.contains_key(&id));
            }
            match (wheel.next_ms(), oracle.values().min()) {
                (Some(next), Some(&deadline)) => prop_assert!(next <= deadline.max(now), "late"),
                (next, deadline) => prop_assert!(next.is_none() && deadline.is_none()),
            }
        }
        let mut rest = expire_all(&mut wheel, &links, u64::MAX);
        rest.sort();
        prop_assert_eq!(rest, oracle.into_keys().collect::<Vec<_>>());
        prop_assert_eq!(wheel.violations(), 0);
    }

    /// Whatever is written over the links, every call returns and the wheel works after `rebuild`.
    #[test]
    fn scribbled_links_neither_loop_nor_panic(
        scribbles in prop::collection::vec(scribble(), 1..40),
        ops in prop::collection::vec(op(), 40),
    ) {
        let (links, mut wheel) = (Table::new(IDS), Wheel::new(0));
        let mut now = 0;
        for (i, op) in ops.into_iter().enumerate() {
            if let Some(&(id, changed, which)) = scribbles.get(i) {
                let mut link = links.link(id);
                if which & 1 != 0 {
                    link.prev = changed.prev;
                }
                if which & 2 != 0 {
                    link.next = changed.next;
                }
                if which & 4 != 0 {
                    link.deadline_ms = changed.deadline_ms;
                }
                links.set_link(id, link);
            }
            match op {
                Op::Insert(id, distance) => wheel.insert(&links, id, now + distance),
                Op::Remove(id) => wheel.remove(&links, id),
                Op::Advance(distance) => now += distance,
                Op::Expire(max) => wheel.expire(&links, now, max, &mut Vec::new()),
            }
        }
        let mut calls = 0;
        while wheel.next_ms().is_some() {
            wheel.expire(&links, u64::MAX, 8, &mut Vec::new());
            calls += 1;
            prop_assert!(calls < 1000, "no progress");
        }
        for id in 0..IDS {
            wheel.insert(&links, id, u64::MAX);
        }
        wheel.rebuild(&links, IDS);
        let mut out = expire_all(&mut wheel, &links, u64::MAX);
        out.sort();
        prop_assert_eq!(out, (0..IDS).collect::<Vec<_>>());
    }
}
