//! Running the roles: as threads of this process, as this whole process, or step by step from the
//! host's own event loop.

use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};

use super::instance::Instance;
use super::membership::{self, RoleHeld};
use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::failure;
use crate::roles::member::Member;
use crate::roles::supervisor::{self, Supervisor};
use crate::roles::worker::Worker;
use crate::shm::participants::{End, SUPERVISOR};
use crate::sync::{AtomicU64, Ordering, Word};
use crate::sys;

/// How long a worker waits for the place of a predecessor that died and is being recovered.
const PLACE_WAIT_MS: u64 = 10_000;
/// Between a bug that ended the supervisor and its successor, so that one that comes at once again costs no
/// CPU.
const BEGIN_ANEW_MS: u64 = 100;

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

/// What `Running` needs of a role.
trait Turns {
    fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool>;
    fn close(self);
    fn abandon(self);
    /// A bug ended a step: what can still be done in order.
    fn fail(self);
    /// What was not ended in order is a dead one's.
    fn die(context: &Context, member: Option<&Member>);
    /// Whose sends are those of the callbacks that a step runs.
    fn member(&self) -> Option<&Rc<Member>>;
}

macro_rules! turns {
    ($role:ty, $member:expr, $fail:expr, $die:expr) => {
        impl Turns for $role {
            fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
                self.step(max_wait_ms)
            }
            fn close(self) {
                self.close()
            }
            fn abandon(self) {
                self.abandon()
            }
            fn fail(self) {
                $fail(self)
            }
            fn die(context: &Context, member: Option<&Member>) {
                $die(context, member)
            }
            fn member(&self) -> Option<&Rc<Member>> {
                $member(self)
            }
        }
    };
}
turns!(Supervisor, |_| None, Supervisor::close, |context,
                                                 _: Option<
    &Member,
>| {
    let _ = failure::caught(|| failure::report(context, SUPERVISOR, "the supervisor"));
    supervisor::give_up(context);
});
turns!(
    Worker,
    |worker| Some(Worker::member(worker)),
    Worker::fail,
    |context, member: Option<&Member>| {
        if let Some(member) = member {
            failure::die(context, member);
        }
    }
);

/// A role of this process. Dropped, it ends in order.
struct Running<R: Turns> {
    /// None: a bug ended it, or it is being dropped.
    role: Option<Box<R>>,
    held: RoleHeld,
}

