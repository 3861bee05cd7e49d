//! What every call of either face and every callback goes through: a panic goes no further, and errno
//! stays as it was unless the call says that it sets it.

use super::membership;
use crate::pure::error::{Error, Result};
use crate::roles::failure;
use crate::sys::process::{errno_get, errno_set};

/// Runs a call. A panic becomes `default` and is not propagated (a panicking child of a
/// Kamailio-like host would take the whole server down); what it left half done: `roles::failure`.
pub fn call<R>(default: R, body: impl FnOnce() -> R) -> R {
    let errno = errno_get();
    let result = failure::caught(body).unwrap_or_else(|| {
        membership::fail();
        default
    });
    errno_set(errno);
    result
}

/// Runs a callback of the host. A panic is the host's own: nothing of ours is half done.
pub fn callback<R>(default: R, body: impl FnOnce() -> R) -> R {
    let errno = errno_get();
    let result = failure::caught(body).unwrap_or(default);
    errno_set(errno);
    result
}

/// Runs a call that can fail. With `Error::System` errno is that of the system call that failed.
pub fn result<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    let mut failed = None;
    let result = call(Err(Error::Panic), || {
        body().inspect_err(|error| {
            if *error == Error::System {
                failed = Some(errno_get());
            }
        })
    });
    if let Some(errno) = failed {
        errno_set(errno);
    }
    result
}
