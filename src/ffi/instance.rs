//! Making, running and ending an instance.

use super::boundary::{code, read, reference};
use super::config::exclusive;
use super::host::{CHost, Handle, Opaque};
use super::kept::Kept;
use super::types::*;
use crate::pure::error::{Error, Result};
use crate::runtime::boundary::call;
use crate::runtime::instance::Instance;
use crate::runtime::run::Role;
use crate::sys;
use core::ffi::c_void;

/// # Safety
/// `instance` is null or came from sipwire_new.
pub(super) unsafe fn shared<'a>(instance: *const sipwire_instance) -> Result<&'a Instance> {
    // SAFETY: the caller's promise.
    unsafe { reference(instance) }?.instance.get()
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

/// Makes an instance: maps its shared memory, binds its listeners, starts nothing. Children forked
/// afterwards inherit it; each process frees its own with sipwire_free.
///
/// `config` and `callbacks` are copied and stay the caller's. `user` is handed to each callback.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION: callbacks.struct_size is not understood or reserved is not 0;
/// SIPWIRE_E_SETTING: settings that contradict each other; SIPWIRE_E_LISTEN: address in use, no permission
/// (errno is set); SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set). sipwire_config_error has the
/// line. On failure *out is untouched.
/// Call from: before any fork of processes that are to take part; in callbacks: yes (of another
/// instance); blocks: never.
///
/// # Safety
/// `config` lives; `callbacks` points to a table of its struct_size; `user` is the host's affair; `out` points to a
/// pointer.
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
        let (config, out, table) = unsafe { (exclusive(config)?, out.as_mut(), read(callbacks)) };
        let out = out.ok_or_else(|| config.fail(Error::Argument, "sipwire_new: out is NULL"))?;
        let table = table
            .and_then(|table| match table.reserved {
                0 => Ok(table),
                _ => Err(Error::Version),
            })
            .map_err(|error| {
                let line = "sipwire_callbacks: struct_size is not understood, or reserved is not 0";
                config.fail(error, line)
            })?;
        let handle = Handle::default();
        let host = CHost {
            table,
            user: Opaque(user),
            handle: handle.clone(),
        };
        match Instance::new(&config.inner, Box::new(host)) {
            Ok(instance) => {
                let instance = Kept::new(instance);
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

/// Frees an instance in this process; other processes keep theirs. If sipwire_start's threads still run
/// they are stopped first, as by sipwire_stop. NULL is allowed.
///
/// Call from: after all other calls with the instance in this process have returned; in callbacks: no
/// (nothing happens); blocks: as sipwire_stop, if threads run.
///
/// # Safety
/// `instance` came from sipwire_new and is not used afterwards, by no thread (it gets SIPWIRE_E_ARGUMENT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_free(instance: *mut sipwire_instance) {
    call((), || {
        // SAFETY: the caller's promise. Whoever runs a callback still uses it.
        match unsafe { shared(instance) } {
            Ok(instance) if !instance.in_callback() => instance.close(),
            _ => return,
        }
        // SAFETY: not null; nobody uses it any more, by the caller's promise.
        if let Some(handle) = unsafe { instance.as_mut() } {
            drop(handle.instance.free());
        }
    });
}

/// Threads: runs the supervisor and all workers as threads of this process and returns. Their stacks
/// are at least 8 MiB (or RLIMIT_STACK, if that is more), all signals are blocked in them. They end with
/// sipwire_stop.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: already started, stopped, or this process takes part in another
/// way; SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set). After a failure
/// nothing runs and it may be tried again.
/// Call from: any thread, and do not fork afterwards, except to exec; in callbacks: no; blocks: until all threads run,
/// some milliseconds.
///
/// # Safety
/// `instance` lives until sipwire_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_start(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.start().map(|()| 0))
}

/// Processes: this process is the supervisor until sipwire_stop. It accepts, dials, flushes, keeps time
/// and runs no host code. A new supervisor after one that died closes and reports (reason
/// SUPERVISOR_GONE) the old one's connections and serves the listeners on.
///
/// Returns: SIPWIRE_OK after a stop; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: another supervisor lives, or this process takes part
/// already; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: a process of its own, forked from the one that made the instance while that had no
/// other threads; in callbacks: no; blocks: until the stop.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_run_supervisor(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.run_supervisor().map(|()| 0))
}

