//! Aliases (RFC 5923): a connection that a peer opened is also found under the address at which the peer
//! listens. Who asks for one has looked whether it may be; of two that ask at the same moment for the
//! same, the first one gets it here.

use super::Supervisor;
use crate::pure::addr::Addr;
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::table::index::{self, Claim};
use crate::table::phase;

impl Supervisor {
    pub(super) fn give_alias(&mut self, conn_id: u32, alias: &Addr) {
        let context = self.context.clone();
        let segment = &context.segment;
        let Some((index, slot, _)) = segment.by_id(conn_id) else {
            return;
        };
        // One that ends is in no chain any more, and stays out of all.
        let ending = slot.supervised.phase.get() & phase::ENDING != 0;
        if ending || !slot.remote().same_host(alias) {
            return;
        }
        let counter = match index::insert_alias(segment, index, alias.port) {
            Claim::Has => return,
            Claim::Free { .. } => Counter::AliasesAdded,
            Claim::Taken => Counter::AliasesRefused,
        };
        self.count(counter, 1);
    }
}
