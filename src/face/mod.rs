//! Floor 6, beside `ffi`: the Rust face, with the words of the C API. It makes the same calls as that, and
//! no pointer passes through it.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod callbacks;
mod instance;
mod turns;

pub use callbacks::{Callbacks, Close};
pub use instance::Instance;
pub use turns::Loop;

// What callbacks are shown and calls are given is the same for both faces.
#[doc(inline)]
pub use crate::{
    pure::addr::Addr,
    pure::error::{Error, Result},
    pure::keepalive::Interval,
    pure::picture::conn::ConnInfo,
    pure::picture::stats::Stats,
    pure::reason::Reason,
    pure::words::OwnerState,
    roles::host::{Failure, Message},
    roles::target::{Sent, Target},
    runtime::config::Config,
    runtime::instance::Failure as SetupError,
    shm::log_ring::Entry as LogRecord,
};
