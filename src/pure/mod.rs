//! Floor 0: decisions. Pure functions of (state, input, now): no system call, no clock, no unsafe,
//! no knowledge of shared memory. Everything here can be tested with plain values.
#![forbid(unsafe_code)]

pub mod access;
pub mod addr;
pub mod answer;
pub mod choice;
pub mod deadline;
pub mod error;
pub mod flow_token;
pub mod framing;
pub mod handoff;
pub mod hosts;
pub mod id;
pub mod keepalive;
pub mod limits;
pub mod networks;
pub mod picture;
pub mod proxy;
pub mod rate;
pub mod ratelimit;
pub mod reason;
pub mod settings;
pub mod wheel;
pub mod words;
