//! Running the roles: as threads of this process, as this whole process, or step by step from the
//! host's own event loop.

use std::sync::{Arc, Condvar, Mutex};

use super::instance::Instance;
use super::membership;
use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::member::Announcement;
use crate::roles::supervisor::Supervisor;
use crate::roles::worker::Worker;
use crate::sync::Word;
use crate::sys::{self, fdpass};

const LOG_WARNING: u8 = 2;
/// How long a worker waits for the place of a predecessor that died and is being recovered.
const PLACE_WAIT_MS: u64 = 10_000;

/// How a thread of `start` tells that its role is open. Not a channel: a receiving std channel leaves a
/// thread handle behind in the host's thread, which the host's leak checker would find.
#[derive(Default)]
struct Opened {
    result: Mutex<Option<Result<()>>>,
    told: Condvar,
}

impl Opened {
    fn tell(&self, result: Result<()>) {
        if let Ok(mut place) = self.result.lock() {
            *place = Some(result);
        }
        self.told.notify_one();
    }
    fn wait(&self) -> Result<()> {
        let place = self.result.lock().map_err(|_| Error::System)?;
        let place = self.told.wait_while(place, |result| result.is_none());
        place
            .map_err(|_| Error::System)?
            .unwrap_or(Err(Error::System))
    }
}

/// A role driven by the host, `sipwire_loop`.
pub enum Role {
    Supervisor(Box<Supervisor>),
    Worker(Box<Worker>),
}

impl Role {
    pub fn fd(&self) -> i32 {
        match self {
            Role::Supervisor(role) => role.fd(),
            Role::Worker(role) => role.fd(),
        }
    }
    pub fn next_timeout_ms(&self) -> Option<u64> {
        match self {
            Role::Supervisor(role) => role.next_timeout_ms(),
            Role::Worker(role) => role.next_timeout_ms(),
        }
    }
    pub fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        match self {
            Role::Supervisor(role) => role.step(max_wait_ms),
            Role::Worker(role) => role.step(max_wait_ms),
        }
    }
    pub fn close(self, context: &Arc<Context>) {
        match self {
            Role::Supervisor(role) => role.close(),
            Role::Worker(role) => {
                role.close();
                membership::exit(context);
            }
        }
    }
    fn run(mut self, context: &Arc<Context>) -> Result<()> {
        let end = loop {
            if let Err(error) = self.step(None) {
                break error;
            }
        };
        self.close(context);
        match end {
            Error::ShuttingDown => Ok(()),
            other => Err(other),
        }
    }
}

fn open_worker(context: &Arc<Context>, index: usize) -> Result<Role> {
    let worker = Worker::open(context, index)?;
    membership::enter_worker(context, worker.member());
    Ok(Role::Worker(Box::new(worker)))
}

impl Instance {
    /// Supervisor and workers as threads of this process.
    pub fn start(&self) -> Result<()> {
        let context = &self.context;
        let mut threads = self.threads.lock();
        if !threads.is_empty() || self.is_stopping() || !membership::attach_process(context) {
            return Err(Error::Role);
        }
        let supervisor = match Supervisor::open(context) {
            Ok(supervisor) => Box::new(supervisor),
            Err(error) => {
                context.identity.set(0);
                return Err(error);
            }
        };
        let shared = context.clone();
        threads.push(spawn(move || {
            as_supervisor(&shared);
            let _ = Role::Supervisor(supervisor).run(&shared);
        })?);
        for index in 0..context.settings.workers as usize {
            let shared = context.clone();
            let opened = Arc::new(Opened::default());
            let told = opened.clone();
            threads.push(spawn(move || {
                sys::process::set_thread_name(&format!("sipwire-w{index}"));
                match open_worker(&shared, index) {
                    Ok(role) => {
                        told.tell(Ok(()));
                        let _ = role.run(&shared);
                    }
                    Err(error) => told.tell(Err(error)),
                }
            })?);
            opened.wait()?;
        }
        Ok(())
    }

    /// This process is the supervisor until `stop`.
    pub fn run_supervisor(&self) -> Result<()> {
        let context = &self.context;
        if self.is_stopping() {
            return Ok(());
        }
        if !membership::attach_process(context) {
            return Err(Error::Role);
        }
        as_supervisor(context);
        let role = Role::Supervisor(Box::new(Supervisor::open(context)?));
        let ended = role.run(context);
        context.identity.set(0);
        ended
    }

