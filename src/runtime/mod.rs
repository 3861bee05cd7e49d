//! Floor 5: an instance put together: made before any fork, then run by threads or processes.
#![forbid(unsafe_code)]

#[cfg(crash_points)]
pub mod audit;
pub mod boundary;
pub mod config;
pub mod flow;
pub mod instance;
pub mod listeners;
pub mod matching;
pub mod membership;
pub mod picture;
pub mod run;
mod running;
pub mod send;
pub mod snapshot;
mod threads;
