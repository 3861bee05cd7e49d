//! Private memory of a role, taken when it opens. Where there is none the role does not begin; Rust's
//! own way, to end the process, would end the host.

use crate::pure::error::{Error, Result};

/// Asked for first and then taken: only `vec!` gets zeroes from the kernel that cost nothing before
/// they are used, and it cannot be refused.
pub fn filled<T: Clone>(count: usize, value: T) -> Result<Vec<T>> {
    drop(reserved::<T>(count)?);
    Ok(vec![value; count])
}

pub fn reserved<T>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(count)
        .map_err(|_| Error::NoMemory)?;
    Ok(values)
}
