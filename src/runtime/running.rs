//! A role while it runs in this process: its steps, its end in order, and what a bug leaves of it.

use std::rc::Rc;
use std::sync::Arc;

use super::membership::{self, RoleHeld};
use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::failure;
use crate::roles::member::Member;
use crate::roles::supervisor::Supervisor;
use crate::roles::worker::Worker;
use crate::sync::Word;
use crate::sys;

/// How long a worker waits for the place of a predecessor that died and is being recovered.
const PLACE_WAIT_MS: u64 = 10_000;
/// Between a bug that ended a role and its successor, so that one that comes at once again costs no CPU.
pub(super) const BEGIN_ANEW_MS: u64 = 100;

/// What `Running` needs of a role.
pub(super) trait Turns {
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

impl Turns for Supervisor {
    fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        Supervisor::step(self, max_wait_ms)
    }
    fn close(self) {
        Supervisor::close(self);
    }
    fn abandon(self) {
        Supervisor::abandon(self);
    }
    fn fail(self) {
        Supervisor::fail(self);
    }
    /// Its place was left when it was dropped.
    fn die(_: &Context, _: Option<&Member>) {}
    fn member(&self) -> Option<&Rc<Member>> {
        None
    }
}

impl Turns for Worker {
    fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        Worker::step(self, max_wait_ms)
    }
    fn close(self) {
        Worker::close(self);
    }
    fn abandon(self) {
        Worker::abandon(self);
    }
    fn fail(self) {
        Worker::fail(self);
    }
    fn die(context: &Context, member: Option<&Member>) {
        if let Some(member) = member {
            failure::die(context, member);
        }
    }
    fn member(&self) -> Option<&Rc<Member>> {
        Some(Worker::member(self))
    }
}

/// A role of this process. Dropped, it ends in order.
pub(super) struct Running<R: Turns> {
    /// None: a bug ended it, or it is being dropped.
    pub(super) role: Option<Box<R>>,
    pub(super) held: RoleHeld,
}

impl<R: Turns> Running<R> {
    pub(super) fn step(&mut self, max_wait_ms: Option<u64>) -> Result<bool> {
        self.with(|role| role.step(max_wait_ms))
    }
    /// A bug ends it.
    fn with<T>(&mut self, body: impl FnOnce(&mut R) -> Result<T>) -> Result<T> {
        let failed = self.has_failed();
        let Some(role) = &mut self.role else {
            return Err(Error::Panic);
        };
        if !self.held.is_ours() {
            return Err(Error::NotAttached);
        }
        let done = (!failed).then(|| failure::caught(|| body(role)));
        done.flatten().unwrap_or_else(|| {
            self.end(R::fail, false);
            Err(Error::Panic)
        })
    }
    /// A call that the host made with it between two steps met a bug: it ends in the next.
    pub(super) fn has_failed(&self) -> bool {
        let member = self.role.as_ref().and_then(|role| role.member());
        member.is_some_and(|member| member.failed.get())
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
    pub(super) fn run(mut self) -> Result<()> {
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
    pub(super) fn follow_priority(&mut self) {
        let _ = self.with(|role| {
            role.follow_priority();
            Ok(())
        });
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

pub(super) fn open_supervisor(
    context: &Arc<Context>,
    held: RoleHeld,
) -> Result<Running<Supervisor>> {
    let opened = failure::caught(|| Supervisor::open(context)).unwrap_or(Err(Error::Panic));
    let role = Some(Box::new(opened?));
    Ok(Running { role, held })
}

pub(super) fn open_worker(
    context: &Arc<Context>,
    index: usize,
    held: RoleHeld,
) -> Result<Running<Worker>> {
    let opened = failure::caught(|| Worker::open(context, index)).unwrap_or(Err(Error::Panic));
    let worker = opened?;
    membership::enter_worker(context, worker.member());
    let role = Some(Box::new(worker));
    Ok(Running { role, held })
}

/// Worker `index`, as soon as the place of a predecessor that died is free: when the supervisor has recovered
/// it. None: the instance has stopped.
pub(super) fn open_worker_in_turn(
    context: &Arc<Context>,
    index: usize,
) -> Result<Option<Running<Worker>>> {
    let give_up_ms = sys::clock::monotonic_ms() + PLACE_WAIT_MS;
    loop {
        context.finish_orphaned_stop();
        if context.segment.header().stopping.load_sync() >= 2 {
            return Ok(None);
        }
        let held = membership::begin_role(context, false)?;
        match open_worker(context, index, held) {
            Err(error @ (Error::Role | Error::Panic))
                if sys::clock::monotonic_ms() < give_up_ms =>
            {
                sys::clock::pause_ms(if error == Error::Panic {
                    BEGIN_ANEW_MS
                } else {
                    10
                });
            }
            opened => return opened.map(Some),
        }
    }
}

/// Until the stop. After a bug in the supervisor the next one begins, as after its death.
pub(super) fn supervise(
    context: &Arc<Context>,
    mut opened: Result<Running<Supervisor>>,
) -> Result<()> {
    loop {
        match opened.and_then(|supervisor| as_supervisor(supervisor).run()) {
            Err(Error::Panic) => {}
            ended => return ended,
        }
        // A bug that comes again in each stop must not keep it from its end.
        context.finish_orphaned_stop();
        if context.segment.header().stopping.load_sync() >= 2 {
            return Ok(());
        }
        sys::clock::pause_ms(BEGIN_ANEW_MS);
        let held = membership::begin_role(context, false)?;
        opened = open_supervisor(context, held);
    }
}

/// By the thread that will run it.
fn as_supervisor(mut supervisor: Running<Supervisor>) -> Running<Supervisor> {
    sys::process::set_thread_name("sipwire-super");
    supervisor.follow_priority();
    supervisor
}