/// Processes: this process is worker `worker` (0 to workers - 1) until sipwire_stop; its callbacks run in
/// here. The place of a worker that died is free as soon as the supervisor has taken back what it held;
/// this call waits for that, at most 10 s.
///
/// Returns: SIPWIRE_OK after a stop; SIPWIRE_E_SUPERVISOR_GONE: the supervisor's process ended, call it
/// again, it waits for a new one; SIPWIRE_E_ARGUMENT: no such worker; SIPWIRE_E_ROLE: that worker lives, or
/// this process takes part already, or the supervisor was told that this process died;
/// SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: as sipwire_run_supervisor; in callbacks: no; blocks: until the stop.
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

/// Processes: this process will send (a UDP receiver, a timer). Each of its threads becomes a participant
/// by itself at its first sipwire_send and leaves when it ends (its first call must not come from a
/// pthread_key destructor: it would never leave). Not inherited by fork: a child attaches for itself.
///
/// Returns: SIPWIRE_OK, also when it was attached; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NO_PARTICIPANT;
/// SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: any thread of any process that has the instance; in callbacks: yes, without effect;
/// blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_attach(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.attach().map(|()| 0))
}

/// The end of sipwire_attach: this process takes part no longer. Threads that sent give their place
/// back when they end.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_ROLE: a role (sipwire_start,
/// _run_, _loop_) runs in this process; SIPWIRE_E_REENTRANT: in a callback.
/// Call from: any thread, while no other one is in a call with the instance; in callbacks: no; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_detach(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.detach().map(|()| 0))
}

/// The host's word, after its waitpid, that process `pid` ended. The supervisor sees the death of a
/// process that takes part by itself where the kernel has pidfds (5.3); its own death is learned by
/// this, or by its workers. Telling it of a process that lives costs that process its place.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: pid < 1.
/// Call from: any thread of any process that has the instance (the parent need not be attached); in
/// callbacks: yes; blocks: never.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_process_died(instance: *mut sipwire_instance, pid: i32) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.process_died(pid).map(|()| 0))
}

/// No new connections from now on: the listeners are closed for good, nothing is dialled. Each
/// connection ends as soon as what was asked on it is answered and written, and all that are left
/// `deadline_ms` milliseconds from now. Watch sipwire_stats.connections, then call sipwire_stop.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: deadline_ms < 0.
/// Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
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

/// Asks every participant to end: connections are closed and reported (reason SHUTDOWN), the run calls
/// return. In the process of sipwire_start it waits for the threads, in every thread that calls it;
/// elsewhere it returns at once.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_REENTRANT: asked from a callback in the process of
/// sipwire_start: all ends, but this call did not wait for it.
/// Call from: any thread of any process that has the instance; where it does not wait also from a
/// signal handler; in callbacks: yes, see above; blocks: in the process of sipwire_start, until the
/// running callbacks have returned and the rest is told, 5 s for the latter.
///
/// # Safety
/// `instance` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_stop(instance: *mut sipwire_instance) -> i32 {
    // SAFETY: the caller's promise.
    code(|| unsafe { shared(instance) }?.stop().map(|()| 0))
}

