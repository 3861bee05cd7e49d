//! Floor 3: the connection table in the segment: slots, address index, blacklist, queues.
#![deny(unsafe_code)]

pub mod blacklist;
pub mod flow;
pub mod inbox;
pub mod index;
pub mod listeners;
pub mod partial;
pub mod phase;
pub mod queue;
pub mod rare;
pub mod segment;
pub mod slot;
pub mod wire;
