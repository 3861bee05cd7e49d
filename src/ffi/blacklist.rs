//! The blacklist: destinations that failed and are not dialled for `blacklist_ttl`. Any participant;
//! allowed in callbacks. Connections that exist are not affected.

use super::boundary::{code, reference, size_of_out, write};
use super::instance::shared;
use super::types::*;
use crate::pure::error::Error;
use crate::pure::reason::Reason;
use crate::runtime::membership;
use crate::sys::clock::monotonic_ms;
use crate::table::blacklist;

/// Whether a destination is listed now: it failed and is not dialled until its time is over. Open
/// connections are not affected.
///
/// Returns: 1 or 0; SIPWIRE_E_ARGUMENT.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `addr` points to a sipwire_addr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_blacklist_check(
    instance: *mut sipwire_instance,
    addr: *const sipwire_addr,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, addr) = unsafe { (shared(instance)?, reference(addr)?.to_addr()) };
        if addr.is_none() {
            return Err(Error::Argument);
        }
        Ok(i32::from(blacklist::check(
            instance.context.segment.blacklist(),
            &addr,
            monotonic_ms(),
        )))
    })
}

/// Lists a destination for `ttl_ms` milliseconds, or sets the time of one already there anew; < 0: for the
/// setting blacklist_ttl; 0: not at all.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT;
/// SIPWIRE_E_NO_MEMORY: no place at this moment, try again; SIPWIRE_E_ROLE: the thread is ending;
/// SIPWIRE_E_SYSTEM (errno is set).
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `addr` points to a sipwire_addr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_blacklist_add(
    instance: *mut sipwire_instance,
    addr: *const sipwire_addr,
    ttl_ms: i64,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, addr) = unsafe { (shared(instance)?, reference(addr)?.to_addr()) };
        if addr.is_none() {
            return Err(Error::Argument);
        }
        let context = &instance.context;
        let ttl_ms = u64::try_from(ttl_ms).unwrap_or_else(|_| context.live().blacklist_ttl_ms);
        if ttl_ms == 0 {
            return Ok(0);
        }
        let writer = membership::current(context)?.holder;
        let reason = Reason::Host as u32;
        let entries = context.segment.blacklist();
        if blacklist::add(entries, writer, &addr, monotonic_ms(), ttl_ms, reason) {
            Ok(0)
        } else {
            Err(Error::NoMemory)
        }
    })
}

/// Takes a destination off the list.
///
/// Returns: 1: it was listed; 0: it was not; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED;
/// SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `addr` points to a sipwire_addr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_blacklist_remove(
    instance: *mut sipwire_instance,
    addr: *const sipwire_addr,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, addr) = unsafe { (shared(instance)?, reference(addr)?.to_addr()) };
        if addr.is_none() {
            return Err(Error::Argument);
        }
        let writer = membership::current(&instance.context)?.holder;
        Ok(i32::from(blacklist::remove(
            instance.context.segment.blacklist(),
            writer,
            &addr,
        )))
    })
}

/// A page of listed destinations. Parameters and result as sipwire_conn_list; not one moment's picture,
/// and one that is listed again meanwhile may come twice.
///
/// Returns: how many were written; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `cursor` points to a number; `out` has room for `capacity` structures of out[0].struct_size bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_blacklist_list(
    instance: *mut sipwire_instance,
    cursor: *mut u32,
    out: *mut sipwire_blacklist_entry,
    capacity: usize,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, cursor) =
            unsafe { (shared(instance)?, cursor.as_mut().ok_or(Error::Argument)?) };
        if capacity == 0 {
            return Err(Error::Argument);
        }
        // SAFETY: the caller's promise.
        let size = unsafe { size_of_out(out) }?;
        let mut listed = Vec::new();
        let max = capacity.min(i32::MAX as usize);
        let entries = instance.context.segment.blacklist();
        blacklist::list(entries, monotonic_ms(), cursor, &mut listed, max);
        if *cursor as usize >= entries.len() {
            *cursor = 0;
        }
        for (i, (addr, remaining_ms, reason)) in listed.iter().enumerate() {
            let entry = sipwire_blacklist_entry {
                struct_size: 0,
                reason: *reason as i32,
                addr: sipwire_addr::from_addr(addr),
                remaining_ms: *remaining_ms,
            };
            // SAFETY: i < capacity elements of `size` bytes.
            unsafe {
                let place = out
                    .cast::<u8>()
                    .add(i * size)
                    .cast::<sipwire_blacklist_entry>();
                place.cast::<u32>().write_unaligned(size as u32);
                write(place, size, &entry);
            }
        }
        Ok(listed.len() as i32)
    })
}
