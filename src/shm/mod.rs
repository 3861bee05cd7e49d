//! Floor 2: primitives in shared memory. They know nothing of SIP or of connections.
//!
//! Everything here obeys one rule: stamps are truth, lists are hints. Who owns a thing is written
//! by the same single compare-and-swap that takes it, so a participant can stop or die after any
//! instruction and nobody waits for it; what it held is found by its stamp.
#![allow(unsafe_code)] // raw pointers into the region: here and nowhere above

pub mod blocks;
pub mod counters;
pub mod gate;
pub mod header;
pub mod journal;
pub mod log_ring;
pub mod mailbox;
pub mod participants;
pub mod region;
pub mod ring;
pub mod texts;
