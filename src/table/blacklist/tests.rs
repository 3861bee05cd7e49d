use super::*;
use std::collections::HashSet;

fn table(len: usize) -> Vec<Entry> {
    (0..len).map(|_| Entry::default()).collect()
}

fn addr(number: u32) -> Addr {
    Addr::v4(number.to_be_bytes(), 5060)
}

/// Link-local, so that the scope counts; every word differs between two numbers.
fn link_local(number: u8) -> Addr {
    let mut ip = [number; 16];
    [ip[0], ip[1]] = [0xfe, 0x80];
    Addr::v6(ip, number.into(), number.into())
}

/// Stamps an entry as a writer does that stops there for ever.
fn abandon(entry: &Entry, writer: u16) {
    let seen = entry.read().unwrap();
    assert!(entry.take(&seen, writer));
}

fn listed(entries: &[Entry], now_ms: u64) -> Vec<(Addr, u64, u32)> {
    let (mut cursor, mut out) = (0, Vec::new());
    while (cursor as usize) < entries.len() {
        list(entries, now_ms, &mut cursor, &mut out, 3);
    }
    out
}

#[test]
fn an_address_is_blacklisted_until_its_time_ends() {
    let entries = table(64);
    assert!(!check(&entries, &addr(1), 0));
    assert!(add(&entries, 1, &addr(1), 1000, 500, 7));
    assert!(check(&entries, &addr(1), 1499));
    assert!(!check(&entries, &addr(1), 1500));
    assert!(!check(&entries, &addr(2), 1200));
    assert_eq!(listed(&entries, 1200), [(addr(1), 300, 7)]);
    assert_eq!((count(&entries, 1499), count(&entries, 1500)), (1, 0));
}

#[test]
fn family_port_scope_and_ip_all_belong_to_the_key() {
    let entries = table(8);
    let listed = link_local(1);
    assert!(add(&entries, 1, &listed, 0, 100, 0));
    let mut other_ip = listed.ip;
    other_ip[15] ^= 1;
    for other in [
        Addr {
            family: 4,
            ..listed
        },
        Addr::v6(listed.ip, 2, 1),
        Addr::v6(listed.ip, 1, 2),
        Addr::v6(other_ip, 1, 1),
    ] {
        assert!(!check(&entries, &other, 0));
    }
    assert!(check(&entries, &listed, 0));
}

#[test]
fn adding_again_refreshes_the_one_entry() {
    let entries = table(8);
    assert!(add(&entries, 1, &addr(1), 0, 100, 1));
    assert!(add(&entries, 2, &addr(1), 50, 100, 2));
    assert_eq!(listed(&entries, 50), [(addr(1), 100, 2)]);
    // Expired as well: the same place, not a second one.
    assert!(add(&entries, 2, &addr(1), 1000, 100, 3));
    assert_eq!(
        entries
            .iter()
            .filter(|e| e.read().unwrap().expires_ms != 0)
            .count(),
        1
    );
}

#[test]
fn a_full_set_gives_up_expired_then_what_ends_first() {
    let entries = table(8);
    for number in 0..8 {
        assert!(add(
            &entries,
            1,
            &addr(number),
            0,
            100 + u64::from(number),
            0
        ));
    }
    assert!(add(&entries, 1, &addr(8), 0, 1000, 0));
    let left: HashSet<Addr> = listed(&entries, 0)
        .into_iter()
        .map(|entry| entry.0)
        .collect();
    assert_eq!(left, (1..9).map(addr).collect());
    // At 101 number 1 is expired.
    assert!(add(&entries, 1, &addr(9), 101, 5, 0));
    assert!((2..10).all(|number| check(&entries, &addr(number), 101)));
}

#[test]
fn no_time_adds_nothing_and_endless_time_does_not_wrap() {
    let entries = table(8);
    assert!(!add(&entries, 1, &addr(1), 10, 0, 0));
    assert_eq!(count(&entries, 0), 0);
    assert!(add(&entries, 1, &addr(1), 10, u64::MAX, 0));
    assert!(check(&entries, &addr(1), u64::MAX - 1));
}

#[test]
fn tables_without_a_whole_set_are_safe() {
    assert!(!add(&[], 1, &addr(1), 0, 10, 0) && !check(&[], &addr(1), 0));
    assert!(!remove(&[], 1, &addr(1)) && count(&[], 0) == 0);
    let entries = table(3);
    for number in 0..5 {
        assert!(add(&entries, 1, &addr(number), 0, 10, 0));
        assert!(check(&entries, &addr(number), 0));
    }
    assert_eq!(count(&entries, 0), 3);
}

