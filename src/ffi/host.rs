//! The host's callback table as the roles' `Host`.

use super::types::*;
use crate::roles::host::{Capture, Captured, ConnInfo, Failure, Host, Message, Wants};
use crate::roles::sender::MAX_PARTS;
use crate::roles::target::Sent;
use crate::runtime::boundary::callback as call;
use crate::shm::log_ring::Entry;
use core::ffi::c_void;
use once_cell::sync::OnceCell;

/// A pointer that belongs to the host: we hand it back, we never look behind it.
#[derive(Clone, Copy)]
pub struct Opaque<T>(pub *mut T);
// SAFETY: only passed back to the host's callbacks, which `sipwire_callbacks` says run in any worker.
unsafe impl<T> Send for Opaque<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Opaque<T> {}

/// Set once `sipwire_new` knows where the instance lives.
pub type Handle = std::sync::Arc<OnceCell<Opaque<sipwire_instance>>>;

pub struct CHost {
    pub table: sipwire_callbacks,
    pub user: Opaque<c_void>,
    pub handle: Handle,
}

impl CHost {
    fn instance(&self) -> *mut sipwire_instance {
        self.handle
            .get()
            .map_or(core::ptr::null_mut(), |handle| handle.0)
    }
}

pub fn info_of(info: &ConnInfo) -> sipwire_conn_info {
    let bits = [
        (info.outbound, SIPWIRE_CONN_OUTBOUND),
        (info.connecting, SIPWIRE_CONN_CONNECTING),
        (info.async_mode, SIPWIRE_CONN_ASYNC),
        (info.closing, SIPWIRE_CONN_CLOSING),
        (info.half_closed, SIPWIRE_CONN_HALF_CLOSED),
        (info.paused, SIPWIRE_CONN_PAUSED),
        (info.slowed, SIPWIRE_CONN_SLOWED),
        (info.suspect, SIPWIRE_CONN_SUSPECT),
    ];
    use crate::pure::words::OwnerState;
    sipwire_conn_info {
        struct_size: size_of::<sipwire_conn_info>() as u32,
        conn_id: info.conn_id,
        remote: sipwire_addr::from_addr(&info.remote),
        local: sipwire_addr::from_addr(&info.local),
        flags: bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum(),
        owner: match info.owner {
            OwnerState::Free | OwnerState::Idle => SIPWIRE_OWNER_IDLE,
            OwnerState::Lent => SIPWIRE_OWNER_LENT,
            OwnerState::Held => SIPWIRE_OWNER_HELD,
            OwnerState::Reading => SIPWIRE_OWNER_READING,
            OwnerState::Retiring
            | OwnerState::Closing
            | OwnerState::ClosingRun
            | OwnerState::Told => SIPWIRE_OWNER_RETIRING,
        },
        worker: info.worker,
        listener: info.listener,
        age_ms: info.age_ms,
        idle_ms: info.idle_ms,
        lifetime_ms: info.lifetime_ms,
        queued_bytes: info.queued_bytes,
        partial_bytes: info.partial_bytes,
        bytes_in: info.bytes_in,
        bytes_out: info.bytes_out,
        messages_in: info.messages_in,
        messages_out: info.messages_out,
        conn_user: info.conn_user,
        pending_answers: info.pending_answers,
        close_reason: info.close_reason as i32,
        close_error: info.close_errno,
        alias_port: info.alias_port,
        keepalive_ms: info.keepalive.number(),
        flow_timer_ms: info.flow_timer_ms as i64,
        pong_wait_ms: info.pong_wait_ms,
        wire_remote: sipwire_addr::from_addr(&info.wire_remote),
        wire_local: sipwire_addr::from_addr(&info.wire_local),
    }
}

impl Host for CHost {
    fn wants(&self) -> Wants {
        Wants {
            send_failed: self.table.on_send_failed.is_some(),
            open: self.table.on_open.is_some(),
            close: self.table.on_close.is_some(),
            writable: self.table.on_writable.is_some(),
            log: self.table.on_log.is_some(),
            capture: self.table.on_capture.is_some(),
        }
    }

    fn on_message(&self, message: &mut Message<'_>) -> i32 {
        let Some(callback) = self.table.on_message else {
            return 0;
        };
        let length = message.bytes().len();
        let mut view = sipwire_message {
            struct_size: size_of::<sipwire_message>() as u32,
            conn_id: message.conn_id,
            data: message.data.as_mut_ptr().cast(),
            length,
            header_length: message.header_length,
            body_length: message.body_length,
            remote: sipwire_addr::from_addr(&message.remote),
            local: sipwire_addr::from_addr(&message.local),
            listener: message.listener,
            worker: message.worker,
            time_ms: message.time_ms,
            conn_user: message.conn_user,
            flags: if message.first {
                SIPWIRE_MESSAGE_FIRST
            } else {
                0
            },
            reserved: 0,
        };
        // SAFETY: the host gave a function of this type; all pointers live during the call.
        call(-1, || unsafe {
            callback(self.user.0, self.instance(), &raw mut view)
        })
    }

