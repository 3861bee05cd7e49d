//! Configuration: any thread, one at a time for each object; not for use in callbacks.

use super::boundary::{call, code, copy_text, text};
use super::types::sipwire_config;
use crate::pure::addr::parse_listen;
use crate::pure::error::{Error, Result};
use crate::pure::settings::{SettingError, Settings};
use core::ffi::c_char;
use std::ffi::CString;

impl sipwire_config {
    pub(super) fn fail(&mut self, error: Error, line: &str) -> Error {
        self.error = CString::new(line.replace('\0', " ")).unwrap_or_default();
        error
    }
}

/// # Safety
/// `config` is null or came from sipwire_config_new and was not freed.
pub(super) unsafe fn exclusive<'a>(config: *mut sipwire_config) -> Result<&'a mut sipwire_config> {
    // SAFETY: the caller's promise.
    unsafe { config.as_mut() }.ok_or(Error::Argument)
}

/// A configuration with every default. Free it with sipwire_config_free; sipwire_new does not
/// take it over. NULL: out of memory.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_config_new() -> *mut sipwire_config {
    call(core::ptr::null_mut(), || {
        let config = sipwire_config {
            settings: Settings::new(crate::sys::process::cpus()),
            listen: Vec::new(),
            error: CString::default(),
        };
        Box::into_raw(Box::new(config))
    })
}

/// NULL is allowed.
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

/// Sets one setting by text: "send_timeout", "10s". A "tcp_" prefix on the key is accepted, so
/// that a host maps its own parameters one to one. SIPWIRE_OK, SIPWIRE_E_ARGUMENT, or
/// SIPWIRE_E_SETTING: sipwire_config_error has the line that names key, value and the nearest
/// valid one.
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
        let (config, key, value) = unsafe { (exclusive(config)?, text(key)?, text(value)?) };
        let result = config.settings.set(key, value);
        set_result(config, result)
    })
}

/// Sets one setting by number: milliseconds, bytes, a count, or 0/1. Codes as for
/// sipwire_config_set.
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
        let (config, key) = unsafe { (exclusive(config)?, text(key)?) };
        let result = config.settings.set_number(key, value);
        set_result(config, result)
    })
}

fn set_result(
    config: &mut sipwire_config,
    result: core::result::Result<(), SettingError>,
) -> Result<i32> {
    match result {
        Ok(()) => {
            config.error = CString::default();
            Ok(0)
        }
        Err(error) => Err(config.fail(Error::Setting, &error.to_string())),
    }
}

/// Writes a setting's value as text, by the rule of snprintf. Returns its length, or
/// SIPWIRE_E_ARGUMENT, SIPWIRE_E_SETTING.
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
            let value = config.settings.get(key).map_err(|_| Error::Setting)?;
            // SAFETY: the caller's promise.
            Ok(unsafe { copy_text(&value, buffer, size) } as i64)
        };
        get().unwrap_or_else(|error: Error| i64::from(error.code()))
    })
}

/// Adds a listener: "tcp:127.0.0.1:5060", "tcp:[::]:5060"; port 0 takes any free one (see
/// sipwire_listener_addr). It is bound by sipwire_new. SIPWIRE_OK, SIPWIRE_E_ARGUMENT,
/// SIPWIRE_E_SETTING (see sipwire_config_error).
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
        let (config, address) = unsafe { (exclusive(config)?, text(address)?) };
        match parse_listen(address) {
            Ok(addr) => {
                config.listen.push(addr);
                config.error = CString::default();
                Ok(0)
            }
            Err(line) => Err(config.fail(Error::Setting, &line)),
        }
    })
}

/// One line about what the last failed call with this configuration met (sipwire_new included), ""
/// when it did not fail. Lives until the next call with it.
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
