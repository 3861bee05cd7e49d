//! Version, texts, addresses: no instance needed; any thread, any process, any callback.

use super::boundary::{code, copy_bytes, copy_text, reference, text};
use super::types::sipwire_addr;
use crate::pure::addr::Addr;
use crate::pure::error::Error;
use crate::pure::proxy::{self, Pair, Version};
use crate::pure::reason::Reason;
use crate::runtime::boundary::call;
use core::ffi::c_char;

const fn number(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut value, mut i) = (0, 0);
    while i < bytes.len() {
        #[allow(clippy::indexing_slicing)] // evaluated by the compiler
        let digit = bytes[i];
        value = value * 10 + (digit - b'0') as u32;
        i += 1;
    }
    value
}

/// The version of the library that runs, to be compared with SIPWIRE_VERSION_NUMBER of the header that was
/// compiled.
///
/// Returns: major << 16 | minor << 8 | patch.
/// Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_version_number() -> u32 {
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

/// The version of the library that runs as text.
///
/// Returns: "1.2.3", say; static, never NULL.
/// Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What the result `code` of a call means, for a log line.
///
/// Returns: static text, never NULL; "unknown error" for a number that is none.
/// Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_strerror(code: i32) -> *const c_char {
    Error::c_text(code).as_ptr().cast()
}

/// What `reason`, a SIPWIRE_REASON_ number, means, for a log line.
///
/// Returns: static text, never NULL; "unknown reason" for a number that is none.
/// Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_reason_text(reason: i32) -> *const c_char {
    Reason::c_text(reason).as_ptr().cast()
}

/// Reads "127.0.0.1:5060" or "[::1]:5060", with or without "tcp:" or "udp:" in front. No name is looked
/// up. An IPv4-mapped IPv6 address becomes IPv4 (RFC 5118: one host, one key).
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT, with *out untouched.
/// Call from: any thread, any process; in callbacks: yes; blocks: never.
///
/// # Safety
/// `text` is NUL-terminated, `out` points to a sipwire_addr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_addr_parse(text: *const c_char, out: *mut sipwire_addr) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (text, out) = unsafe { (self::text(text)?, out.as_mut().ok_or(Error::Argument)?) };
        let addr = Addr::parse(text).ok_or(Error::Argument)?;
        *out = sipwire_addr::from_addr(&addr);
        Ok(0)
    })
}

/// Writes an address as text, "127.0.0.1:5060" or "[::1]:5060", NUL-terminated and cut off to `size`
/// bytes.
///
/// Returns: the whole length without the NUL, however much was written (the rule of snprintf); 0, and an empty text
/// is written: `addr` is NULL.
/// Call from: any thread, any process; in callbacks: yes; blocks: never.
///
/// # Safety
/// `addr` points to a sipwire_addr or is NULL; `buffer` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_addr_format(
    addr: *const sipwire_addr,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    call(0, || {
        // SAFETY: the caller's promise.
        let addr = unsafe { reference(addr) };
        let text = addr.map_or_else(|_| String::new(), |addr| addr.to_addr().to_string());
        // SAFETY: the caller's promise.
        unsafe { copy_text(&text, buffer, size) }
    })
}

/// Writes a PROXY header, for a host that sends one of its own as the first bytes of a connection (the setting
/// proxy_protocol_out has the library do it). `version`: 1 or 2. `source`, `destination`: whom it speaks for and
/// whom that one called; with NULL or no address (family 0) for one of them the header says that the connection
/// speaks for itself (UNKNOWN, LOCAL). `buffer`: gets the header, without a NUL, if `size` bytes are enough for
/// it (SIPWIRE_PROXY_HEADER_MAX always are), else nothing; may be NULL with size 0.
///
/// Returns: the header's length in bytes, also when it was not written; SIPWIRE_E_ARGUMENT: no such version.
/// Call from: any thread, any process; in callbacks: yes; blocks: never.
///
/// # Safety
/// `source` and `destination` point to a sipwire_addr or are NULL; `buffer` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_proxy_header(
    version: i32,
    source: *const sipwire_addr,
    destination: *const sipwire_addr,
    buffer: *mut c_char,
    size: usize,
) -> i32 {
    code(|| {
        let version = match version {
            1 => Version::V1,
            2 => Version::V2,
            _ => return Err(Error::Argument),
        };
        let addr = |addr: *const sipwire_addr| {
            // SAFETY: the caller's promise.
            unsafe { reference(addr) }.map_or(Addr::none(), |addr| addr.to_addr())
        };
        let pair = Pair {
            source: addr(source),
            destination: addr(destination),
        };
        let header = proxy::write(version, Some(&pair));
        // SAFETY: the caller's promise.
        unsafe { copy_bytes(&header, buffer, size) };
        Ok(header.len() as i32)
    })
}
