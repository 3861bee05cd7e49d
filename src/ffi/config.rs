//! Configuration: any thread, one at a time for each object; not for use in callbacks.

use super::boundary::{code, copy_text, text};
use super::types::sipwire_config;
use crate::pure::error::{Error, Result};
use crate::runtime::boundary::call;
use crate::runtime::config::Config;
use crate::runtime::instance::Failure;
use core::ffi::c_char;
use std::ffi::CString;

impl sipwire_config {
    pub(super) fn fail(&mut self, error: Error, line: &str) -> Error {
        self.error = CString::new(line.replace('\0', " ")).unwrap_or_default();
        error
    }

    /// For sipwire_config_error.
    fn keep_line(&mut self, result: core::result::Result<(), Failure>) -> Result<i32> {
        result.map_err(|failure| self.fail(failure.error, &failure.line))?;
        self.error = CString::default();
        Ok(0)
    }

    /// Two arguments, or the line that says what is wrong with one of them.
    fn both<A, B>(&mut self, a: Result<A>, b: Result<B>) -> Result<(A, B)> {
        a.and_then(|a| Ok((a, b?)))
            .map_err(|error| self.fail(error, "an argument is NULL or is not UTF-8 text"))
    }
}

/// # Safety
/// `config` is null or came from sipwire_config_new and was not freed.
pub(super) unsafe fn exclusive<'a>(config: *mut sipwire_config) -> Result<&'a mut sipwire_config> {
    // SAFETY: the caller's promise.
    unsafe { config.as_mut() }.ok_or(Error::Argument)
}

/// A configuration with every default. The caller owns it and frees it with sipwire_config_free, also
/// after sipwire_new, which takes nothing over.
///
/// Returns: the configuration; NULL: a bug of the library.
/// Call from: any thread; in callbacks: yes; blocks: never (reads the CPU quota's files the first time).
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_config_new() -> *mut sipwire_config {
    super::boundary::print_nothing();
    call(core::ptr::null_mut(), || {
        let config = sipwire_config {
            inner: Config::new(),
            error: CString::default(),
        };
        Box::into_raw(Box::new(config))
    })
}

/// Frees a configuration. NULL is allowed.
///
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` came from sipwire_config_new and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_free(config: *mut sipwire_config) {
    call((), || {
        if !config.is_null() {
            // SAFETY: from Box::into_raw, by the caller's promise.
            drop(unsafe { Box::from_raw(config) });
        }
    });
}

/// Sets one setting by text. `key`: as in docs/tuning.md; a "tcp_" prefix is accepted and
/// "-" counts as "_", so that a host maps its own parameters one to one. `value`: times "10s", "250ms",
/// "2m", "1h" or bare seconds; sizes "64k", "10m", "1g" or bare bytes; counts; yes/no; words.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: a NULL, or text that is not UTF-8; SIPWIRE_E_SETTING: unknown
/// key or value out of range, and sipwire_config_error has one line with key, value and the nearest
/// valid one.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives; `key` and `value` are NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_set(
    config: *mut sipwire_config,
    key: *const c_char,
    value: *const c_char,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (config, key, value) = unsafe { (exclusive(config)?, text(key), text(value)) };
        let (key, value) = config.both(key, value)?;
        let result = config.inner.set(key, value);
        config.keep_line(result)
    })
}

/// Sets one setting by number. `value`: milliseconds for times, bytes for sizes, a count, 0 or 1 for
/// no or yes, the number of a word.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: as sipwire_config_set.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives; `key` is NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_set_number(
    config: *mut sipwire_config,
    key: *const c_char,
    value: i64,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (config, key) = unsafe { (exclusive(config)?, text(key)) };
        let (key, value) = config.both(key, Ok(value))?;
        let result = config.inner.set_number(key, value);
        config.keep_line(result)
    })
}

/// Writes a setting's value as text that sipwire_config_set takes back, NUL-terminated and cut off to
/// `size` bytes.
///
/// Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT;
/// SIPWIRE_E_SETTING: unknown key.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives; `key` is NUL-terminated; `buffer` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_get(
    config: *const sipwire_config,
    key: *const c_char,
    buffer: *mut c_char,
    size: usize,
) -> i64 {
    call(i64::from(Error::Panic.code()), || {
        let get = || {
            // SAFETY: the caller's promise.
            let (config, key) = unsafe { (super::boundary::reference(config)?, text(key)?) };
            let value = config.inner.get(key).map_err(|failure| failure.error)?;
            // SAFETY: the caller's promise.
            Ok(unsafe { copy_text(&value, buffer, size) } as i64)
        };
        get().unwrap_or_else(|error: Error| i64::from(error.code()))
    })
}

/// Adds a listener, which sipwire_new binds. `address`: "tcp:127.0.0.1:5060", "tcp:[::]:5060"; port 0
/// takes any free one (see sipwire_listener_addr). An IPv6 listener takes IPv6 only. May be called any
/// number of times; listeners are numbered from 0 in this order.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: not such an address, see
/// sipwire_config_error.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives; `address` is NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_listen(
    config: *mut sipwire_config,
    address: *const c_char,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (config, address) = unsafe { (exclusive(config)?, text(address)) };
        let (address, ()) = config.both(address, Ok(()))?;
        let result = config.inner.listen(address);
        config.keep_line(result)
    })
}

/// Adds a listener that the host has made itself or was given (a server that binds its sockets before it
/// loads the transport, socket activation): a TCP socket that is bound and listens. Numbered with those of
/// sipwire_config_listen. `fd` stays the caller's, who keeps it open until sipwire_new, which takes a
/// duplicate; after that it may be closed, and nobody but the library may accept on it. The socket becomes
/// non-blocking and gets the options of the settings, except those that come before listening:
/// listen_backlog, reuse_port. sipwire_drain and sipwire_stop end its listening for good, for everybody who
/// has a descriptor of it: one that is to outlive the instance has to be bound anew.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: not a listening TCP socket, see
/// sipwire_config_error.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_listen_fd(config: *mut sipwire_config, fd: i32) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { exclusive(config)? };
        let result = config.inner.listen_fd(fd);
        config.keep_line(result)
    })
}

/// Gives one listener a value of its own for a setting that all others have from sipwire_config_set, whether
/// that is set before or after. `listener`: its number, from 0, in the order in which they were added. `key`:
/// proxy_protocol or proxy_networks; `value`: as for sipwire_config_set.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: also, no such listener; SIPWIRE_E_SETTING: unknown key, one that no
/// listener has for itself, or value out of range, see sipwire_config_error.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives; `key` and `value` are NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_listener_set(
    config: *mut sipwire_config,
    listener: i32,
    key: *const c_char,
    value: *const c_char,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (config, key, value) = unsafe { (exclusive(config)?, text(key), text(value)) };
        let (key, value) = config.both(key, value)?;
        let result = config.inner.listener_set(listener, key, value);
        config.keep_line(result)
    })
}

/// One line about the last sipwire_config_set, _set_number, _listen, _listen_fd, _listener_set or sipwire_new with
/// this configuration, if it failed; else "".
///
/// Returns: text that lives until the next call with the configuration; never NULL.
/// Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
///
/// # Safety
/// `config` lives or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_config_error(config: *const sipwire_config) -> *const c_char {
    // SAFETY: the caller's promise.
    match unsafe { config.as_ref() } {
        Some(config) => config.error.as_ptr(),
        None => c"".as_ptr(),
    }
}
