//! The library as a plug-in: one symbol to look up, and a table with the rest of the API behind it.
#![allow(non_camel_case_types)]

use super::{
    blacklist::*, config::*, conn::*, dump::*, flow::*, instance::*, library::*, listeners::*,
    matching::*, send::*, stats::*, types::*,
};
use core::ffi::{c_char, c_void};

/// The number of the binary interface that this header describes: of sipwire_api, of the structures and of what the
/// functions mean. It grows when a host that was compiled before could not go on; what is only added leaves it.
pub const SIPWIRE_ABI: u32 = 1;

/// The API as a table, for a host that loads the library with dlopen: each member is the function of its name, and
/// what is said there holds. The names are whole, since C++ and hosts that count memory have made words of their own
/// of `new` and `free`. The table only grows, at its end.
#[repr(C)]
pub struct sipwire_api {
    /// The library's table in bytes. A host that was compiled with a later header than the library has finds it
    /// smaller than its sizeof(sipwire_api): what lies beyond is not there.
    pub struct_size: u32,
    /// SIPWIRE_ABI of the library.
    pub abi: u32,
    pub sipwire_version_number: extern "C" fn() -> u32,
    pub sipwire_version_string: extern "C" fn() -> *const c_char,
    pub sipwire_strerror: extern "C" fn(code: i32) -> *const c_char,
    pub sipwire_reason_text: extern "C" fn(reason: i32) -> *const c_char,
    pub sipwire_addr_parse:
        unsafe extern "C" fn(text: *const c_char, out: *mut sipwire_addr) -> i32,
    pub sipwire_addr_format:
        unsafe extern "C" fn(addr: *const sipwire_addr, buffer: *mut c_char, size: usize) -> usize,
    pub sipwire_proxy_header: unsafe extern "C" fn(
        version: i32,
        source: *const sipwire_addr,
        destination: *const sipwire_addr,
        buffer: *mut c_char,
        size: usize,
    ) -> i32,
    pub sipwire_config_new: extern "C" fn() -> *mut sipwire_config,
    pub sipwire_config_free: unsafe extern "C" fn(config: *mut sipwire_config),
    pub sipwire_config_set: unsafe extern "C" fn(
        config: *mut sipwire_config,
        key: *const c_char,
        value: *const c_char,
    ) -> i32,
    pub sipwire_config_set_number:
        unsafe extern "C" fn(config: *mut sipwire_config, key: *const c_char, value: i64) -> i32,
    pub sipwire_config_get: unsafe extern "C" fn(
        config: *const sipwire_config,
        key: *const c_char,
        buffer: *mut c_char,
        size: usize,
    ) -> i64,
    pub sipwire_config_listen:
        unsafe extern "C" fn(config: *mut sipwire_config, address: *const c_char) -> i32,
    pub sipwire_config_listen_fd: unsafe extern "C" fn(config: *mut sipwire_config, fd: i32) -> i32,
    pub sipwire_config_listener_set: unsafe extern "C" fn(
        config: *mut sipwire_config,
        listener: i32,
        key: *const c_char,
        value: *const c_char,
    ) -> i32,
    pub sipwire_config_error: unsafe extern "C" fn(config: *const sipwire_config) -> *const c_char,
    pub sipwire_new: unsafe extern "C" fn(
        config: *mut sipwire_config,
        callbacks: *const sipwire_callbacks,
        user: *mut c_void,
        out: *mut *mut sipwire_instance,
    ) -> i32,
    pub sipwire_free: unsafe extern "C" fn(instance: *mut sipwire_instance),
    pub sipwire_start: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_run_supervisor: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_run_worker:
        unsafe extern "C" fn(instance: *mut sipwire_instance, worker: i32) -> i32,
    pub sipwire_attach: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_detach: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_process_died:
        unsafe extern "C" fn(instance: *mut sipwire_instance, pid: i32) -> i32,
    pub sipwire_drain:
        unsafe extern "C" fn(instance: *mut sipwire_instance, deadline_ms: i64) -> i32,
    pub sipwire_stop: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_loop_new: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        role: i32,
        worker: i32,
        out: *mut *mut sipwire_loop,
    ) -> i32,
    pub sipwire_loop_fd: unsafe extern "C" fn(loop_: *const sipwire_loop) -> i32,
    pub sipwire_loop_timeout_ms: unsafe extern "C" fn(loop_: *const sipwire_loop) -> i64,
    pub sipwire_loop_step: unsafe extern "C" fn(loop_: *mut sipwire_loop) -> i32,
    pub sipwire_loop_free: unsafe extern "C" fn(loop_: *mut sipwire_loop),
    pub sipwire_listener_count: unsafe extern "C" fn(instance: *const sipwire_instance) -> i32,
    pub sipwire_listener_addr: unsafe extern "C" fn(
        instance: *const sipwire_instance,
        index: i32,
        out: *mut sipwire_addr,
    ) -> i32,
    pub sipwire_listener_state: unsafe extern "C" fn(
        instance: *const sipwire_instance,
        index: i32,
        line: *mut c_char,
        size: usize,
    ) -> i32,
    pub sipwire_listener_add: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        address: *const c_char,
        line: *mut c_char,
        size: usize,
    ) -> i32,
    pub sipwire_listener_remove:
        unsafe extern "C" fn(instance: *mut sipwire_instance, index: i32) -> i32,
    pub sipwire_send: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        target: *const sipwire_target,
        iov: *const sipwire_iov,
        iov_count: usize,
        cookie: u64,
    ) -> i32,
    pub sipwire_refresh: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_conn_info_get: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        conn_id: u32,
        out: *mut sipwire_conn_info,
    ) -> i32,
    pub sipwire_conn_find: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        remote: *const sipwire_addr,
        local: *const sipwire_addr,
        out_id: *mut u32,
    ) -> i32,
    pub sipwire_conn_list: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        cursor: *mut u32,
        out: *mut sipwire_conn_info,
        capacity: usize,
    ) -> i32,
    pub sipwire_conn_close:
        unsafe extern "C" fn(instance: *mut sipwire_instance, conn_id: u32) -> i32,
    pub sipwire_conn_set_user:
        unsafe extern "C" fn(instance: *mut sipwire_instance, conn_id: u32, user: u64) -> i32,
    pub sipwire_conn_set_lifetime: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        conn_id: u32,
        lifetime_ms: i64,
    ) -> i32,
    pub sipwire_conn_set_keepalive: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        conn_id: u32,
        interval_ms: i64,
    ) -> i32,
    pub sipwire_conn_set_flow_timer: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        conn_id: u32,
        flow_timer_ms: i64,
    ) -> i32,
    pub sipwire_queued: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        target: *const sipwire_target,
        out_bytes: *mut u64,
    ) -> i32,
    pub sipwire_conn_pause:
        unsafe extern "C" fn(instance: *mut sipwire_instance, conn_id: u32) -> i32,
    pub sipwire_conn_resume:
        unsafe extern "C" fn(instance: *mut sipwire_instance, conn_id: u32) -> i32,
    pub sipwire_conn_add_alias:
        unsafe extern "C" fn(instance: *mut sipwire_instance, conn_id: u32, port: u32) -> i32,
    pub sipwire_conn_set_suspect:
        unsafe extern "C" fn(instance: *mut sipwire_instance, conn_id: u32, on: i32) -> i32,
    pub sipwire_flow_token: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        conn_id: u32,
        out: *mut c_char,
        size: usize,
    ) -> i32,
    pub sipwire_flow_find: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        token: *const c_char,
        length: usize,
        out_id: *mut u32,
    ) -> i32,
    pub sipwire_blacklist_check:
        unsafe extern "C" fn(instance: *mut sipwire_instance, addr: *const sipwire_addr) -> i32,
    pub sipwire_blacklist_add: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        addr: *const sipwire_addr,
        ttl_ms: i64,
    ) -> i32,
    pub sipwire_blacklist_remove:
        unsafe extern "C" fn(instance: *mut sipwire_instance, addr: *const sipwire_addr) -> i32,
    pub sipwire_blacklist_list: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        cursor: *mut u32,
        out: *mut sipwire_blacklist_entry,
        capacity: usize,
    ) -> i32,
    pub sipwire_stats_get:
        unsafe extern "C" fn(instance: *mut sipwire_instance, out: *mut sipwire_stats) -> i32,
    pub sipwire_worker_stats_get: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        worker: i32,
        out: *mut sipwire_worker_stats,
    ) -> i32,
    pub sipwire_set: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        key: *const c_char,
        value: *const c_char,
        line: *mut c_char,
        size: usize,
    ) -> i32,
    pub sipwire_get: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        key: *const c_char,
        buffer: *mut c_char,
        size: usize,
    ) -> i64,
    pub sipwire_log_drain: unsafe extern "C" fn(instance: *mut sipwire_instance) -> i32,
    pub sipwire_dump: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        what: u32,
        buffer: *mut c_char,
        size: usize,
    ) -> i64,
    pub sipwire_prometheus: unsafe extern "C" fn(
        instance: *mut sipwire_instance,
        buffer: *mut c_char,
        size: usize,
    ) -> i64,
}

