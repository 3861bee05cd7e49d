//! Running a role as this whole process or step by step from the host's own event loop; what the host tells
//! all of them; and the end of the instance in this process.

use super::instance::Instance;
use super::membership;
use super::running::{
    BEGIN_ANEW_MS, Running, open_supervisor, open_worker, open_worker_in_turn, supervise,
};
use crate::pure::error::{Error, Result};
use crate::roles::supervisor::Supervisor;
use crate::roles::worker::Worker;
use crate::shm::participants::End;
use crate::sync::{Ordering, Word};
use crate::sys;

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
            Either::Worker(running) if running.has_failed() => Some(0),
            Either::Worker(running) => running.role.as_ref()?.next_timeout_ms(),
        }
    }
    /// The calling thread runs a callback of this instance, as this role or as another one.
    pub fn in_callback(&self) -> bool {
        membership::in_callback(match &self.0 {
            Either::Supervisor(running) => running.held.context(),
            Either::Worker(running) => running.held.context(),
        })
    }
    pub fn step(&mut self) -> Result<bool> {
        if self.in_callback() {
            return Err(Error::Reentrant);
        }
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

impl Instance {
    /// This process is the supervisor until `stop`.
    pub fn run_supervisor(&self) -> Result<()> {
        if self.is_stopping() {
            self.context.finish_orphaned_stop();
            return Ok(());
        }
        let _whole = membership::begin_role(&self.context, true)?;
        let held = membership::begin_role(&self.context, false)?;
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
                Err(Error::Panic) => sys::clock::pause_ms(BEGIN_ANEW_MS),
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
                if supervisor.role.is_none() {
                    return Err(Error::Panic);
                }
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
            // One that claims the place at this instant sleeps on this.
            self.context.wake.notify();
        }
    }

    /// The end of the instance in this process; other processes have theirs. Threads of `start` are
    /// stopped. In a callback, whose thread cannot be waited for, no more than that is asked for.
    pub fn close(&self) {
        let threads = self.has_threads();
        if self.in_callback() {
            if threads {
                self.request_stop();
                self.release_threads();
            }
            return;
        }
        if threads {
            let _ = self.stop();
        }
        membership::exit(&self.context);
    }
}
