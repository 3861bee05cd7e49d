//! Floor 4: what each participant does. Decisions come from `pure`, effects from `sys`, shared
//! state from `shm` and `table`.
#![forbid(unsafe_code)]

pub mod batch;
pub mod capture;
pub mod context;
pub mod duplicates;
pub mod failure;
pub mod host;
pub mod info;
pub mod member;
pub mod memory;
pub mod notice;
pub mod sender;
pub mod supervisor;
pub mod target;
pub mod worker;