/// A supervisor (`role` SIPWIRE_ROLE_SUPERVISOR) or worker (SIPWIRE_ROLE_WORKER, number `worker`) for the
/// host's own event loop. The supervisor's nice value or priority, if set, becomes that of the calling
/// thread. The caller owns *out and frees it with sipwire_loop_free.
///
/// Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: such a supervisor or worker lives;
/// SIPWIRE_E_REENTRANT: in a callback; SIPWIRE_E_SHUTTING_DOWN; SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is
/// set). On failure *out is untouched.
/// Call from: the thread that will drive it; a thread may drive several; in callbacks: no; blocks: never.
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
        let role = Kept::new(Some(instance.open_loop(worker)?));
        *out = Box::into_raw(Box::new(sipwire_loop { role }));
        Ok(0)
    })
}

fn role_of(handle: &sipwire_loop) -> Result<&Role> {
    handle.role.get()?.as_ref().ok_or(Error::Role)
}

/// The descriptor to wait for; when it is readable call sipwire_loop_step. Level-triggered; the library's,
/// not to be closed.
///
/// Returns: the descriptor; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: in a callback that a step runs; SIPWIRE_E_PANIC: a bug
/// has ended the role, free the loop.
/// Call from: the loop's thread; in callbacks: no; blocks: never.
///
/// # Safety
/// `loop_` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_fd(loop_: *const sipwire_loop) -> i32 {
    // SAFETY: the caller's promise.
    code(|| match role_of(unsafe { reference(loop_) }?)?.fd() {
        -1 => Err(Error::Panic),
        fd => Ok(fd),
    })
}

/// After how many milliseconds sipwire_loop_step is to be called at the latest, readable or not. Ask
/// again after each step.
///
/// Returns: 0 or more; -1: no time limit; SIPWIRE_E_ARGUMENT.
/// Call from: the loop's thread; in callbacks: no; blocks: never.
///
/// # Safety
/// `loop_` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_timeout_ms(loop_: *const sipwire_loop) -> i64 {
    call(0, || {
        // SAFETY: the caller's promise.
        let role = match unsafe { reference(loop_) }.and_then(|handle| handle.role.get()) {
            Ok(role) => role,
            Err(error) => return i64::from(error.code()),
        };
        let due = role.as_ref().and_then(Role::next_timeout_ms);
        due.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
    })
}

/// One bounded turn. Callbacks run inside.
///
/// Returns: SIPWIRE_OK: wait again; 1: more is ready, call again before waiting; SIPWIRE_E_SHUTTING_DOWN:
/// free the loop, all is told; SIPWIRE_E_SUPERVISOR_GONE, SIPWIRE_E_PANIC: free the loop, and make one again;
/// SIPWIRE_E_NOT_ATTACHED: the loop is the parent's, this process was forked since; SIPWIRE_E_REENTRANT: in a
/// callback that a step runs; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: as sipwire_run_worker; SIPWIRE_E_SYSTEM (errno is set).
/// Call from: the loop's thread; in callbacks: no; blocks: never.
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
            .get_mut()?
            .take()
            .ok_or(Error::Reentrant)?;
        let result = role.step();
        // SAFETY: as above.
        if let Some(Ok(place)) = unsafe { loop_.as_mut() }.map(|handle| handle.role.get_mut()) {
            *place = Some(role);
        }
        result.map(i32::from)
    })
}

/// Ends the role in this process; what a worker held goes back to the supervisor, and its on_worker_stop runs in
/// here. In a child forked since, frees the child's copy and nothing else. NULL is allowed.
///
/// Call from: the loop's thread; in callbacks: no (nothing happens); blocks: never.
///
/// # Safety
/// `loop_` came from sipwire_loop_new and is not used afterwards (it gets SIPWIRE_E_ARGUMENT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sipwire_loop_free(loop_: *mut sipwire_loop) {
    call((), || {
        // SAFETY: the caller's promise. A step that runs has taken the role out: freeing now would take
        // the ground from under it.
        if let Some(handle) = unsafe { loop_.as_mut() }
            && matches!(handle.role.get(), Ok(Some(role)) if !role.in_callback())
        {
            drop(handle.role.free());
        }
    });
}
