//! Statistics. Each participant has its own cells, so that counting costs no locked instruction
//! and no shared cache line; a reader adds all participants up.

use crate::sync::{AtomicU64, Word};

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter { $($name),* }
        impl Counter { pub const ALL: &'static [Counter] = &[$(Counter::$name),*]; }
    };
}

counters! {
    Accepted, Dialled, Connected, ConnectFailed, Closed,
    RefusedMaxConnections, RefusedMaxConnectionsPerIp, AcceptPauses,
    RefusedDenied, RefusedNotAllowed, RefusedRate, RefusedRatePerIp, DrainCut,
    Handoffs, Givebacks, Relends, NoFdReturns, FdsPassed,
    MessagesIn, BytesIn, MessagesOut, BytesOut,
    Pings, ErrorAnswers,
    SendsDirect, SendsQueued, SendsRefused,
    AsyncStarted, AsyncEnded,
    FailuresReported, FailuresRepeated, MessagesLostReport,
    BlacklistAdded, BlacklistRefused,
    ParticipantsDied, Violations,
    PingsSent, PongsHeard, FlowsFailed,
    RefusedProxy,
    AliasesAdded, AliasesRefused,
}

/// Cells of one participant: the counters above, then room to grow.
pub const CELLS: usize = 48;
const _: () = assert!(Counter::ALL.len() <= CELLS);

#[repr(C, align(64))]
pub struct Counters {
    cells: [AtomicU64; CELLS],
}

impl Counters {
    /// By the participant whose cells these are.
    pub fn add(&self, counter: Counter, by: u64) {
        if let Some(cell) = self.cells.get(counter as usize) {
            cell.bump(by);
        }
    }
    pub fn get(&self, counter: Counter) -> u64 {
        self.cells.get(counter as usize).map_or(0, Word::get)
    }
}
