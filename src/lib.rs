//! libsipwire: the TCP transport of a SIP server, for hosts written in C.
//!
//! The modules are floors; a lower one never names a higher one (a test enforces it):
//! `pure` decides, `sys` performs, `shm` and `table` keep what participants share, `roles` are what
//! participants do, `runtime` puts an instance together, `ffi` is its C face.

pub mod pure;
pub mod sync;
pub mod sys;

pub mod shm;
pub mod table;

pub mod roles;
pub mod runtime;

pub mod ffi;

#[cfg(all(test, any(loom, shuttle)))]
mod models;