    fn on_send_failed(&self, failure: &mut Failure<'_>) {
        let Some(callback) = self.table.on_send_failed else {
            return;
        };
        let mut view = sipwire_failure {
            struct_size: size_of::<sipwire_failure>() as u32,
            conn_id: failure.conn_id,
            cookie: failure.cookie,
            reason: failure.reason as i32,
            error: failure.errno,
            remote: sipwire_addr::from_addr(&failure.remote),
            length: failure.bytes().len(),
            data: failure.data.as_mut_ptr().cast(),
            written: failure.written,
            worker: failure.worker,
            flags: if failure.repeated {
                SIPWIRE_FAILURE_REPEATED
            } else {
                0
            },
        };
        // SAFETY: as above.
        call((), || unsafe {
            callback(self.user.0, self.instance(), &raw mut view)
        });
    }

    fn on_open(&self, info: &ConnInfo) {
        self.tell(self.table.on_open, info);
    }
    fn on_close(&self, info: &ConnInfo) {
        self.tell(self.table.on_close, info);
    }
    fn on_writable(&self, info: &ConnInfo) {
        self.tell(self.table.on_writable, info);
    }

    fn on_log(&self, entry: &Entry) {
        let Some(callback) = self.table.on_log else {
            return;
        };
        let mut text = entry.text.replace('\0', " ").into_bytes();
        let length = text.len();
        text.push(0);
        let record = sipwire_log_record {
            struct_size: size_of::<sipwire_log_record>() as u32,
            level: i32::from(entry.level),
            conn_id: entry.conn_id,
            suppressed: entry.suppressed,
            time_ms: entry.time_ms,
            text: text.as_ptr().cast(),
            length,
        };
        // SAFETY: as above.
        call((), || unsafe { callback(self.user.0, &raw const record) });
    }

    fn on_worker_start(&self, worker: i32) {
        if let Some(callback) = self.table.on_worker_start {
            // SAFETY: as above.
            call((), || unsafe {
                callback(self.user.0, self.instance(), worker)
            });
        }
    }
    fn on_worker_stop(&self, worker: i32) {
        if let Some(callback) = self.table.on_worker_stop {
            // SAFETY: as above.
            call((), || unsafe {
                callback(self.user.0, self.instance(), worker)
            });
        }
    }

    fn on_capture(&self, capture: &Capture<'_>) {
        let Some(callback) = self.table.on_capture else {
            return;
        };
        let mut iov = [sipwire_iov {
            base: core::ptr::null(),
            length: 0,
        }; MAX_PARTS];
        let parts = capture.parts.iter().filter(|part| !part.is_empty());
        let (mut iov_count, mut length) = (0, 0);
        for (piece, part) in iov.iter_mut().zip(parts) {
            piece.base = part.as_ptr().cast();
            piece.length = part.len();
            iov_count += 1;
            length += part.len();
        }
        let (direction, flags, result, reason, cookie) = match capture.what {
            Captured::Received => (SIPWIRE_CAPTURE_IN, 0, 0, 0, 0),
            Captured::Refused(reason) => {
                let reason = reason as i32;
                (SIPWIRE_CAPTURE_IN, SIPWIRE_CAPTURE_BAD, 0, reason, 0)
            }
            Captured::Accepted { sent, cookie, own } => {
                let result = match sent {
                    Sent::Directly => SIPWIRE_SENT,
                    Sent::Queued => SIPWIRE_QUEUED,
                };
                let flags = if own { SIPWIRE_CAPTURE_OWN } else { 0 };
                (SIPWIRE_CAPTURE_OUT, flags, result, 0, cookie)
            }
        };
        let view = sipwire_capture {
            struct_size: size_of::<sipwire_capture>() as u32,
            direction,
            conn_id: capture.ends.conn_id,
            flags,
            remote: sipwire_addr::from_addr(&capture.ends.remote),
            local: sipwire_addr::from_addr(&capture.ends.local),
            listener: capture.ends.listener,
            worker: capture.worker,
            result,
            reason,
            time_us: capture.time_us,
            cookie,
            iov: iov.as_ptr(),
            iov_count,
            length,
        };
        // SAFETY: as above.
        call((), || unsafe {
            callback(self.user.0, self.instance(), &raw const view)
        });
    }
}

type InfoCallback =
    Option<unsafe extern "C" fn(*mut c_void, *mut sipwire_instance, *const sipwire_conn_info)>;

impl CHost {
    fn tell(&self, callback: InfoCallback, info: &ConnInfo) {
        if let Some(callback) = callback {
            let view = info_of(info);
            // SAFETY: as above.
            call((), || unsafe {
                callback(self.user.0, self.instance(), &raw const view)
            });
        }
    }
}
