//! Supervisor and workers as threads of this process: `start` and `stop`.

use std::sync::{Arc, Condvar, Mutex};

use super::instance::Instance;
use super::membership::{self, RoleHeld};
use super::running::{
    BEGIN_ANEW_MS, Running, open_supervisor, open_worker, open_worker_in_turn, supervise,
};
use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::supervisor::Supervisor;
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
        let mut all = Teller::default();
        for index in 0..context.settings.workers as usize {
            let held = membership::begin_role(context, false)?;
            let shared = context.clone();
            let mut open = Teller::default();
            let (opened, all) = (open.told.clone(), all.told.clone());
            handles.push(spawn(move || {
                sys::process::set_thread_name(&format!("sipwire-w{index}"));
                let worker = open_worker(&shared, index, held);
                open.result = worker.as_ref().map(|_| ()).map_err(|error| *error);
                drop(open);
                if let Ok(worker) = worker
                    && all.wait().is_ok()
                {
                    work(&shared, index, worker);
                }
            })?);
            opened.wait()?;
        }
        let shared = context.clone();
        handles.push(spawn(move || supervise_on(&shared, supervisor))?);
        all.result = Ok(());
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

/// What one thread tells others who wait for it. Not a channel: a receiving std channel leaves a thread
/// handle behind in the host's thread, which the host's leak checker would find.
#[derive(Default)]
struct Told {
    /// With the errno of the thread.
    result: Mutex<Option<(Result<()>, i32)>>,
    told: Condvar,
}

impl Told {
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

/// Tells when it is dropped, whatever the thread ends by.
struct Teller {
    told: Arc<Told>,
    result: Result<()>,
}

impl Default for Teller {
    fn default() -> Teller {
        Teller {
            told: Arc::default(),
            result: Err(Error::Panic),
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let errno = sys::process::errno_get();
        if let Ok(mut place) = self.told.result.lock() {
            *place = Some((self.result, errno));
        }
        self.told.told.notify_all();
    }
}

/// A worker beside its supervisor. It begins anew until the stop, whatever ended it.
fn work(context: &Arc<Context>, index: usize, mut worker: Running<Worker>) {
    while worker.run().is_err() {
        worker = loop {
            sys::clock::pause_ms(BEGIN_ANEW_MS);
            match open_worker_in_turn(context, index) {
                Ok(Some(next)) => break next,
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }
}

/// The supervisor beside its workers, in the same way.
fn supervise_on(context: &Arc<Context>, supervisor: Running<Supervisor>) {
    let mut ended = supervise(context, Ok(supervisor));
    while ended.is_err() {
        context.finish_orphaned_stop();
        if context.segment.header().stopping.load_sync() >= 2 {
            return;
        }
        sys::clock::pause_ms(BEGIN_ANEW_MS);
        let held = membership::begin_role(context, false);
        ended = held.and_then(|held| supervise(context, open_supervisor(context, held)));
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
