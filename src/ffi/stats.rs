//! Statistics, live settings, log.

use super::boundary::{call, code, copy_text, size_of_out, text, write};
use super::instance::shared;
use super::types::*;
use crate::pure::error::Error;
use crate::runtime::membership;
use crate::shm::counters::Counter;
use crate::sync::Word;
use crate::sys::clock::monotonic_ms;
use crate::table::blacklist;
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
        let segment = &instance.context.segment;
        let header = segment.header();
        let gauges = &header.gauges;
        let total = |counter| segment.total(counter);
        let pools = [segment.blocks(), segment.partial_blocks()];
        let held: u64 = segment
            .workers()
            .iter()
            .map(|w| u64::from(w.held.get()))
            .sum();
        let running = segment
            .participants()
            .active()
            .filter(|(_, record)| record.own.callback_since_ms.load_sync() != 0)
            .count() as u64;
        let connections = gauges.connections.get();
        let stats = sipwire_stats {
            struct_size: 0,
            reserved: 0,
            connections,
            connections_idle: connections.saturating_sub(held),
            queued_bytes: segment.participants().queued_bytes(),
            partial_bytes: segment.participants().partial_bytes(),
            blocks_used: pools.iter().map(|pool| pool.in_use()).sum(),
            blocks_total: pools.iter().map(|pool| pool.blocks.len() as u64).sum(),
            slots_used: gauges.slots_used.get(),
            slots_total: segment.slots().len() as u64,
            participants: segment.participants().active().count() as u64,
            workers: segment.workers().len() as u64,
            blacklist_entries: u64::from(blacklist::count(segment.blacklist(), monotonic_ms())),
            supervisor_pid: u64::from(header.supervisor_pid.load_sync()),
            accept_paused: gauges.accept_paused.get(),
            degraded: u64::from(header.degraded.load_sync()),
            accepted: total(Counter::Accepted),
            dialled: total(Counter::Dialled),
            connected: total(Counter::Connected),
            connect_failed: total(Counter::ConnectFailed),
            closed: total(Counter::Closed),
            refused_max_connections: total(Counter::RefusedMaxConnections),
            refused_max_connections_per_ip: total(Counter::RefusedMaxConnectionsPerIp),
            accept_pauses: total(Counter::AcceptPauses),
            handoffs: total(Counter::Handoffs),
            givebacks: total(Counter::Givebacks),
            relends: total(Counter::Relends),
            nofd_returns: total(Counter::NoFdReturns),
            fds_passed: total(Counter::FdsPassed),
            messages_in: total(Counter::MessagesIn),
            bytes_in: total(Counter::BytesIn),
            messages_out: total(Counter::MessagesOut),
            bytes_out: total(Counter::BytesOut),
            pings: total(Counter::Pings),
            error_answers: total(Counter::ErrorAnswers),
            sends_direct: total(Counter::SendsDirect),
            sends_queued: total(Counter::SendsQueued),
            sends_refused: total(Counter::SendsRefused),
            async_started: total(Counter::AsyncStarted),
            async_ended: total(Counter::AsyncEnded),
            failures_reported: total(Counter::FailuresReported),
            failures_repeated: total(Counter::FailuresRepeated),
            messages_lost_report: total(Counter::MessagesLostReport),
            blacklist_added: total(Counter::BlacklistAdded),
            blacklist_refused: total(Counter::BlacklistRefused),
            participants_died: total(Counter::ParticipantsDied),
            log_dropped: segment.log().dropped(),
            callbacks_running: running,
            closed_by_reason: core::array::from_fn(|i| {
                gauges.closed_by_reason.get(i).map_or(0, Word::get)
            }),
            pings_sent: total(Counter::PingsSent),
            pongs_heard: total(Counter::PongsHeard),
            flows_failed: total(Counter::FlowsFailed),
            refused_proxy: total(Counter::RefusedProxy),
            proxy_waiting: gauges.proxy_waiting.get(),
            refused_denied: total(Counter::RefusedDenied),
            refused_not_allowed: total(Counter::RefusedNotAllowed),
            refused_rate: total(Counter::RefusedRate),
            refused_rate_per_ip: total(Counter::RefusedRatePerIp),
            draining: u64::from(header.drain_ms.load_sync() != 0),
            drain_cut: total(Counter::DrainCut),
            aliases_added: total(Counter::AliasesAdded),
            aliases_refused: total(Counter::AliasesRefused),
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
/// As for sipwire_stats_get.
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
        let place = instance
            .context
            .segment
            .workers()
            .get(index)
            .ok_or(Error::Argument)?;
        let (pid, busy_ms) = instance.worker(index).unwrap_or((0, 0));
        let stats = sipwire_worker_stats {
            struct_size: 0,
            worker,
            running: u32::from(pid != 0),
            stalled: place.stalled.get(),
            pid: u64::from(pid),
            held: u64::from(place.held.get()),
            lends: place.lends.get(),
            messages: place.messages.get(),
            busy_ms,
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
/// Call from: any thread of a process that takes part; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_log_drain(instance: *mut sipwire_instance) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        let member = membership::current(&instance.context)?;
        if member.in_callback.get() {
            return Err(Error::Reentrant);
        }
        Ok(crate::roles::worker::drain_log(&instance.context, &member) as i32)
    })
}
