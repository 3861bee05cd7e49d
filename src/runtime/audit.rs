//! For the crash tests: what is left in the segment by nobody who lives. Asked while nothing is sent,
//! parked or told.

use super::instance::Instance;
use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::roles::member::KEPT_BLOCKS;
use crate::shm::blocks::Blocks;
use crate::shm::participants::SUPERVISOR;
use crate::sync::Word;
use crate::table::blacklist;

/// Each number is 0 when all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Blocks of a message or of parked input that nobody can come to, or more private ones than a
    /// participant keeps.
    pub blocks: u32,
    /// Free blocks that nobody would find.
    pub hidden: u32,
    pub log_records: u32,
    pub blacklist_entries: u32,
}

impl Instance {
    pub fn strays(&self) -> Strays {
        let segment = &self.context.segment;
        let records = segment.participants().records;
        let mut private = vec![0usize; records.len() + 1];
        let mut strays = Strays {
            log_records: segment.log().unfinished(),
            blacklist_entries: blacklist::unfinished(segment.blacklist()),
            ..Strays::default()
        };
        let pools = [
            (segment.blocks(), KEPT_BLOCKS),
            (segment.partial_blocks(), 0),
        ];
        for (pool, kept) in pools {
            for stamp in used(pool, &mut strays.hidden) {
                let holder = stamp.participant();
                let keeps = stamp.usage() == BlockUse::Private && self.lives(holder);
                match private.get_mut(usize::from(holder)) {
                    Some(count) if keeps && *count < kept => *count += 1,
                    _ => strays.blocks += 1,
                }
            }
        }
        strays
    }

    fn lives(&self, holder: Holder) -> bool {
        let records = self.context.segment.participants();
        holder != SUPERVISOR
            && records
                .get(holder)
                .is_some_and(|record| record.tenant().is_active())
    }
}

/// The blocks that are not free; `hidden`: those that are, and look as if they were not.
fn used<'a>(pool: Blocks<'a>, hidden: &'a mut u32) -> impl Iterator<Item = Stamp> + 'a {
    pool.touched().filter_map(move |index| {
        let stamp = Stamp(pool.head(index)?.stamp.load_sync());
        if stamp.usage() != BlockUse::Free {
            return Some(stamp);
        }
        let word = pool.used.get(index as usize / 64)?.load_sync();
        *hidden += u32::from(word & 1 << (index % 64) != 0);
        None
    })
}
