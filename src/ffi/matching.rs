//! Which connection a send takes: aliases, suspects, flows. Any thread of a process that takes part.

use super::boundary::{code, copy_text};
use super::instance::attached;
use super::types::*;
use crate::pure::error::Error;
use core::ffi::c_char;

/// Lets sends to the remote address of connection `conn_id` with this `port` take the connection, too: the alias
/// parameter of a Via with the port of its sent-by (RFC 5923). Whoever the peer is, it then gets what is
/// sent there: call it only for peers that may (a TLS certificate, a trusted network). A connection has
/// one alias, a new one takes the place of the old; it ends with the connection. A send by this thread
/// right behind the call takes the connection.
///
/// An alias that another open connection answers to, by its remote address or by alias, is refused and
/// counted, unless that one is suspect: an alias it then loses, its own address it has again before the alias
/// when it is suspect no more. Of two connections for which the same alias is
/// asked at the same moment the first one that the supervisor sees has it, and the other is counted:
/// sipwire_conn_info.alias_port tells.
///
/// Returns: SIPWIRE_OK: it has it or will have it in a moment; SIPWIRE_E_ARGUMENT: port 0 or above 65535;
/// SIPWIRE_E_ALIASES_OFF: the setting accept_aliases is off; SIPWIRE_E_ALIAS_TAKEN; SIPWIRE_E_NO_CONNECTION;
/// SIPWIRE_E_TOTAL_QUEUE_FULL: too many wait for the supervisor, or no block is free; SIPWIRE_E_SHUTTING_DOWN;
/// SIPWIRE_E_SUPERVISOR_GONE; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_ROLE: the thread is
/// ending; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_add_alias(
    instance: *mut sipwire_instance,
    conn_id: u32,
    port: u32,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { attached(instance) }?;
        let port = u16::try_from(port).map_err(|_| Error::Argument)?;
        if port == 0 {
            return Err(Error::Argument);
        }
        instance.conn_add_alias(conn_id, port).map(|()| 0)
    })
}

/// Says (`on` not 0) that connection `conn_id` does not answer, or takes that back (0). While it is suspect no
/// send by address takes it: a new connection is dialled. Sends by id still go over it, its messages are
/// delivered, and sipwire_conn_find does not find it. It is not closed.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_set_suspect(
    instance: *mut sipwire_instance,
    conn_id: u32,
    on: i32,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { attached(instance) }?;
        instance.conn_set_suspect(conn_id, on != 0).map(|()| 0)
    })
}

/// A token that names connection `conn_id` and no other one ever (RFC 5626 section 5.2): 28 characters of
/// A-Z a-z 0-9 - _, for the user part of a Route or Record-Route URI. Nobody can make or alter one without
/// the key, which each sipwire_new draws anew. Written NUL-terminated to `out`, cut off to `size` bytes:
/// SIPWIRE_FLOW_TOKEN_SIZE are enough.
///
/// Returns: the token's length; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `out` has room for `size` bytes or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_flow_token(
    instance: *mut sipwire_instance,
    conn_id: u32,
    out: *mut c_char,
    size: usize,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let token = unsafe { attached(instance) }?.flow_token(conn_id)?;
        // SAFETY: the caller's promise.
        Ok(unsafe { copy_text(&token, out, size) } as i32)
    })
}

/// The connection that a flow token names: send on it with SIPWIRE_SEND_FLOW. `token`: `length` bytes as they
/// are in the message, not NUL-terminated.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_BAD_TOKEN: not made here, or altered (an answer of 403, RFC 5626 section
/// 5.3.1); SIPWIRE_E_NO_CONNECTION: the connection has ended, or the token says that it is of an earlier start
/// (430); SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED. On failure *out_id is untouched.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `token` points to `length` bytes; `out_id` to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_flow_find(
    instance: *mut sipwire_instance,
    token: *const c_char,
    length: usize,
    out_id: *mut u32,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, out) =
            unsafe { (attached(instance)?, out_id.as_mut().ok_or(Error::Argument)?) };
        if token.is_null() || length > isize::MAX as usize {
            return Err(Error::Argument);
        }
        // SAFETY: the caller's promise.
        let token = unsafe { core::slice::from_raw_parts(token.cast::<u8>(), length) };
        *out = instance.flow_find(token)?;
        Ok(0)
    })
}
