//! Making, running and ending an instance.

use super::boundary::{call, code, read, reference};
use super::config::exclusive;
use super::host::{CHost, Handle, Opaque};
use super::types::*;
use crate::pure::error::{Error, Result};
use crate::runtime::instance::Instance;
use crate::runtime::run::Role;
use crate::sys;
use core::ffi::c_void;

/// # Safety
/// `instance` is null or came from sipwire_new and was not freed.
pub(super) unsafe fn shared<'a>(instance: *const sipwire_instance) -> Result<&'a Instance> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { reference(instance) }?.instance)
}

/// The same, for calls that ask for a process that takes part.
///
/// # Safety
/// As for `shared`.
pub(super) unsafe fn attached<'a>(instance: *const sipwire_instance) -> Result<&'a Instance> {
    // SAFETY: the caller's promise.
    let instance = unsafe { shared(instance) }?;
    if !crate::runtime::membership::is_attached(&instance.context) {
        return Err(Error::NotAttached);
    }
    Ok(instance)
}

/// Makes an instance: maps its shared memory, binds its listeners, starts nothing. Call it before any
/// fork; children inherit it. `config` stays the caller's. `user` is handed to each callback.
/// SIPWIRE_OK, SIPWIRE_E_ARGUMENT, SIPWIRE_E_VERSION, SIPWIRE_E_SETTING, SIPWIRE_E_LISTEN,
/// SIPWIRE_E_NO_MEMORY or SIPWIRE_E_SYSTEM (errno is set); sipwire_config_error has the line. On
/// failure *out is untouched.
///
/// # Safety
/// `config` lives; `callbacks` points to a table of its struct_size; `out` to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_new(
    config: *mut sipwire_config,
    callbacks: *const sipwire_callbacks,
    user: *mut c_void,
    out: *mut *mut sipwire_instance,
) -> i32 {
    super::boundary::print_nothing();
    let mut failed_errno = 0;
    let result = code(|| {
        // SAFETY: the caller's promise.
        let (config, out, table) = unsafe {
            (
                exclusive(config)?,
                out.as_mut().ok_or(Error::Argument)?,
                read(callbacks),
            )
        };
        let table = table.map_err(|error| {
            config.fail(error, "sipwire_callbacks: struct_size is not understood")
        })?;
        let handle = Handle::default();
        let host = CHost {
            table,
            user: Opaque(user),
            handle: handle.clone(),
        };
        match Instance::new(config.settings.clone(), &config.listen, Box::new(host)) {
            Ok(instance) => {
                let raw = Box::into_raw(Box::new(sipwire_instance { instance }));
                let _ = handle.set(Opaque(raw));
                config.error = std::ffi::CString::default();
                *out = raw;
                Ok(0)
            }
            Err(failure) => {
                failed_errno = failure.errno;
                Err(config.fail(failure.error, &failure.line))
            }
        }
    });
    if failed_errno != 0 {
        sys::process::errno_set(failed_errno);
    }
    result
}

/// Frees an instance in this process; other processes keep theirs. After sipwire_stop; not in a
/// callback. NULL is allowed.
///
/// # Safety
/// `instance` came from sipwire_new and is not used afterwards, by no thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_free(instance: *mut sipwire_instance) {
    call((), || {
        if !instance.is_null() {
            // SAFETY: from Box::into_raw, by the caller's promise.
            let handle = unsafe { Box::from_raw(instance) };
            // Threads of sipwire_start must not outlive the instance; other processes go on.
            if handle.instance.has_threads() {
                let _ = handle.instance.stop();
            }
            crate::roles::supervisor::close_rest(&handle.instance.context);
            crate::runtime::membership::exit(&handle.instance.context);
        }
    });
}

/// How many listeners there are.
///
/// # Safety
/// `instance` lives or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_count(instance: *const sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| Ok(unsafe { shared(instance) }?.context.listeners.len() as i32))
}

/// The address listener `index` is bound to, with its real port. SIPWIRE_OK or
/// SIPWIRE_E_ARGUMENT.
///
/// # Safety
/// `instance` lives; `out` points to a sipwire_addr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_listener_addr(
    instance: *const sipwire_instance,
    index: i32,
    out: *mut sipwire_addr,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, out) = unsafe { (shared(instance)?, out.as_mut().ok_or(Error::Argument)?) };
        let index = usize::try_from(index).map_err(|_| Error::Argument)?;
        let listener = instance
            .context
            .listeners
            .get(index)
            .ok_or(Error::Argument)?;
        *out = sipwire_addr::from_addr(&listener.addr);
        Ok(0)
    })
}

/// Threads: runs supervisor and workers as threads of this process and returns. Signals are blocked
/// in them. SIPWIRE_OK, SIPWIRE_E_ROLE (already started, attached or stopped), SIPWIRE_E_SYSTEM.
///
/// # Safety
/// `instance` lives until sipwire_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_start(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.start().map(|()| 0))
}

/// Processes: this process is the supervisor until sipwire_stop; call it in a child of its own.
/// Returns SIPWIRE_OK after a stop, SIPWIRE_E_ROLE (another supervisor lives, or this process is
/// already attached), SIPWIRE_E_SYSTEM. A new supervisor after one that died closes and reports
/// the old one's connections.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_run_supervisor(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.run_supervisor().map(|()| 0))
}

/// Processes: this process is worker `worker` (0 .. workers-1) until sipwire_stop. SIPWIRE_OK after a
/// stop; SIPWIRE_E_SUPERVISOR_GONE when the supervisor's process ended: call it again when there is
/// a new one; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE (that worker lives, or this process is already
/// attached); SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_SYSTEM. After a worker died its place is free as
/// soon as the supervisor has taken back what it held; this call waits for that.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_run_worker(instance: *mut sipwire_instance, worker: i32) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let instance = unsafe { shared(instance) }?;
        instance
            .run_worker(usize::try_from(worker).map_err(|_| Error::Argument)?)
            .map(|()| 0)
    })
}

