//! Sending.

use super::boundary::{code, read};
use super::instance::shared;
use super::types::*;
use crate::pure::error::Error;
use crate::roles::sender::MAX_PARTS;
use crate::roles::target::{Sent, Target};
use crate::runtime::send::MAX_PIECES;

const _: () = assert!(
    SIPWIRE_SEND_NO_CONNECT == Target::NO_CONNECT
        && SIPWIRE_SEND_CLOSE_AFTER == Target::CLOSE_AFTER
        && SIPWIRE_SEND_FRESH == Target::FRESH
        && SIPWIRE_SEND_FLOW == Target::FLOW
        && SIPWIRE_SEND_ANSWER == Target::ANSWER
);

/// Sends one message. Written directly when nothing is queued on the connection, else queued and written
/// by the supervisor. Messages of one thread to one connection id, or to one address with one hash, arrive in
/// the order of its calls as long as their connection lives; those to an address also only until another
/// connection serves it, because it is newer (dialled fresh, or opened by the peer from there) or theirs is suspect
/// or closed by the peer on its side. One to an id may overtake one to the address that still waits for a dial.
/// With `connections_per_destination` above 1 and hash 0 each message may take another connection, and no order
/// holds between them.
///
/// `target`: connection id and/or remote address. A connection is looked for by id, then by remote address
/// and local address, then by alias (sipwire_conn_add_alias). Without one, or with none but what we dialled and
/// the peer has closed on its side, the address is dialled (unless the flags forbid it), but not the one from
/// which the peer had opened the connection of the id: there nobody listens (known until that connection's
/// place is used again, which is the one free the longest). `iov`, `iov_count`: the message in 1 to 1024 pieces;
/// copied where need be, the caller's again on return. `cookie`: comes back in on_send_failed.
///
/// Returns: SIPWIRE_SENT: the kernel took all of it; SIPWIRE_QUEUED: it is written later, or reported once by
/// on_send_failed. An answer inside on_message is queued, too, while another request of the same read follows,
/// and written with the answers to the next ones: when the first of their scripts ends that lasts until 10 ms after
/// it, or takes longer than `worker_stall`, at the latest. For that time no limit counts it. Any error: it was not
/// accepted and will not be reported: SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED;
/// SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_CONNECTION: no such connection (any more), and no address to dial;
/// SIPWIRE_E_BLACKLISTED; SIPWIRE_E_CONN_QUEUE_FULL;
/// SIPWIRE_E_TOTAL_QUEUE_FULL: also, no block is free; SIPWIRE_E_TOO_LARGE: above max_message_size;
/// SIPWIRE_E_SHUTTING_DOWN: stopped, or a dial while draining; SIPWIRE_E_SUPERVISOR_GONE; SIPWIRE_E_ROLE: the
/// thread is ending; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set).
/// on_capture runs inside, if the host has one and setting "capture" is yes.
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives; `target` points to a structure of its struct_size; `iov` to `iov_count` pieces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_send(
    instance: *mut sipwire_instance,
    target: *const sipwire_target,
    iov: *const sipwire_iov,
    iov_count: usize,
    cookie: u64,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, target) = unsafe { (shared(instance)?, read(target)?) };
        if iov.is_null() || iov_count > MAX_PIECES {
            return Err(Error::Argument);
        }
        let target = Target {
            conn_id: target.conn_id,
            remote: target.remote.to_addr(),
            local: target.local.to_addr(),
            flags: target.flags,
            hash: target.hash,
        };
        // SAFETY: `iov_count` pieces, by the caller's promise.
        let pieces = unsafe { core::slice::from_raw_parts(iov, iov_count) };
        let length = pieces
            .iter()
            .try_fold(0usize, |sum, piece| sum.checked_add(piece.length));
        // Before any piece is looked at.
        instance.check_send(&target, iov_count, length)?;
        let mut parts: [&[u8]; MAX_PARTS] = [&[]; MAX_PARTS];
        let mut together = Vec::new();
        let many = iov_count > MAX_PARTS;
        let mut used = 0;
        for piece in pieces {
            if piece.length == 0 {
                continue;
            }
            if piece.base.is_null() {
                return Err(Error::Argument);
            }
            // SAFETY: `length` bytes at `base`, by the caller's promise.
            let bytes =
                unsafe { core::slice::from_raw_parts(piece.base.cast::<u8>(), piece.length) };
            if many {
                together.extend_from_slice(bytes);
            } else if let Some(part) = parts.get_mut(used) {
                *part = bytes;
                used += 1;
            }
        }
        let whole: [&[u8]; 1] = [&together];
        let parts = if many {
            whole.as_slice()
        } else {
            parts.get(..used).unwrap_or_default()
        };
        Ok(match instance.send_parts(target, parts, cookie)? {
            Sent::Directly => SIPWIRE_SENT,
            Sent::Queued => SIPWIRE_QUEUED,
        })
    })
}

/// Lets the calling thread, a participant that sends, follow what happened since its last call:
/// descriptors of ended connections are closed, a new supervisor hears of it, descriptors on their way
/// to it are taken. Each sipwire_send does this too. A thread that may not send for a while (a UDP
/// receiver at night) calls it about once a second: until then a descriptor that it keeps holds the
/// connection of a dead supervisor open, and its peer waits.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT;
/// SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_refresh(instance: *mut sipwire_instance) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        unsafe { shared(instance) }?.refresh().map(|()| 0)
    })
}