#[test]
fn a_writer_number_that_does_not_fit_the_stamp_is_refused() {
    let entries = table(8);
    for writer in [0, 1024, u16::MAX] {
        assert!(!add(&entries, writer, &addr(1), 0, 10, 0));
    }
    assert!(add(&entries, 1023, &addr(1), 0, 10, 0));
    assert!(entries.iter().all(|entry| entry.read().is_some()));
}

#[test]
fn remove_takes_every_copy() {
    let entries = table(8);
    for (entry, expires_ms) in entries.iter().zip([100, 200]) {
        entry.write(addr(1).to_words(), expires_ms, 0);
    }
    assert!(check(&entries, &addr(1), 150), "one live copy is enough");
    assert!(remove(&entries, 1, &addr(1)));
    assert!(!check(&entries, &addr(1), 0));
    assert!(!remove(&entries, 1, &addr(1)));
    assert_eq!(count(&entries, 0), 0);
}

#[test]
fn an_abandoned_entry_counts_as_absent_and_others_go_on() {
    let entries = table(8);
    assert!(add(&entries, 1, &addr(1), 0, 100, 0));
    let held = entries
        .iter()
        .find(|e| e.read().unwrap().expires_ms != 0)
        .unwrap();
    abandon(held, 9);
    held.addr[3].store(77, SeqCst);
    assert!(!check(&entries, &addr(1), 0));
    assert!(!remove(&entries, 2, &addr(1)));
    assert!(add(&entries, 2, &addr(1), 0, 100, 0));
    assert!(check(&entries, &addr(1), 0));

    recover(&entries, 8);
    assert!(held.read().is_none(), "not this writer's");
    recover(&entries, 0);
    assert!(held.read().is_none());
    recover(&entries, 9);
    assert_eq!(held.read().unwrap().expires_ms, 0);
    assert_eq!(count(&entries, 0), 1);
}

#[test]
fn a_set_wholly_abandoned_refuses_and_is_recovered() {
    let entries = table(8);
    entries.iter().for_each(|entry| abandon(entry, 9));
    assert!(!add(&entries, 1, &addr(1), 0, 100, 0));
    recover(&entries, 9);
    assert!(add(&entries, 1, &addr(1), 0, 100, 0));
}

#[test]
fn the_sequence_moves_on_with_every_change() {
    let entries = table(1);
    let before = entries[0].read().unwrap();
    assert!(add(&entries, 5, &addr(1), 0, 100, 0));
    assert!(remove(&entries, 1023, &addr(1)));
    abandon(&entries[0], 9);
    recover(&entries, 9);
    assert_eq!(
        entries[0].word.load(SeqCst),
        before.word + (3 << WRITER_BITS)
    );
    assert!(
        !entries[0].take(&before, 1),
        "an old snapshot takes nothing"
    );
}

/// More addresses than places, one set, every operation at once: no reader ever sees an entry put
/// together from two, and no stamp stays behind.
#[test]
fn writers_and_readers_at_once_see_whole_entries() {
    let entries = table(8);
    let done = AtomicU32::new(0);
    let whole = |found: &[(Addr, u64, u32)]| {
        for (address, remaining_ms, reason) in found {
            assert_eq!(*reason, address.hash32());
            assert_eq!(*remaining_ms, 1000 + u64::from(*reason % 100));
        }
    };
    let address = |number: u32| link_local((number % 12) as u8 + 1);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=3u16)
            .map(|writer| {
                let entries = &entries;
                scope.spawn(move || {
                    for step in 0..40_000u32 {
                        let addr =
                            address(step.wrapping_mul(2_654_435_761).rotate_left(writer.into()));
                        if step % 5 == 0 {
                            remove(entries, writer, &addr);
                        } else {
                            let reason = addr.hash32();
                            add(
                                entries,
                                writer,
                                &addr,
                                0,
                                1000 + u64::from(reason % 100),
                                reason,
                            );
                        }
                        check(entries, &addr, 0);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while done.load(SeqCst) == 0 {
                let found = listed(&entries, 0);
                whole(&found);
                seen += found.len();
            }
            seen
        });
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        done.store(1, SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
    assert!(
        entries.iter().all(|entry| entry.read().is_some()),
        "a stamp was left"
    );
    whole(&listed(&entries, 0));
    for number in 0..12 {
        remove(&entries, 1, &address(number));
    }
    assert_eq!(count(&entries, 0), 0);
}
