//! What every call of either face and every callback goes through: a panic goes no further, and errno
//! stays as it was unless the call says that it sets it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::pure::error::{Error, Result};
use crate::sys::process::{errno_get, errno_set};

/// Runs a call. A panic becomes `default` and is not propagated (a panicking child of a
/// Kamailio-like host would take the whole server down).
pub fn call<R>(default: R, body: impl FnOnce() -> R) -> R {
    let errno = errno_get();
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or(default);
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
