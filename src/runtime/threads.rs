//! Supervisor and workers as threads of this process: `start` and `stop`.

use std::sync::{Arc, Condvar, Mutex};

use super::instance::Instance;
use super::membership::{self, RoleHeld};
use super::running::{Running, open_supervisor, open_worker, open_worker_in_turn, supervise};
use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::worker::Worker;
use crate::sync::{AtomicU64, Word};
use crate::sys;

/// The threads of `start`. A forked child inherits the list and not the threads: `identity` says
/// whose they are.
#[derive(Default)]
pub struct Threads {
    identity: AtomicU64,
    /// Locked only in the process that `identity` names: in a child forked meanwhile `parking_lot` may
    /// hang.
    started: parking_lot::Mutex<Option<Started>>,
}

struct Started {
    handles: Vec<std::thread::JoinHandle<()>>,
    /// The process takes part until all are joined.
    _held: RoleHeld,
}

impl Instance {
    /// Supervisor and workers as threads of this process.
    pub fn start(&self) -> Result<()> {
        if self.is_stopping() {
            return Err(Error::Role);
        }
        let held = membership::begin_role(&self.context, true)?;
        self.threads.identity.store_sync(held.identity());
        let mut place = self.threads.started.lock();
        let mut handles = Vec::new();
        let started = self.start_threads(&mut handles);
        *place = Some(Started {
            handles,
            _held: held,
        });
        drop(place);
        if started.is_err() {
            let errno = sys::process::errno_get();
            self.join_threads();
            sys::process::errno_set(errno);
        }
        started
    }

    /// Nobody begins before all are there: a start that fails has accepted nothing, told nothing and
    /// may be tried again. On an error the threads that were made end by themselves.
    fn start_threads(&self, handles: &mut Vec<std::thread::JoinHandle<()>>) -> Result<()> {
        let context = &self.context;
        let held = membership::begin_role(context, false)?;
        let supervisor = open_supervisor(context, held)?;
        let mut all = AllThere::default();
        for index in 0..context.settings.workers as usize {
            let held = membership::begin_role(context, false)?;
            let shared = context.clone();
            let opened = Arc::new(Told::default());
            let (tell, all) = (opened.clone(), all.begin.clone());
            handles.push(spawn(move || {
                sys::process::set_thread_name(&format!("sipwire-w{index}"));
                match open_worker(&shared, index, held) {
                    Ok(worker) => {
                        tell.tell(Ok(()));
                        if all.wait().is_ok() {
                            work(&shared, index, worker);
                        }
                    }
                    Err(error) => tell.tell(Err(error)),
                }
            })?);
            opened.wait()?;
        }
        let shared = context.clone();
        handles.push(spawn(move || {
            let _ = supervise(&shared, Ok(supervisor));
        })?);
        all.are_there = true;
        Ok(())
    }

    /// They end by themselves, and the last one frees the instance.
    pub(super) fn release_threads(&self) {
        // Held by somebody: who joins them, and has taken them.
        if let Some(mut place) = self.threads.started.try_lock() {
            drop(place.take());
        }
    }

    fn join_threads(&self) {
        let mut place = self.threads.started.lock();
        if let Some(started) = place.take() {
            for handle in started.handles {
                let _ = handle.join();
            }
            membership::exit(&self.context);
            self.threads.identity.store_sync(0);
        }
    }

    /// `start` was called in this process and `stop` was not yet.
    pub fn has_threads(&self) -> bool {
        membership::is_identity(&self.context, self.threads.identity.load_sync())
    }

    /// `request_stop`, and waits for the threads of `start`; so does everyone who calls it meanwhile.
    pub fn stop(&self) -> Result<()> {
        // Before everything else, and with nothing but atomics: this may be a signal handler.
        self.request_stop();
        if !self.has_threads() {
            return Ok(());
        }
        if self.in_callback() {
            return Err(Error::Reentrant);
        }
        self.join_threads();
        Ok(())
    }
}

/// How a thread of `start` tells that its role is open, and is told to begin. Not a channel: a receiving
/// std channel leaves a thread handle behind in the host's thread, which the host's leak checker would
/// find.
#[derive(Default)]
struct Told {
    /// With the errno of the thread.
    result: Mutex<Option<(Result<()>, i32)>>,
    told: Condvar,
}

/// Tells the waiting threads, when it goes, whether all are there.
#[derive(Default)]
struct AllThere {
    begin: Arc<Told>,
    are_there: bool,
}

impl Drop for AllThere {
    fn drop(&mut self) {
        self.begin.tell(if self.are_there {
            Ok(())
        } else {
            Err(Error::System)
        });
    }
}

impl Told {
    fn tell(&self, result: Result<()>) {
        let errno = sys::process::errno_get();
        if let Ok(mut place) = self.result.lock() {
            *place = Some((result, errno));
        }
        self.told.notify_all();
    }
    fn wait(&self) -> Result<()> {
        let place = self.result.lock().map_err(|_| Error::System)?;
        let place = self.told.wait_while(place, |result| result.is_none());
        let (result, errno) = place
            .map_err(|_| Error::System)?
            .unwrap_or((Err(Error::System), 0));
        sys::process::errno_set(errno);
        result
    }
}

/// A worker beside its supervisor. After a bug in either it begins anew.
fn work(context: &Arc<Context>, index: usize, mut worker: Running<Worker>) {
    while let Err(Error::Panic | Error::SupervisorGone) = worker.run()
        && let Ok(Some(next)) = open_worker_in_turn(context, index)
    {
        worker = next;
    }
}

/// The host's callbacks run on these stacks: as much as its own threads get, and never less than
/// what Linux gives a main thread.
const STACK_BYTES: usize = 8 << 20;

fn spawn(body: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let stack = sys::process::stack_limit().max(STACK_BYTES);
    let builder = std::thread::Builder::new().stack_size(stack);
    // Signals are the host's: our threads take none.
    sys::process::with_signals_blocked(|| builder.spawn(body)).map_err(|error| {
        // pthread_create returns it, errno stays.
        sys::process::errno_set(error.raw_os_error().unwrap_or(0));
        Error::System
    })
}
