//! Listeners: where they are, adding and removing them while running.

use super::boundary::{code, copy_text, text};
use super::instance::shared;
use super::types::*;
use crate::pure::error::Error;
use crate::runtime::listeners;
use crate::table::listeners::State;
use core::ffi::c_char;

/// How many listeners there are, with those that were added and removed: every number that was given out
/// is below it.
///
/// Returns: the number, 0 or more; SIPWIRE_E_ARGUMENT.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_count(instance: *const sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| Ok(unsafe { shared(instance) }?.listener_count() as i32))
}

/// The address that listener `index` (from 0) is bound to, with its real port; of a closed one, was bound
/// to. One that was not opened yet has the address that was asked for.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: no such listener.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `out` points to a sipwire_addr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_addr(
    instance: *const sipwire_instance,
    index: i32,
    out: *mut sipwire_addr,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, out) = unsafe { (shared(instance)?, out.as_mut().ok_or(Error::Argument)?) };
        let index = usize::try_from(index).map_err(|_| Error::Argument)?;
        *out = sipwire_addr::from_addr(&instance.listener_addr(index)?);
        Ok(0)
    })
}

/// What has become of listener `index`.
///
/// `line`: NULL, or room for `size` bytes, for one line about a listener that is not open, e.g. why it
/// could not be opened and what to do about it (cut off to `size`); "" for one that is.
///
/// Returns: SIPWIRE_LISTENER_PENDING: the supervisor has not come to open or close it yet (or does not
/// run); SIPWIRE_LISTENER_OPEN; SIPWIRE_LISTENER_FAILED: it could not be opened; SIPWIRE_LISTENER_CLOSED:
/// removed, or ended by sipwire_drain or sipwire_stop; SIPWIRE_E_ARGUMENT: no such listener.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `line` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_state(
    instance: *const sipwire_instance,
    index: i32,
    line: *mut c_char,
    size: usize,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        unsafe { copy_text("", line, size) };
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        let record = instance.listener(usize::try_from(index).map_err(|_| Error::Argument)?)?;
        // Once: code and line are about the same moment.
        let state = record.state();
        // SAFETY: the caller's promise.
        unsafe { copy_text(&listeners::line(record, state), line, size) };
        match state {
            State::Wanted | State::Unwanted => Ok(SIPWIRE_LISTENER_PENDING),
            State::Open => Ok(SIPWIRE_LISTENER_OPEN),
            State::Failed(_) => Ok(SIPWIRE_LISTENER_FAILED),
            State::Closed => Ok(SIPWIRE_LISTENER_CLOSED),
            State::Free | State::Asking(_) => Err(Error::Argument),
        }
    })
}

/// Asks for one more listener while the instance runs. `address`: as for sipwire_config_listen. The
/// supervisor's process binds it, with that process's privileges, and soon: watch sipwire_listener_state,
/// which also has the line if it cannot (an address in use); it is logged, too. A supervisor that follows
/// one that died binds it again, on the same port. There is room for 64 beside those that the instance was
/// made with; the numbers of closed and failed ones are given out again, the one that ended longest ago
/// first.
///
/// `line`: NULL, or room for `size` bytes: with an error it gets one line that says what is wrong (cut
/// off to `size`); "" otherwise.
///
/// Returns: the listener's number, 0 or more, as in sipwire_message.listener; SIPWIRE_E_ARGUMENT;
/// SIPWIRE_E_SETTING: not such an address; SIPWIRE_E_LISTEN: the instance listens there already;
/// SIPWIRE_E_NO_MEMORY: too many; SIPWIRE_E_SHUTTING_DOWN: after sipwire_drain or sipwire_stop.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `address` is NUL-terminated; `line` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_add(
    instance: *mut sipwire_instance,
    address: *const c_char,
    line: *mut c_char,
    size: usize,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        unsafe { copy_text("", line, size) };
        // SAFETY: the caller's promise.
        let (instance, address) = unsafe { (shared(instance)?, text(address)?) };
        match instance.add_listener(address) {
            Ok(number) => Ok(number as i32),
            Err(failure) => {
                // SAFETY: the caller's promise.
                unsafe { copy_text(&failure.line, line, size) };
                Err(failure.error)
            }
        }
    })
}

/// Removes listener `index` while the instance runs, also one that sipwire_new bound or was given. The
/// supervisor closes it soon; when sipwire_listener_state says SIPWIRE_LISTENER_CLOSED, its port is free:
/// whoever sets SO_REUSEADDR, as servers do, may listen there. Connections that were accepted from it
/// live on. The socket of one that the instance was made with stays bound, closed, in processes that have a
/// copy of it; without SO_REUSEADDR its port is taken until these have ended.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: no such listener, or removed already.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_remove(
    instance: *mut sipwire_instance,
    index: i32,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance.remove_listener(usize::try_from(index).map_err(|_| Error::Argument)?)?;
        Ok(0)
    })
}
