//! P5, the address index: a reader walks a chain while the supervisor takes connections out of it and puts
//! others in.

use loom::thread;

use super::explore::{Size, explore, segment, victim};
use crate::pure::addr::Addr;
use crate::pure::words::{OwnerState, OwnerWord};
use crate::shm::gate;
use crate::sync::Word;
use crate::table::index;
use crate::table::segment::Segment;

const GENERATION: u32 = 5;

/// `count` addresses whose chain is that of `of`, or (`same` false) is not.
fn addresses(segment: &Segment, of: &Addr, same: bool, count: usize) -> Vec<Addr> {
    let bucket = |addr: &Addr| index::bucket_of(segment, addr);
    (1..60_000u16)
        .map(|port| Addr::parse(&format!("10.0.0.1:{port}")).unwrap())
        .filter(|addr| (bucket(addr) == bucket(of)) == same && addr != of)
        .take(count)
        .collect()
}

fn open(segment: &Segment, slot: usize, remote: &Addr) {
    let place = &segment.slots()[slot];
    place.set_addresses(remote, &Addr::none());
    gate::open(&place.output.gate, GENERATION, 0);
    let owner = OwnerWord::new(GENERATION, 0, OwnerState::Idle, 0);
    place.input.owner.store_sync(owner.0);
    index::insert(segment, slot as u32);
}

#[test]
fn a_connection_that_stays_is_found_whatever_changes_around_it() {
    let segment = segment();
    let stays = Addr::parse("10.0.0.1:5060").unwrap();
    let before = addresses(&segment, &stays, true, 1)[0];
    let elsewhere = addresses(&segment, &stays, false, 1)[0];
    let beside = addresses(&segment, &elsewhere, true, 1)[0];
    explore(Size::Small, move |changes| {
        // In one chain: first 1, then 0.
        open(&segment, 0, &stays);
        open(&segment, 1, &before);
        open(&segment, 2, &beside);
        assert_eq!(
            index::find(&segment, &stays, &Addr::none()).unwrap().slot,
            0
        );
        index::find(&segment, &beside, &Addr::none());

        let [a, b] = [(); 2].map(|()| segment.clone());
        // The writer may be the one that stops: a new supervisor begins with an empty index, and until
        // then nobody waits.
        let writer = victim(changes, move || {
            index::remove(&a, 1);
            a.slots()[1].set_addresses(&elsewhere, &Addr::none());
            index::insert(&a, 1);
        });
        let reader = thread::spawn(move || index::find(&b, &stays, &Addr::none()));
        let found = reader.join().unwrap();
        let stopped = writer.join().unwrap().is_none();
        // IDX-2 allows a wrong miss: the dial list looks again. Here one removal makes none.
        assert_eq!(found.map(|found| found.slot), Some(0), "IDX-1");
        let slot_of = |addr| index::find(&segment, addr, &Addr::none()).map(|found| found.slot);
        assert_eq!(slot_of(&stays), Some(0), "IDX-1");
        assert!(stopped || slot_of(&elsewhere) == Some(1), "IDX-1");
        assert!(stopped || slot_of(&beside) == Some(2), "IDX-1: cut off");
    });
}

#[test]
fn an_alias_that_comes_and_goes_hides_nobody_and_leads_to_its_own_connection() {
    let segment = segment();
    let stays = Addr::parse("10.0.0.1:5060").unwrap();
    let [own, alias] = addresses(&segment, &stays, true, 2)[..] else {
        panic!("two addresses of one chain");
    };
    explore(Size::Small, move |changes| {
        open(&segment, 0, &stays);
        open(&segment, 1, &own);
        let find = |segment: &Segment, addr: Addr| {
            index::find(segment, &addr, &Addr::none()).map(|found| found.slot)
        };
        find(&segment, stays);

        let [a, b] = [(); 2].map(|()| segment.clone());
        let writer = victim(changes, move || {
            let claim = index::insert_alias(&a, 1, alias.port);
            assert_ne!(claim, index::Claim::Taken);
            index::remove(&a, 1);
        });
        let reader = thread::spawn(move || (find(&b, alias), find(&b, stays)));
        let (by_alias, still) = reader.join().unwrap();
        let stopped = writer.join().unwrap().is_none();
        assert!(matches!(by_alias, None | Some(1)), "IDX-3: {by_alias:?}");
        assert_eq!(still, Some(0), "IDX-1: cut off");
        assert_eq!(find(&segment, stays), Some(0), "IDX-1: cut off");
        assert!(stopped || find(&segment, alias).is_none(), "it ended");
        assert!(stopped || find(&segment, own).is_none(), "it ended");
    });
}
