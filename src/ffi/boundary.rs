//! What every exported function goes through, on top of `runtime::boundary`: pointers and sized
//! structures are checked in one place.

use core::mem::{MaybeUninit, size_of};

use crate::pure::error::{Error, Result};
use crate::roles::failure;
use crate::runtime::boundary::result;

/// The default panic hook prints to stderr, also for panics that are caught; a library prints
/// nothing. This copy of std is the library's own (only `sipwire_` symbols are visible), so no hook of
/// the host's is touched.
pub fn print_nothing() {
    static DONE: once_cell::sync::OnceCell<()> = once_cell::sync::OnceCell::new();
    DONE.get_or_init(|| std::panic::set_hook(Box::new(failure::note)));
}

/// Runs a call that returns a code. With SIPWIRE_E_SYSTEM errno is that of the system call that
/// failed; else it stays as it was.
pub fn code(body: impl FnOnce() -> Result<i32>) -> i32 {
    result(body).unwrap_or_else(Error::code)
}

/// # Safety
/// `pointer` is null or points to a `T` that lives and is not changed elsewhere during `'a`.
pub unsafe fn reference<'a, T>(pointer: *const T) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or(Error::Argument)
}

/// # Safety
/// `text` is null or a NUL-terminated string that lives during `'a`.
pub unsafe fn text<'a>(text: *const core::ffi::c_char) -> Result<&'a str> {
    if text.is_null() {
        return Err(Error::Argument);
    }
    // SAFETY: not null; NUL-terminated by the caller's promise.
    unsafe { core::ffi::CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Error::Argument)
}

/// Copies `text` into a C buffer, NUL-terminated, cut off if need be; returns its whole length
/// (the rule of snprintf).
///
/// # Safety
/// `buffer` is null or has room for `size` bytes.
pub unsafe fn copy_text(text: &str, buffer: *mut core::ffi::c_char, size: usize) -> usize {
    if !buffer.is_null() && size > 0 {
        let n = text.len().min(size - 1);
        // SAFETY: n + 1 <= size bytes, by the caller's promise.
        unsafe {
            core::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), n);
            *buffer.add(n) = 0;
        }
    }
    text.len()
}

/// Copies all of `bytes` into a C buffer, or nothing when it has no room for all.
///
/// # Safety
/// `buffer` is null or has room for `size` bytes.
pub unsafe fn copy_bytes(bytes: &[u8], buffer: *mut core::ffi::c_char, size: usize) {
    if !buffer.is_null() && size >= bytes.len() {
        // SAFETY: bytes.len() <= size bytes, by the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>(), bytes.len()) };
    }
}

/// A structure that begins with its size and only grows: both sides use what both know.
///
/// # Safety
/// `repr(C)`, plain data of which every byte pattern (all zero included) is valid, first field
/// `struct_size: u32`.
pub unsafe trait Sized32: Copy {
    /// Smallest size that ever was: the first version's.
    const MIN: usize;
}

/// Reads a structure of the caller's size. A larger one is understood only if what we do not know is
/// zero.
///
/// # Safety
/// `pointer` is null or points to at least as many bytes as its `struct_size` says.
pub unsafe fn read<T: Sized32>(pointer: *const T) -> Result<T> {
    if pointer.is_null() {
        return Err(Error::Argument);
    }
    // SAFETY: every version begins with this word.
    let size = unsafe { *pointer.cast::<u32>() } as usize;
    if size < T::MIN || size > 65_536 {
        return Err(Error::Version);
    }
    let known = size_of::<T>().min(size);
    // SAFETY: `size` bytes are readable by the caller's promise; `value` takes `known` of them and
    // is zero (valid, `Sized32`) beyond.
    unsafe {
        let beyond = core::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known);
        if beyond.iter().any(|&byte| byte != 0) {
            return Err(Error::Version);
        }
        let mut value = MaybeUninit::<T>::zeroed();
        core::ptr::copy_nonoverlapping(
            pointer.cast::<u8>(),
            value.as_mut_ptr().cast::<u8>(),
            known,
        );
        Ok(value.assume_init())
    }
}

/// The size the caller's structure has.
///
/// # Safety
/// As for `read`.
pub unsafe fn size_of_out<T: Sized32>(pointer: *const T) -> Result<usize> {
    if pointer.is_null() {
        return Err(Error::Argument);
    }
    // SAFETY: every version begins with this word.
    let size = unsafe { *pointer.cast::<u32>() } as usize;
    if !(T::MIN..=65_536).contains(&size) {
        return Err(Error::Version);
    }
    Ok(size)
}

/// Writes as much of `value` as the caller's structure of `size` bytes has room for, and zeroes
/// beyond what this version knows; its size field stays.
///
/// # Safety
/// `pointer` has room for `size` bytes.
pub unsafe fn write<T: Sized32>(pointer: *mut T, size: usize, value: &T) {
    let known = size_of::<T>().min(size);
    // SAFETY: known <= size, and known <= size_of::<T>().
    unsafe {
        let from = core::ptr::from_ref(value).cast::<u8>();
        core::ptr::copy_nonoverlapping(from.add(4), pointer.cast::<u8>().add(4), known - 4);
        core::ptr::write_bytes(pointer.cast::<u8>().add(known), 0, size - known);
    }
}
