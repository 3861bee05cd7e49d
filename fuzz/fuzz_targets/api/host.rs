//! The host: a callback table whose script does what a message asks for.

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard};

use super::ledger::Ledger;
use sipwire::ffi::conn::*;
use sipwire::ffi::instance::*;
use sipwire::ffi::send::*;
use sipwire::ffi::stats::*;
use sipwire::ffi::types::*;

pub struct Host {
    /// Supervisor and workers are threads of `sipwire_start`.
    threads: bool,
    ledger: Mutex<Ledger>,
}

impl Host {
    pub fn new(threads: bool) -> Host {
        Host {
            threads,
            ledger: Mutex::default(),
        }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("a panic ends the process")
    }

    /// Sends a new message, in one piece or in many.
    pub fn send(
        &self,
        instance: *mut sipwire_instance,
        target: &sipwire_target,
        kind: u8,
        body: usize,
        pieces: usize,
    ) {
        // An answer may arrive before the call returns, but nobody refuses it then.
        let (cookie, text) = self.ledger().compose(kind, body);
        let iov: Vec<_> = text
            .as_bytes()
            .chunks(text.len().div_ceil(pieces))
            .map(piece)
            .collect();
        let rc = unsafe { sipwire_send(instance, target, iov.as_ptr(), iov.len(), cookie) };
        if rc < 0 {
            self.ledger().refused(cookie);
        }
        expect(rc, &SEND_REFUSALS);
    }
}

const SEND_REFUSALS: [i32; 10] = [
    SIPWIRE_E_ARGUMENT,
    SIPWIRE_E_NOT_ATTACHED,
    SIPWIRE_E_NO_PARTICIPANT,
    SIPWIRE_E_NO_CONNECTION,
    SIPWIRE_E_BLACKLISTED,
    SIPWIRE_E_CONN_QUEUE_FULL,
    SIPWIRE_E_TOTAL_QUEUE_FULL,
    SIPWIRE_E_TOO_LARGE,
    SIPWIRE_E_SHUTTING_DOWN,
    SIPWIRE_E_SUPERVISOR_GONE,
];

pub fn piece(bytes: &[u8]) -> sipwire_iov {
    sipwire_iov {
        base: bytes.as_ptr().cast(),
        length: bytes.len(),
    }
}

pub fn to_id(conn_id: u32, flags: u32) -> sipwire_target {
    let none = sipwire_addr {
        family: 0,
        reserved: 0,
        port: 0,
        scope_id: 0,
        ip: [0; 16],
    };
    let struct_size = size_of::<sipwire_target>() as u32;
    sipwire_target {
        struct_size,
        flags,
        conn_id,
        hash: 0,
        remote: none,
        local: none,
    }
}

/// A call that succeeds or is refused as its comment in the header says.
#[track_caller]
pub fn expect(rc: i32, refusals: &[i32]) -> i32 {
    assert!(rc >= 0 || refusals.contains(&rc), "returned {rc}");
    rc
}

pub const CALLBACKS: sipwire_callbacks = sipwire_callbacks {
    struct_size: size_of::<sipwire_callbacks>() as u32,
    reserved: 0,
    on_message: Some(on_message),
    on_send_failed: Some(on_send_failed),
    on_open: Some(on_open),
    on_close: Some(on_close),
    on_writable: Some(on_writable),
    on_log: Some(on_log),
    on_worker_start: Some(on_worker),
    on_worker_stop: Some(on_worker),
    on_capture: Some(on_capture),
};

unsafe fn host<'a>(user: *mut c_void) -> &'a Host {
    unsafe { &*user.cast() }
}

unsafe extern "C" fn on_message(
    user: *mut c_void,
    instance: *mut sipwire_instance,
    message: *mut sipwire_message,
) -> i32 {
    let (host, message) = unsafe { (host(user), &mut *message) };
    let with_nul =
        unsafe { std::slice::from_raw_parts_mut(message.data.cast::<u8>(), message.length + 1) };
    let (nul, data) = with_nul.split_last_mut().expect("one byte at least");
    assert_eq!(*nul, 0);
    assert_eq!(message.length, message.header_length + message.body_length);
    let mut ledger = host.ledger();
    ledger.assert_open(message.conn_id);
    ledger.received(data);
    let other = ledger.ids[message.length % ledger.ids.len()];
    drop(ledger);
    let asked = data
        .windows(4)
        .find(|text| text.starts_with(b"\nX:"))
        .map_or(0, |text| text[3]);
    let is_request = !data.starts_with(b"SIP/2.0 ");
    data.fill(b'x'); // ours to write in
    if is_request {
        script(host, instance, message.conn_id, other, asked)
    } else {
        0
    }
}