impl<R: Turns> Running<R> {
    fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        let Some(role) = &mut self.role else {
            return Err(Error::Panic);
        };
        if !self.held.is_ours() {
            return Err(Error::NotAttached);
        }
        // A bug met in a call that the host made with it between two steps.
        let failed = role.member().is_some_and(|member| member.failed.get());
        let stepped = (!failed).then(|| failure::caught(|| role.step(max_wait_ms)));
        stepped.flatten().unwrap_or_else(|| {
            self.end(R::fail, false);
            Err(Error::Panic)
        })
    }
    fn end(&mut self, end: impl FnOnce(R), in_order: bool) {
        let Some(role) = self.role.take() else {
            return;
        };
        let member = role.member().cloned();
        let ended = failure::caught(move || end(*role)).is_some();
        if let Some(member) = &member {
            membership::leave_worker(member);
        }
        if !(ended && in_order) {
            let _ = failure::caught(|| R::die(self.held.context(), member.as_deref()));
        }
    }
    fn run(mut self) -> Result<()> {
        loop {
            match self.step(None) {
                Ok(_) => {}
                Err(Error::ShuttingDown) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }
}

impl Running<Supervisor> {
    fn follow_priority(&mut self) {
        if let Some(role) = &mut self.role {
            role.follow_priority();
        }
    }
}

impl<R: Turns> Drop for Running<R> {
    fn drop(&mut self) {
        if self.held.is_ours() {
            self.end(R::close, true);
        } else {
            // In a child that was forked since, the role stays its parent's: only our copies go.
            self.end(R::abandon, true);
        }
    }
}

fn open_supervisor(context: &Arc<Context>, held: RoleHeld) -> Result<Running<Supervisor>> {
    let opened = failure::caught(|| Supervisor::open(context)).unwrap_or_else(|| {
        supervisor::give_up(context);
        Err(Error::Panic)
    });
    let role = Some(Box::new(opened?));
    Ok(Running { role, held })
}

fn open_worker(context: &Arc<Context>, index: usize, held: RoleHeld) -> Result<Running<Worker>> {
    let worker = Worker::open(context, index)?;
    membership::enter_worker(context, worker.member());
    let role = Some(Box::new(worker));
    Ok(Running { role, held })
}

/// Worker `index`, as soon as the place of a predecessor that died is free: when the supervisor has recovered
/// it. None: the instance has stopped.
fn open_worker_in_turn(context: &Arc<Context>, index: usize) -> Result<Option<Running<Worker>>> {
    let give_up_ms = sys::clock::monotonic_ms() + PLACE_WAIT_MS;
    loop {
        context.finish_orphaned_stop();
        if context.segment.header().stopping.load_sync() >= 2 {
            return Ok(None);
        }
        let held = membership::begin_role(context, false)?;
        match open_worker(context, index, held) {
            Err(Error::Role | Error::Panic) if sys::clock::monotonic_ms() < give_up_ms => {
                sys::clock::pause_ms(10)
            }
            opened => return opened.map(Some),
        }
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

/// Until the stop. After a bug in the supervisor the next one begins, as after its death.
fn supervise(context: &Arc<Context>, mut opened: Result<Running<Supervisor>>) -> Result<()> {
    loop {
        match opened.and_then(|supervisor| as_supervisor(supervisor).run()) {
            Err(Error::Panic) => {}
            ended => return ended,
        }
        sys::clock::pause_ms(BEGIN_ANEW_MS);
        let held = membership::begin_role(context, false)?;
        opened = open_supervisor(context, held);
    }
}

/// A role driven by the host, `sipwire_loop`.
pub struct Role(Either);
enum Either {
    Supervisor(Running<Supervisor>),
    Worker(Running<Worker>),
}

impl Role {
    pub fn fd(&self) -> i32 {
        match &self.0 {
            Either::Supervisor(running) => running.role.as_ref().map_or(-1, |role| role.fd()),
            Either::Worker(running) => running.role.as_ref().map_or(-1, |role| role.fd()),
        }
    }
    pub fn next_timeout_ms(&self) -> Option<u64> {
        match &self.0 {
            Either::Supervisor(running) => running.role.as_ref()?.next_timeout_ms(),
            Either::Worker(running) => running.role.as_ref()?.next_timeout_ms(),
        }
    }
    pub fn step(&mut self) -> Result<bool> {
        match &mut self.0 {
            Either::Supervisor(running) => running.step(Some(0)),
            Either::Worker(running) => {
                // A thread may drive several workers: each callback sends as its own.
                if let Some(worker) = &running.role {
                    membership::enter_worker(running.held.context(), worker.member());
                }
                running.step(Some(0))
            }
        }
    }
}

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

    fn join_threads(&self) {
        let mut place = self.threads.started.lock();
        if let Some(started) = place.take() {
            for handle in started.handles {
                let _ = handle.join();
            }
            supervisor::close_rest(&self.context);
            membership::exit(&self.context);
            self.threads.identity.store_sync(0);
        }
    }

    /// This process is the supervisor until `stop`.
    pub fn run_supervisor(&self) -> Result<()> {
        if self.is_stopping() {
            self.context.finish_orphaned_stop();
            return Ok(());
        }
        let held = membership::begin_role(&self.context, true)?;
        supervise(&self.context, open_supervisor(&self.context, held))
    }

    /// This process is worker `index` until `stop` or until the supervisor is gone.
    pub fn run_worker(&self, index: usize) -> Result<()> {
        let context = &self.context;
        if index >= context.segment.workers().len() {
            return Err(Error::Argument);
        }
        let _whole = membership::begin_role(context, true)?;
        sys::process::set_thread_name(&format!("sipwire-w{index}"));
        while let Some(worker) = open_worker_in_turn(context, index)? {
            match worker.run() {
                Err(Error::Panic) => {} // it begins anew
                ended => return ended,
            }
        }
        Ok(())
    }

    /// A role for the host's own event loop.
    pub fn open_loop(&self, worker: Option<usize>) -> Result<Role> {
        let context = &self.context;
        if self.in_callback() {
            return Err(Error::Reentrant);
        }
        // As in `run_worker`: while a stop goes on a worker is let in, to tell what is left to be told.
        let over = context.segment.header().stopping.load_sync() >= 2;
        if over || (worker.is_none() && self.is_stopping()) {
            return Err(Error::ShuttingDown);
        }
        let held = membership::begin_role(context, false)?;
        Ok(Role(match worker {
            Some(index) => Either::Worker(open_worker(context, index, held)?),
            None => {
                let mut supervisor = open_supervisor(context, held)?;
                supervisor.follow_priority();
                Either::Supervisor(supervisor)
            }
        }))
    }

    /// The calling thread runs a callback of this instance.
    pub fn in_callback(&self) -> bool {
        membership::in_callback(&self.context)
    }

    /// This process will send.
    pub fn attach(&self) -> Result<()> {
        if self.in_callback() {
            return Ok(());
        }
        membership::attach(&self.context)
    }

    pub fn detach(&self) -> Result<()> {
        if self.in_callback() {
            return Err(Error::Reentrant);
        }
        membership::detach(&self.context)
    }

    /// The host's word that a process ended (it reaped it).
    pub fn process_died(&self, pid: i32) -> Result<()> {
        let pid = u32::try_from(pid).map_err(|_| Error::Argument)?;
        if pid == 0 {
            return Err(Error::Argument);
        }
        let segment = &self.context.segment;
        let header = segment.header();
        let claim = header.claim.load_sync();
        if claim as u32 == pid {
            header.note_gone(claim);
        }
        for (_, record) in segment.participants().active() {
            let tenant = record.tenant();
            if tenant.pid() == pid {
                record.tell_end(tenant.epoch(), End::Died);
            }
        }
        self.context.finish_orphaned_stop();
        header.deaths_told.fetch_add(1, Ordering::SeqCst);
        self.context.wake_supervisor();
        Ok(())
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
        if header.supervised() {
            header.stop(1);
            self.context.wake.notify();
        } else {
            header.stop(2);
            self.context.end.notify();
        }
    }

    /// `start` was called in this process and `stop` was not yet.
    pub fn has_threads(&self) -> bool {
        membership::is_identity(&self.context, self.threads.identity.load_sync())
    }

    /// The end of the instance in this process; other processes have theirs. Threads of `start` are
    /// stopped. In a callback, whose thread cannot be waited for, no more than that is asked for.
    pub fn close(&self) {
        let threads = self.has_threads();
        if self.in_callback() {
            if threads {
                self.request_stop();
            }
            return;
        }
        if threads {
            let _ = self.stop();
        }
        supervisor::close_rest(&self.context);
        membership::exit(&self.context);
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

/// By the thread that will run it.
fn as_supervisor(mut supervisor: Running<Supervisor>) -> Running<Supervisor> {
    sys::process::set_thread_name("sipwire-super");
    supervisor.follow_priority();
    supervisor
}