/// Processes: this process will send (a UDP receiver, a timer). Its other threads become
/// participants by themselves when they send. SIPWIRE_OK (also when it was attached),
/// SIPWIRE_E_NO_PARTICIPANT, SIPWIRE_E_SYSTEM. After a fork the child attaches for itself.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_attach(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.attach().map(|()| 0))
}

/// The end of sipwire_attach, for the calling thread and process. SIPWIRE_OK or
/// SIPWIRE_E_NOT_ATTACHED.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_detach(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.detach().map(|()| 0))
}

/// The parent's word, after waitpid, that a process ended. The supervisor sees the death of an attached
/// process by itself where the kernel has pidfds (5.3); the supervisor's own death is learned by this, or
/// by its workers. SIPWIRE_OK, SIPWIRE_E_SYSTEM.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_process_died(instance: *mut sipwire_instance, pid: i32) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.process_died(pid).map(|()| 0))
}

/// No new connections; each one ends as soon as what was asked on it is answered and written, all that
/// are left `deadline_ms` milliseconds from now. Returns at once; watch sipwire_stats.connections,
/// then call sipwire_stop. SIPWIRE_OK, SIPWIRE_E_ARGUMENT. Allowed in callbacks.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_drain(instance: *mut sipwire_instance, deadline_ms: i64) -> i32 {
    code(|| {
        let deadline_ms = u64::try_from(deadline_ms).map_err(|_| Error::Argument)?;
        // SAFETY: the caller's promise.
        unsafe { shared(instance) }?.drain(deadline_ms);
        Ok(0)
    })
}

/// Asks every participant to end: connections are closed and reported (reason SHUTDOWN), workers
/// return. In the process of sipwire_start it waits for the threads; elsewhere it returns at once and
/// is async-signal-safe. SIPWIRE_OK, or SIPWIRE_E_REENTRANT in a callback.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_stop(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.stop().map(|()| 0))
}

/// A supervisor (SIPWIRE_ROLE_SUPERVISOR) or worker (SIPWIRE_ROLE_WORKER, index `worker`) for the
/// host's own event loop, to be used by the calling thread only. SIPWIRE_OK, SIPWIRE_E_ARGUMENT,
/// SIPWIRE_E_ROLE, SIPWIRE_E_NO_PARTICIPANT, SIPWIRE_E_SYSTEM.
///
/// # Safety
/// `instance` lives longer than the loop; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_new(
    instance: *mut sipwire_instance,
    role: i32,
    worker: i32,
    out: *mut *mut sipwire_loop,
) -> i32 {
    code(|| {
        // SAFETY: the caller's promise.
        let (instance, out) = unsafe { (shared(instance)?, out.as_mut().ok_or(Error::Argument)?) };
        let worker = match role {
            SIPWIRE_ROLE_SUPERVISOR => None,
            SIPWIRE_ROLE_WORKER => Some(usize::try_from(worker).map_err(|_| Error::Argument)?),
            _ => return Err(Error::Argument),
        };
        let role = Some(instance.open_loop(worker)?);
        *out = Box::into_raw(Box::new(sipwire_loop { role }));
        Ok(0)
    })
}

fn role_of(handle: &sipwire_loop) -> Result<&Role> {
    handle.role.as_ref().ok_or(Error::Role)
}

/// The descriptor to poll for readability; when it is readable call sipwire_loop_step.
///
/// # Safety
/// `loop_` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_fd(loop_: *const sipwire_loop) -> i32 {
    // SAFETY: the caller's promise.
    code(|| Ok(role_of(unsafe { reference(loop_) }?)?.fd()))
}

/// Milliseconds after which sipwire_loop_step is to be called at the latest; -1: not by time.
///
/// # Safety
/// `loop_` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_timeout_ms(loop_: *const sipwire_loop) -> i64 {
    call(0, || {
        // SAFETY: the caller's promise.
        let Ok(handle) = (unsafe { reference(loop_) }) else {
            return i64::from(Error::Argument.code());
        };
        let due = handle.role.as_ref().and_then(Role::next_timeout_ms);
        due.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
    })
}

/// One bounded turn; never blocks. Callbacks run inside. SIPWIRE_OK; 1: more is ready, call again;
/// SIPWIRE_E_SHUTTING_DOWN or SIPWIRE_E_SUPERVISOR_GONE: free the loop; SIPWIRE_E_REENTRANT inside a
/// callback.
///
/// # Safety
/// `loop_` lives and is used by this thread only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_step(loop_: *mut sipwire_loop) -> i32 {
    code(|| {
        // SAFETY: the caller's promise; a second entry from inside a callback finds no role.
        let mut role = unsafe { loop_.as_mut() }
            .ok_or(Error::Argument)?
            .role
            .take()
            .ok_or(Error::Reentrant)?;
        let result = role.step();
        // SAFETY: as above.
        if let Some(handle) = unsafe { loop_.as_mut() } {
            handle.role = Some(role);
        }
        result.map(i32::from)
    })
}

/// Ends the role in this process. Not in a callback. NULL is allowed.
///
/// # Safety
/// `loop_` came from sipwire_loop_new and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_free(loop_: *mut sipwire_loop) {
    call((), || {
        // SAFETY: the caller's promise. A step that runs has taken the role out: freeing now would take
        // the ground from under it.
        if unsafe { loop_.as_ref() }.is_some_and(|handle| handle.role.is_some()) {
            // SAFETY: from Box::into_raw, by the caller's promise.
            drop(unsafe { Box::from_raw(loop_) });
        }
    });
}