fn script(host: &Host, instance: *mut sipwire_instance, own: u32, other: u32, asked: u8) -> i32 {
    let answer = |flags, body, pieces| host.send(instance, &to_id(own, flags), 0, body, pieces);
    let refusals = [SIPWIRE_E_NO_CONNECTION];
    match asked {
        b'a' => answer(SIPWIRE_SEND_CLOSE_AFTER, 10, 1),
        b'b' => answer(0, 30_000, 3),
        b'c' => answer(0, 900, 100),
        b'd' => host.send(instance, &to_id(own, 0), 1, 0, 1),
        b'e' => host.send(instance, &to_id(other, 0), 2, 100, 2),
        b'f' => {
            expect(unsafe { sipwire_conn_close(instance, own) }, &refusals);
            answer(0, 0, 1);
        }
        b'g' => {
            expect(unsafe { sipwire_conn_close(instance, other) }, &refusals);
        }
        b'h' => return -1,
        b'i' => {
            expect(
                unsafe { sipwire_conn_set_user(instance, own, 7) },
                &refusals,
            );
            expect(
                unsafe { sipwire_conn_set_lifetime(instance, own, 20) },
                &refusals,
            );
            answer(0, 0, 1);
        }
        b'j' => {
            assert_eq!(unsafe { sipwire_log_drain(instance) }, SIPWIRE_E_REENTRANT);
            expect(unsafe { sipwire_detach(instance) }, &[SIPWIRE_E_REENTRANT]);
            assert_eq!(unsafe { sipwire_attach(instance) }, SIPWIRE_OK);
            assert_eq!(unsafe { sipwire_refresh(instance) }, SIPWIRE_OK);
            assert!(unsafe { sipwire_start(instance) } < 0);
        }
        // Roles driven from outside first have to be there again.
        b'k' if host.threads => {
            expect(unsafe { sipwire_stop(instance) }, &[SIPWIRE_E_REENTRANT]);
        }
        // Longer than worker_stall, for the connections that wait behind this one.
        b'l' => std::thread::sleep(std::time::Duration::from_millis(12)),
        b'm' => {}
        _ => answer(0, 0, 1),
    }
    0
}

unsafe extern "C" fn on_send_failed(
    user: *mut c_void,
    _: *mut sipwire_instance,
    failure: *mut sipwire_failure,
) {
    let (host, failure) = unsafe { (host(user), &mut *failure) };
    let with_nul =
        unsafe { std::slice::from_raw_parts_mut(failure.data.cast::<u8>(), failure.length + 1) };
    let (nul, data) = with_nul.split_last_mut().expect("one byte at least");
    assert_eq!(*nul, 0);
    assert_eq!(failure.flags, 0, "repeated, and nobody died");
    assert_ne!(failure.reason, SIPWIRE_REASON_NONE);
    host.ledger()
        .failed(failure.cookie, failure.conn_id, data, failure.written);
    data.fill(b'x');
}

unsafe extern "C" fn on_open(
    user: *mut c_void,
    _: *mut sipwire_instance,
    info: *const sipwire_conn_info,
) {
    unsafe { host(user).ledger().opened((*info).conn_id) };
}

unsafe extern "C" fn on_close(
    user: *mut c_void,
    _: *mut sipwire_instance,
    info: *const sipwire_conn_info,
) {
    let info = unsafe { &*info };
    assert_ne!(info.close_reason, SIPWIRE_REASON_NONE);
    assert_ne!(info.close_reason, SIPWIRE_REASON_CORRUPT);
    unsafe { host(user).ledger().closed(info.conn_id) };
}

unsafe extern "C" fn on_writable(
    user: *mut c_void,
    instance: *mut sipwire_instance,
    info: *const sipwire_conn_info,
) {
    let (host, info) = unsafe { (host(user), &*info) };
    host.ledger().assert_not_closed(info.conn_id);
    host.send(instance, &to_id(info.conn_id, 0), 2, 50, 1);
}

unsafe extern "C" fn on_log(_: *mut c_void, record: *const sipwire_log_record) {
    let record = unsafe { &*record };
    let text = unsafe { std::ffi::CStr::from_ptr(record.text) };
    assert_eq!(text.count_bytes(), record.length);
    assert!(
        !text.to_bytes().iter().any(u8::is_ascii_control),
        "{text:?}"
    );
}

/// Without the ledger: whoever sends may have it.
unsafe extern "C" fn on_capture(
    _: *mut c_void,
    _: *mut sipwire_instance,
    capture: *const sipwire_capture,
) {
    let capture = unsafe { &*capture };
    let pieces = unsafe { std::slice::from_raw_parts(capture.iov, capture.iov_count) };
    let bytes: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| unsafe { std::slice::from_raw_parts(piece.base.cast(), piece.length) })
        .copied()
        .collect();
    assert!((1..=64).contains(&pieces.len()) && !bytes.is_empty());
    assert_eq!(bytes.len(), capture.length);
    assert!(capture.conn_id != 0 || capture.result == SIPWIRE_QUEUED);
}

unsafe extern "C" fn on_worker(_: *mut c_void, _: *mut sipwire_instance, _: i32) {}