static API: sipwire_api = sipwire_api {
    struct_size: size_of::<sipwire_api>() as u32,
    abi: SIPWIRE_ABI,
    sipwire_version_number,
    sipwire_version_string,
    sipwire_strerror,
    sipwire_reason_text,
    sipwire_addr_parse,
    sipwire_addr_format,
    sipwire_proxy_header,
    sipwire_config_new,
    sipwire_config_free,
    sipwire_config_set,
    sipwire_config_set_number,
    sipwire_config_get,
    sipwire_config_listen,
    sipwire_config_listen_fd,
    sipwire_config_listener_set,
    sipwire_config_error,
    sipwire_new,
    sipwire_free,
    sipwire_start,
    sipwire_run_supervisor,
    sipwire_run_worker,
    sipwire_attach,
    sipwire_detach,
    sipwire_process_died,
    sipwire_drain,
    sipwire_stop,
    sipwire_loop_new,
    sipwire_loop_fd,
    sipwire_loop_timeout_ms,
    sipwire_loop_step,
    sipwire_loop_free,
    sipwire_listener_count,
    sipwire_listener_addr,
    sipwire_listener_state,
    sipwire_listener_add,
    sipwire_listener_remove,
    sipwire_send,
    sipwire_refresh,
    sipwire_conn_info_get,
    sipwire_conn_find,
    sipwire_conn_list,
    sipwire_conn_close,
    sipwire_conn_set_user,
    sipwire_conn_set_lifetime,
    sipwire_conn_set_keepalive,
    sipwire_conn_set_flow_timer,
    sipwire_queued,
    sipwire_conn_pause,
    sipwire_conn_resume,
    sipwire_conn_add_alias,
    sipwire_conn_set_suspect,
    sipwire_flow_token,
    sipwire_flow_find,
    sipwire_blacklist_check,
    sipwire_blacklist_add,
    sipwire_blacklist_remove,
    sipwire_blacklist_list,
    sipwire_stats_get,
    sipwire_worker_stats_get,
    sipwire_set,
    sipwire_get,
    sipwire_log_drain,
    sipwire_dump,
    sipwire_prometheus,
};

