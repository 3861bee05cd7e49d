//! Back-pressure: what is queued before a send, and connections that the host does not want to read for
//! now. Of itself the library does the same: see the settings queue_high, queue_low and pause_reading.

use super::boundary::{code, read};
use super::instance::attached as shared;
use super::types::*;
use crate::pure::error::Error;

/// How many bytes wait before a message that would be sent to `target` now. With a connection id: in the
/// queue of that connection. With an address: in the queues of all open connections to it (and from
/// `local`, unless that is none), connecting ones too; 0 when there is none. Messages that were sent to an
/// address without a connection and that the supervisor has not yet seen are not counted, nor is what the
/// kernel holds. With both, the connection if it still has that address, else the address, as sipwire_send
/// does. The bytes compare with conn_wq_max, queue_high and queue_low; they may have changed on return.
///
/// `target->flags` is 0; `target->hash` plays no part.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED;
/// SIPWIRE_E_NO_CONNECTION: no connection with this id, and no address. On an error *out_bytes is untouched.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `target` points to a structure of its struct_size; `out_bytes` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_queued(
    instance: *mut sipwire_instance,
    target: *const sipwire_target,
    out_bytes: *mut u64,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, target, out) = unsafe {
            (
                shared(instance)?,
                read(target)?,
                out_bytes.as_mut().ok_or(Error::Argument)?,
            )
        };
        let (remote, local) = (target.remote.to_addr(), target.local.to_addr());
        let nowhere = if remote.is_none() {
            target.conn_id == 0
        } else {
            remote.port == 0
        };
        if target.flags != 0 || nowhere {
            return Err(Error::Argument);
        }
        let by_id = match target.conn_id {
            0 => Err(Error::NoConnection),
            id => instance.conn_queued(id, &remote),
        };
        *out = match by_id {
            Err(Error::NoConnection) if !remote.is_none() => {
                instance.destination_queued(&remote, &local)
            }
            result => result?,
        };
        Ok(0)
    })
}

/// Stops reading connection `conn_id` until sipwire_conn_resume. What its peer sends waits in the kernel, whose
/// window closes, so that the peer has to wait; nothing is lost. From inside an on_message of this
/// connection it is exact: no further message of it is delivered, not even one that was read together with
/// this one. From elsewhere a message whose delivery has begun, or begins in this instant, still comes.
/// Pausing twice is pausing once. SIPWIRE_CONN_PAUSED shows it.
///
/// Only reading stops: messages are sent as before, and the connection ends as before by
/// sipwire_conn_close, a time limit, a reset of the peer, a drain or a stop; on_close then follows without
/// the messages that were not delivered. The connection's lifetime runs while the peer has sent nothing
/// that waits, and stands still from then on, as does the time for the rest of a message, for a pong and for
/// the peer's next ping; all begin anew at the resume, and first_message_timeout holds no more. When the peer
/// ends its side meanwhile, the connection ends half_close_timeout later unless it is resumed before. The pause is the connection's: it outlives the
/// thread or process that asked for it, and who pauses sees to it that somebody resumes.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_pause(instance: *mut sipwire_instance, conn_id: u32) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance.conn_pause(conn_id, true).map(|()| 0)
    })
}

/// Reads connection `conn_id` again, which sipwire_conn_pause stopped: what waits is delivered in its order, by any
/// worker. Without a pause it does nothing; a pause that has not yet taken effect never does. A connection
/// that is also above queue_high is read when it is down to queue_low.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_conn_resume(instance: *mut sipwire_instance, conn_id: u32) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance.conn_pause(conn_id, false).map(|()| 0)
    })
}