    /// This process is worker `index` until `stop` or until the supervisor is gone.
    pub fn run_worker(&self, index: usize) -> Result<()> {
        let context = &self.context;
        if index >= context.segment.workers().len() {
            return Err(Error::Argument);
        }
        if !membership::attach_process(context) {
            return Err(Error::Role);
        }
        sys::process::set_thread_name(&format!("sipwire-w{index}"));
        let give_up_ms = sys::clock::monotonic_ms() + PLACE_WAIT_MS;
        let opened = loop {
            if context.segment.header().stopping.load_sync() >= 2 {
                context.identity.set(0);
                return Ok(());
            }
            match open_worker(context, index) {
                // A dead predecessor's place: free as soon as the supervisor has recovered it.
                Err(Error::Role) if sys::clock::monotonic_ms() < give_up_ms => {
                    sys::clock::pause_ms(10)
                }
                other => break other,
            }
        };
        let ended = opened.and_then(|role| role.run(context));
        context.identity.set(0);
        ended
    }

    /// A role for the host's own event loop.
    pub fn open_loop(&self, worker: Option<usize>) -> Result<Role> {
        let context = &self.context;
        membership::attach_process(context);
        match worker {
            Some(index) => open_worker(context, index),
            None => {
                let supervisor = Supervisor::open(context)?;
                raise_priority(context);
                Ok(Role::Supervisor(Box::new(supervisor)))
            }
        }
    }

    /// This process will send.
    pub fn attach(&self) -> Result<()> {
        membership::attach_process(&self.context);
        membership::current(&self.context).map(drop)
    }

    pub fn detach(&self) -> Result<()> {
        if !membership::is_attached(&self.context) {
            return Err(Error::NotAttached);
        }
        membership::exit(&self.context);
        if self.threads.lock().is_empty() {
            self.context.identity.set(0);
        }
        Ok(())
    }

    /// The host's word that a process ended (it reaped it).
    pub fn process_died(&self, pid: i32) -> Result<()> {
        let context = &self.context;
        let header = context.segment.header();
        if header.supervisor_pid.load_sync() == pid as u32 {
            header.supervisor_gone.store_sync(1);
            return Ok(());
        }
        let word = Announcement {
            holder: 0,
            epoch: 0,
            worker: 0,
            pid: pid as u32,
        };
        match fdpass::pass(context.announce.as_raw(), &word.to_bytes(), &[]) {
            fdpass::Passed::Sent => {
                context.wake_supervisor();
                Ok(())
            }
            _ => Err(Error::System),
        }
    }

    pub fn drain(&self, deadline_ms: u64) {
        let header = self.context.segment.header();
        header.drain_ms.store_sync(
            sys::clock::monotonic_ms()
                .saturating_add(deadline_ms)
                .max(1),
        );
        self.context.wake.notify();
    }

    /// Asks every participant to end. Only atomics and one eventfd write: allowed in a signal
    /// handler.
    pub fn request_stop(&self) {
        let header = self.context.segment.header();
        let supervised =
            header.supervisor_pid.load_sync() != 0 && header.supervisor_gone.load_sync() == 0;
        let stage = if supervised { 1 } else { 2 };
        if header.stopping.load_sync() < stage {
            header.stopping.store_sync(stage);
        }
        self.context.wake.notify();
    }

    /// `start` was called in this process and `stop` was not yet. In a forked child of a threaded
    /// process the list is there, its threads are not: the identity page tells.
    pub fn has_threads(&self) -> bool {
        membership::is_attached(&self.context)
            && self
                .threads
                .try_lock()
                .is_some_and(|threads| !threads.is_empty())
    }

    /// `request_stop`, and waits for the threads of `start`.
    pub fn stop(&self) -> Result<()> {
        if membership::existing(&self.context).is_some_and(|member| member.in_callback.get()) {
            return Err(Error::Reentrant);
        }
        self.request_stop();
        // In a process that started no threads (a fork's parent, any child) there is nothing to join.
        if !membership::is_attached(&self.context) {
            return Ok(());
        }
        let Some(mut threads) = self.threads.try_lock() else {
            return Ok(());
        };
        let started = !threads.is_empty();
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
        if started {
            membership::exit(&self.context);
            self.context.identity.set(0);
        }
        Ok(())
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    // Signals are the host's: our threads take none.
    sys::process::with_signals_blocked(|| std::thread::Builder::new().spawn(body))
        .map_err(|_| Error::System)
}

fn as_supervisor(context: &Context) {
    sys::process::set_thread_name("sipwire-super");
    raise_priority(context);
}

/// The supervisor's share of the CPU decides how soon everybody's data is handed off.
fn raise_priority(context: &Context) {
    let warn = |what: &str, errno: sys::Errno| {
        if context.wants.log {
            let text = format!("{what} not set: {}; running on without it", errno.text());
            let now_ms = sys::clock::realtime_ms();
            context
                .segment
                .log()
                .write(1, LOG_WARNING, 0, 0, now_ms, &text);
        }
    };
    if let Some(nice) = context.settings.supervisor_nice
        && let Err(errno) = sys::process::set_nice(nice)
    {
        warn("supervisor_nice", errno);
    }
    if let Some(priority) = context.settings.supervisor_rt_priority
        && let Err(errno) = sys::process::set_rt_priority(priority as i32)
    {
        warn("supervisor_rt_priority", errno);
    }
}
