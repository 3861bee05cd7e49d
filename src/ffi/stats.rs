//! Statistics, live settings, log.

use super::boundary::{code, copy_text, size_of_out, text, write};
use super::instance::shared;
use super::types::*;
use crate::pure::error::Error;
use crate::runtime::boundary::call;
use crate::runtime::picture;
use core::ffi::c_char;

/// A snapshot of the statistics. `out->struct_size` is set by the caller. Reads memory only; each value is
/// true for some instant of the call.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `out` points to a structure whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_stats_get(
    instance: *mut sipwire_instance,
    out: *mut sipwire_stats,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, size) = unsafe { (shared(instance)?, size_of_out(out)?) };
        let now = picture::stats(&instance.context.segment);
        let stats = sipwire_stats {
            struct_size: 0,
            reserved: 0,
            connections: now.connections,
            connections_idle: now.connections_idle,
            queued_bytes: now.queued_bytes,
            partial_bytes: now.partial_bytes,
            blocks_used: now.blocks_used,
            blocks_total: now.blocks_total,
            slots_used: now.slots_used,
            slots_total: now.slots_total,
            participants: now.participants,
            workers: now.workers,
            blacklist_entries: now.blacklist_entries,
            supervisor_pid: now.supervisor_pid,
            accept_paused: now.accept_paused,
            degraded: now.degraded,
            accepted: now.accepted,
            dialled: now.dialled,
            connected: now.connected,
            connect_failed: now.connect_failed,
            closed: now.closed,
            refused_max_connections: now.refused_max_connections,
            refused_max_connections_per_ip: now.refused_max_connections_per_ip,
            accept_pauses: now.accept_pauses,
            handoffs: now.handoffs,
            givebacks: now.givebacks,
            relends: now.relends,
            nofd_returns: now.nofd_returns,
            fds_passed: now.fds_passed,
            messages_in: now.messages_in,
            bytes_in: now.bytes_in,
            messages_out: now.messages_out,
            bytes_out: now.bytes_out,
            pings: now.pings,
            error_answers: now.error_answers,
            sends_direct: now.sends_direct,
            sends_queued: now.sends_queued,
            sends_refused: now.sends_refused,
            async_started: now.async_started,
            async_ended: now.async_ended,
            failures_reported: now.failures_reported,
            failures_repeated: now.failures_repeated,
            messages_lost_report: now.messages_lost_report,
            blacklist_added: now.blacklist_added,
            blacklist_refused: now.blacklist_refused,
            participants_died: now.participants_died,
            log_dropped: now.log_dropped,
            callbacks_running: now.callbacks_running,
            closed_by_reason: now.closed_by_reason,
            pings_sent: now.pings_sent,
            pongs_heard: now.pongs_heard,
            flows_failed: now.flows_failed,
            refused_proxy: now.refused_proxy,
            proxy_waiting: now.proxy_waiting,
            refused_denied: now.refused_denied,
            refused_not_allowed: now.refused_not_allowed,
            refused_rate: now.refused_rate,
            refused_rate_per_ip: now.refused_rate_per_ip,
            draining: now.draining,
            drain_cut: now.drain_cut,
            aliases_added: now.aliases_added,
            aliases_refused: now.aliases_refused,
        };
        // SAFETY: room for `size` bytes by the caller's promise.
        unsafe { write(out, size, &stats) };
        Ok(0)
    })
}

/// One worker's statistics, for `worker` 0 to workers - 1. `out->struct_size` is set by the caller.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: also, no such worker; SIPWIRE_E_VERSION.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `out` points to a structure whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_worker_stats_get(
    instance: *mut sipwire_instance,
    worker: i32,
    out: *mut sipwire_worker_stats,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, size) = unsafe { (shared(instance)?, size_of_out(out)?) };
        let index = usize::try_from(worker).map_err(|_| Error::Argument)?;
        let now = picture::worker(&instance.context.segment, index).ok_or(Error::Argument)?;
        let stats = sipwire_worker_stats {
            struct_size: 0,
            worker,
            running: u32::from(now.pid != 0),
            stalled: u32::from(now.stalled),
            pid: u64::from(now.pid),
            held: now.held,
            lends: now.lends,
            messages: now.messages,
            busy_ms: now.busy_ms,
        };
        // SAFETY: room for `size` bytes by the caller's promise.
        unsafe { write(out, size, &stats) };
        Ok(0)
    })
}

/// Changes a setting while running, for all participants. Keys and values as in sipwire_config_set.
///
/// `line`: NULL, or room for `size` bytes: with SIPWIRE_E_SETTING, SIPWIRE_E_NOT_LIVE and SIPWIRE_E_NO_MEMORY it
/// gets one line that says what is wrong and what is not (cut off to `size`); "" otherwise.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: unknown key, value out of range, or one that
/// contradicts another setting; SIPWIRE_E_NOT_LIVE: can only be set before sipwire_new; SIPWIRE_E_NO_MEMORY: an
/// address or list that other processes are in the middle of changing, try again.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `key` and `value` are NUL-terminated; `line` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_set(
    instance: *mut sipwire_instance,
    key: *const c_char,
    value: *const c_char,
    line: *mut c_char,
    size: usize,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        unsafe { copy_text("", line, size) };
        // SAFETY: the caller's promise.
        let (instance, key, value) = unsafe { (shared(instance)?, text(key)?, text(value)?) };
        instance.set(key, value).map(|()| 0).map_err(|failure| {
            // SAFETY: the caller's promise.
            unsafe { copy_text(&failure.line, line, size) };
            failure.error
        })
    })
}

/// Writes a setting's present value as text that sipwire_set takes back, NUL-terminated and cut off to
/// `size` bytes.
///
/// Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT;
/// SIPWIRE_E_SETTING: unknown key.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `key` is NUL-terminated; `buffer` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_get(
    instance: *mut sipwire_instance,
    key: *const c_char,
    buffer: *mut c_char,
    size: usize,
) -> i64 {
    call(i64::from(Error::Panic.code()), || {
        let get = || {
            // SAFETY: the caller's promise.
            let (instance, key) = unsafe { (shared(instance)?, text(key)?) };
            let value = instance
                .context
                .live()
                .get(key)
                .map_err(|_| Error::Setting)?;
            // SAFETY: the caller's promise.
            Ok(unsafe { copy_text(&value, buffer, size) } as i64)
        };
        get().unwrap_or_else(|error: Error| i64::from(error.code()))
    })
}

/// Calls on_log here, in the calling thread, for log records that wait, at most 64. Workers do this by
/// themselves; it is for a host whose workers do not run (yet, or any more).
///
/// Returns: how many; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT;
/// SIPWIRE_E_REENTRANT: in a callback; SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is
/// set).
/// Call from: any thread of a process that takes part; in callbacks: no; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_log_drain(instance: *mut sipwire_instance) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        Ok(instance.drain_log()? as i32)
    })
}
