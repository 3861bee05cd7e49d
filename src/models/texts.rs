//! Texts that are replaced whole: two publishers with a spare cell each, one of whom stops, and a reader.

use loom::thread;

use super::explore::{Size, explore, segment, victim};
use crate::shm::texts::Texts;
use crate::table::segment::Segment;

const DEAD: u32 = 8;
const LIVING: u32 = 7;
/// Two words each: half of one and half of another would be seen.
const OLD: &str = "oooooooooooooooo";
const FIRST: &str = "1111111111111111";
const SECOND: &str = "2222222222222222";

fn texts(segment: &Segment) -> Texts<'_> {
    let all = segment.texts();
    Texts {
        current: &all.current[..1],
        cells: &all.cells[..3],
    }
}

#[test]
fn a_reader_gets_a_whole_text_whoever_stops() {
    let segment = segment();
    explore(Size::Large, move |changes| {
        assert!(texts(&segment).publish(0, OLD, LIVING, |_| true));
        let [a, b] = [(); 2].map(|()| segment.clone());
        let first = victim(changes, move || texts(&a).publish(0, FIRST, DEAD, |_| true));
        let second = thread::spawn(move || texts(&b).publish(0, SECOND, LIVING, |_| true));
        if let Some(text) = texts(&segment).read(0) {
            assert!([OLD, FIRST, SECOND].contains(&&*text), "TEXT-2: {text}");
        }
        let stopped = first.join().unwrap().is_none();
        assert!(
            second.join().unwrap(),
            "TEXT-1: no cell for the second of two"
        );
        let text = texts(&segment).read(0).unwrap();
        assert!([FIRST, SECOND].contains(&&*text), "TEXT-2: {text}");
        for again in [OLD, FIRST, SECOND] {
            let published =
                texts(&segment).publish(0, again, LIVING, |pid| !stopped || pid != DEAD);
            assert!(published, "TEXT-1: a cell is lost");
            assert_eq!(texts(&segment).read(0).as_deref(), Some(again));
        }
    });
}
