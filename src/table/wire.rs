//! The addresses of the socket itself, beside the slot, of connections whose PROXY header said for whom
//! they were made: what compares, limits, logs and finds connections uses those of the header.
//!
//! There is a record for each slot if a listener speaks PROXY, and none at all otherwise. Written by the
//! supervisor while the slot is Free (TBL-2); it means something only with `flag::PROXIED`.

use crate::pure::addr::Addr;
use crate::pure::proxy::Pair;
use crate::shm::region::shared;
use crate::sync::{AtomicU32, Word};

#[repr(C)]
pub struct Wire {
    remote: [AtomicU32; 6],
    local: [AtomicU32; 6],
}
const _: () = assert!(size_of::<Wire>() == 48);
#[allow(unsafe_code)] // layout marker
mod marker {
    use super::{Wire, shared};
    shared!(Wire);
}

impl Wire {
    /// Supervisor, while the slot is Free.
    pub fn keep(&self, pair: &Pair) {
        let words = [pair.source.to_words(), pair.destination.to_words()];
        let cells = self.remote.iter().chain(&self.local);
        for (cell, word) in cells.zip(words.as_flattened()) {
            cell.set(*word);
        }
    }

    pub fn pair(&self) -> Pair {
        let addr = |cells: &[AtomicU32; 6]| Addr::from_words(cells.each_ref().map(Word::get));
        Pair {
            source: addr(&self.remote),
            destination: addr(&self.local),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::region::{Layout, Region};

    #[test]
    fn both_ends_are_kept() {
        let mut layout = Layout::default();
        let span = layout.span::<Wire>(1);
        let region = Region::new("sipwire-test", &layout).unwrap();
        let wire = &region.slice(span)[0];
        assert!(wire.pair().source.is_none());
        let pair = Pair {
            source: Addr::v6([0xfe; 16], 1, 0),
            destination: Addr::v4([192, 0, 2, 1], 2),
        };
        wire.keep(&pair);
        assert_eq!(wire.pair(), pair);
    }
}
