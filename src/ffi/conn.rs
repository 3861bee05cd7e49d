//! Connections: any thread of a process that takes part (else SIPWIRE_E_NOT_ATTACHED); allowed in
//! callbacks.

use super::boundary::{code, size_of_out, write};
use super::host::info_of;
use super::instance::attached as shared;
use super::types::*;
use crate::pure::addr::Addr;
use crate::pure::error::Error;
use crate::pure::keepalive::{Interval, time_in_range};

/// A snapshot of connection `conn_id`. Each value is true for some instant of the call, not all for the same
/// one. `out->struct_size` is set by the caller.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED;
/// SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `out` points to a structure whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_info_get(
    instance: *mut sipwire_instance,
    conn_id: u32,
    out: *mut sipwire_conn_info,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, size) = unsafe { (shared(instance)?, size_of_out(out)?) };
        let info = info_of(&instance.conn_info(conn_id)?);
        // SAFETY: room for `size` bytes by the caller's promise.
        unsafe { write(out, size, &info) };
        Ok(0)
    })
}

/// The id of an open connection to `remote`, and from `local` unless that is NULL or none (port 0 there:
/// any port).
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION, with *out_id
/// untouched.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `remote` and `local` point to a sipwire_addr, `local` may be NULL; `out_id` points to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_find(
    instance: *mut sipwire_instance,
    remote: *const sipwire_addr,
    local: *const sipwire_addr,
    out_id: *mut u32,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, remote, local, out) = unsafe {
            (
                shared(instance)?,
                super::boundary::reference(remote)?.to_addr(),
                local.as_ref().map_or(Addr::none(), |local| local.to_addr()),
                out_id.as_mut().ok_or(Error::Argument)?,
            )
        };
        *out = instance.conn_find(&remote, &local)?;
        Ok(0)
    })
}

/// A page of connections. `cursor`: 0 to begin; 0 again after the last page. `out`: room for `capacity`
/// structures; out[0].struct_size is set by the caller and is the distance of the elements. A connection
/// that is there all the time is listed exactly once. No lock is held between pages or within.
///
/// Returns: how many were written; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `cursor` points to a number; `out` has room for `capacity` structures of out[0].struct_size bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_list(
    instance: *mut sipwire_instance,
    cursor: *mut u32,
    out: *mut sipwire_conn_info,
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
        let infos = instance.conn_list(cursor, capacity.min(i32::MAX as usize));
        for (i, info) in infos.iter().enumerate() {
            // SAFETY: i < capacity elements of `size` bytes.
            unsafe {
                let place = out.cast::<u8>().add(i * size).cast::<sipwire_conn_info>();
                place.cast::<u32>().write_unaligned(size as u32);
                write(place, size, &info_of(info));
            }
        }
        Ok(infos.len() as i32)
    })
}

/// Ends connection `conn_id` (reason HOST): what was queued is written first, then our FIN goes out and input is
/// dropped until the peer's, at most for the setting `linger`. on_close follows.
///
/// Returns: SIPWIRE_OK: it will end; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_close(instance: *mut sipwire_instance, conn_id: u32) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.conn_close(conn_id).map(|()| 0))
}

/// Keeps `user`, a number (or pointer) of the host's, with connection `conn_id`, 0 at first; callbacks show it as
/// conn_user. In a callback of this connection it is certain to reach it; elsewhere the host must know
/// that the connection has not ended: an id that is a moment too old may meet the next one in its place.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_set_user(
    instance: *mut sipwire_instance,
    conn_id: u32,
    user: u64,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance.conn_set_user(conn_id, user).map(|()| 0)
    })
}

/// The lifetime of connection `conn_id` alone: `lifetime_ms` milliseconds from its last activity (data, a send, its
/// return from a worker); 0: the setting connection_lifetime. It does not run while keep-alive is on
/// (sipwire_conn_set_keepalive, sipwire_conn_set_flow_timer).
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: lifetime_ms < 0; SIPWIRE_E_NOT_ATTACHED;
/// SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_set_lifetime(
    instance: *mut sipwire_instance,
    conn_id: u32,
    lifetime_ms: i64,
) -> i32 {
    code(|| {
        let lifetime_ms = u64::try_from(lifetime_ms).map_err(|_| Error::Argument)?;
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance.conn_set_lifetime(conn_id, lifetime_ms).map(|()| 0)
    })
}

/// Keep-alive as the client (RFC 5626 4.4.1), on connection `conn_id`, which we dialled or accepted: a double CRLF is
/// sent, and the peer answers with one CRLF. The time from one ping to the next is random between 80 % and
/// 100 % of `interval_ms` milliseconds: 10 to 14400000 (four hours); SIPWIRE_KEEPALIVE_DEFAULT: between 95 and
/// 120 seconds, the RFC's default where the peer gave no Flow-Timer; 0: off. The value of Flow-Timer, or of
/// `keep` (RFC 6223), times 1000 is what to give. With the setting crlf_keepalive connections that we dial
/// begin with SIPWIRE_KEEPALIVE_DEFAULT.
///
/// A ping goes behind what is queued, never inside a message; the next one goes out when the pong came. When
/// it did not come within the setting pong_timeout the connection is closed: what is unsent is reported by
/// on_send_failed and the end by on_close, both with SIPWIRE_REASON_FLOW_FAILED; the destination is not
/// blacklisted. Only a pong ends the wait: neither a message nor a ping of the peer's shows that it reads what
/// we send. A message that is under way when the time is over is taken first, and while input waits for a
/// worker the connection is not judged.
///
/// While it is on the connection's lifetime does not run: it lives as long as the peer answers.
/// Takes effect at once, also on the ping that is due next.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: interval_ms; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_set_keepalive(
    instance: *mut sipwire_instance,
    conn_id: u32,
    interval_ms: i64,
) -> i32 {
    code(|| {
        let interval = Interval::from_number(interval_ms).ok_or(Error::Argument)?;
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance.conn_set_keepalive(conn_id, interval).map(|()| 0)
    })
}

/// The peer of connection `conn_id` has promised to send something, a ping at least, every `flow_timer_ms`
/// milliseconds, because the answer to its registration had a Flow-Timer (RFC 5626 5.4): 10 to 14400000 (four
/// hours); 0: it has not. When nothing arrives for so long and the setting flow_timer_grace, the connection is
/// closed and what is unsent reported, with SIPWIRE_REASON_FLOW_TIMER. Input that waits for a worker counts as
/// arrived. The time runs from the last input, or from this call if none was set before. Meanwhile the
/// connection's lifetime does not run.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: flow_timer_ms; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_set_flow_timer(
    instance: *mut sipwire_instance,
    conn_id: u32,
    flow_timer_ms: i64,
) -> i32 {
    code(|| {
        let flow_timer_ms = match flow_timer_ms {
            0 => 0,
            ms => time_in_range(ms).ok_or(Error::Argument)?,
        };
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance
            .conn_set_flow_timer(conn_id, flow_timer_ms)
            .map(|()| 0)
    })
}