/// The one symbol that a host which loads the library has to look up. `abi`: SIPWIRE_ABI of the header with which
/// the host was compiled. The table is static: the shared library is never unloaded (it is linked with -z nodelete),
/// so that dlclose is allowed at any time, ends nothing, and a second dlopen finds the same table. A host that makes
/// a shared object of its own of the archive and unloads that has to link it so, too.
///
/// Returns: the table; NULL: this library has another number, see sipwire_abi_version.
/// Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_entry(abi: u32) -> *const sipwire_api {
    if abi == SIPWIRE_ABI {
        &raw const API
    } else {
        core::ptr::null()
    }
}

/// The number of the binary interface of the library that runs, for the line about one that does not fit.
///
/// Returns: its SIPWIRE_ABI.
/// Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
#[unsafe(no_mangle)]
pub extern "C" fn sipwire_abi_version() -> u32 {
    SIPWIRE_ABI
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Words that begin with sipwire_ and are followed by `behind`.
    fn names(text: &str, behind: char) -> BTreeSet<&str> {
        let name = |word: &str| word.starts_with("sipwire_");
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == behind))
            .filter_map(|word| word.split_once(behind))
            .map(|(word, _)| word)
            .filter(|word| name(word))
            .collect()
    }

    fn code() -> &'static str {
        include_str!("plugin.rs")
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
    }

    #[test]
    fn no_function_of_the_header_is_forgotten() {
        // Comments name functions without an opening parenthesis, or say what one does.
        let header: String = include_str!("../../include/sipwire.h")
            .lines()
            .filter(|line| !line.trim_start().starts_with(['*', '/', '#']))
            .flat_map(|line| [line, "\n"])
            .collect();
        let mut declared = names(&header, '(');
        for before_the_table in ["sipwire_entry", "sipwire_abi_version"] {
            assert!(declared.remove(before_the_table));
        }
        let (members, _) = code().split_once("static API").unwrap();
        assert_eq!(declared, names(members, ':'));
        let words = 8 / size_of::<usize>() + declared.len();
        assert_eq!(size_of::<sipwire_api>(), words * size_of::<usize>());
    }

    #[test]
    fn only_one_number_fits() {
        let table = sipwire_entry(SIPWIRE_ABI);
        // SAFETY: the static one.
        let table = unsafe { &*table };
        assert_eq!(table.struct_size as usize, size_of::<sipwire_api>());
        assert_eq!(table.abi, sipwire_abi_version());
        assert_eq!((table.sipwire_version_number)(), sipwire_version_number());
        for other in [0, SIPWIRE_ABI - 1, SIPWIRE_ABI + 1, u32::MAX] {
            assert!(sipwire_entry(other).is_null());
        }
    }
}
