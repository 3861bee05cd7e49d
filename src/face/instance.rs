//! An instance and its calls. Each is that of the C API without the `sipwire_`.

use std::sync::{Arc, Weak};

use super::callbacks::{Callbacks, Itself, RustHost};
use super::{Addr, Config, ConnInfo, Error, Result, Sent, SetupError, Stats, Target};
use crate::runtime::boundary::{call, result};
use crate::runtime::instance::{self, WeakInstance};
use crate::runtime::{membership, picture};

/// One transport, made before any fork. Clones are the same instance, for other threads of the host.
///
/// When the last clone goes (those that callbacks are given do not count), the instance is freed in this
/// process: threads of [`start`](Self::start) that still run are stopped first. Other processes keep theirs.
#[derive(Clone)]
pub struct Instance {
    pub(super) inner: instance::Instance,
    held: Held,
}

/// When the last is dropped, the instance is freed.
pub(super) struct Owner(instance::Instance);

#[derive(Clone)]
enum Held {
    Host(Arc<Owner>),
    Callback(Weak<Owner>),
}

impl Drop for Owner {
    fn drop(&mut self) {
        call((), || self.0.close());
    }
}

impl Instance {
    /// Maps the shared memory and binds the listeners; starts nothing. Children forked afterwards inherit it.
    pub fn new(
        config: &Config,
        callbacks: Callbacks,
    ) -> core::result::Result<Instance, SetupError> {
        let itself = Itself::default();
        let host = RustHost {
            callbacks,
            itself: itself.clone(),
        };
        let inner = instance::Instance::new(config, Box::new(host))?;
        let owner = Arc::new(Owner(inner.clone()));
        let _ = itself.set((inner.downgrade(), Arc::downgrade(&owner)));
        Ok(Instance {
            inner,
            held: Held::Host(owner),
        })
    }

    pub(super) fn of_callback((inner, owner): &(WeakInstance, Weak<Owner>)) -> Option<Instance> {
        Some(Instance {
            inner: inner.upgrade()?,
            held: Held::Callback(owner.clone()),
        })
    }

    /// For whoever begins a role: it is not freed meanwhile. `Role`: the host's last clone has gone.
    pub(super) fn owner(&self) -> Result<Arc<Owner>> {
        match &self.held {
            Held::Host(owner) => Ok(owner.clone()),
            Held::Callback(owner) => owner.upgrade().ok_or(Error::Role),
        }
    }

    /// Threads: runs the supervisor and all workers as threads of this process and returns. They end with
    /// [`stop`](Self::stop). Do not fork afterwards, except to exec.
    pub fn start(&self) -> Result<()> {
        result(|| {
            let _owner = self.owner()?;
            self.inner.start()
        })
    }

    /// Processes: this process is the supervisor until [`stop`](Self::stop).
    pub fn run_supervisor(&self) -> Result<()> {
        result(|| {
            let _owner = self.owner()?;
            self.inner.run_supervisor()
        })
    }

    /// Processes: this process is worker `worker` (from 0) until [`stop`](Self::stop); its callbacks run in here.
    pub fn run_worker(&self, worker: usize) -> Result<()> {
        result(|| {
            let _owner = self.owner()?;
            self.inner.run_worker(worker)
        })
    }

    /// Processes: this process will send. Each of its threads takes part from its first [`send`](Self::send) on and
    /// leaves when it ends. Not inherited by fork: a child attaches for itself.
    pub fn attach(&self) -> Result<()> {
        result(|| self.inner.attach())
    }

    /// The end of [`attach`](Self::attach); not in callbacks.
    pub fn detach(&self) -> Result<()> {
        result(|| self.inner.detach())
    }

    /// The host's word, after its waitpid, that process `pid` ended.
    pub fn process_died(&self, pid: i32) -> Result<()> {
        result(|| self.inner.process_died(pid))
    }

    /// No new connections from now on. Each ends as soon as what was asked on it is answered and written, and all
    /// that are left `deadline_ms` milliseconds from now.
    pub fn drain(&self, deadline_ms: u64) {
        call((), || self.inner.drain(deadline_ms));
    }

    /// Asks every participant to end. In the process of [`start`](Self::start) it waits for the threads;
    /// [`Error::Reentrant`]: asked from a callback there, all ends, but this call did not wait for it. Nor does it on a
    /// callback's clone when the host's last one was dropped in a callback.
    pub fn stop(&self) -> Result<()> {
        result(|| self.inner.stop())
    }

    /// Sends one message, which comes in 1 to 1024 pieces. Never waits: it is written now, or queued and written by
    /// the supervisor. `cookie` comes back in `on_send_failed`. After an error it was not accepted and will not
    /// be reported.
    pub fn send(&self, target: Target, pieces: &[&[u8]], cookie: u64) -> Result<Sent> {
        result(|| self.inner.send(target, pieces, cookie))
    }

    /// For a thread that sends and may not for a while, about once a second: follows what happened meanwhile.
    pub fn refresh(&self) -> Result<()> {
        result(|| self.inner.refresh())
    }

    /// The address that a listener is bound to, with its real port.
    pub fn listener_addr(&self, listener: usize) -> Result<Addr> {
        result(|| self.inner.listener_addr(listener))
    }

    /// A snapshot of a connection.
    pub fn conn_info(&self, conn_id: u32) -> Result<ConnInfo> {
        self.attached(|inner| inner.conn_info(conn_id))
    }

    /// The id of an open connection to `remote`, and from `local` unless that is none.
    pub fn conn_find(&self, remote: &Addr, local: &Addr) -> Result<u32> {
        self.attached(|inner| inner.conn_find(remote, local))
    }

    /// Ends a connection; what was queued is written first. `on_close` follows.
    pub fn conn_close(&self, conn_id: u32) -> Result<()> {
        self.attached(|inner| inner.conn_close(conn_id))
    }

    /// Keeps a number of the host's with the connection, 0 at first.
    pub fn conn_set_user(&self, conn_id: u32, user: u64) -> Result<()> {
        self.attached(|inner| inner.conn_set_user(conn_id, user))
    }

    /// The counters. Each is true for some instant of the call.
    pub fn stats(&self) -> Stats {
        picture::stats(&self.inner.context.segment)
    }

    /// Changes a setting while running, for all participants.
    pub fn set(&self, key: &str, value: &str) -> core::result::Result<(), SetupError> {
        self.inner.set(key, value)
    }

    /// A setting's present value as text that [`set`](Self::set) takes back.
    pub fn get(&self, key: &str) -> core::result::Result<String, SetupError> {
        Ok(self.inner.context.live().get(key)?)
    }

    /// A call of a process that takes part.
    fn attached<R>(&self, body: impl FnOnce(&instance::Instance) -> Result<R>) -> Result<R> {
        result(|| {
            if !membership::is_attached(&self.inner.context) {
                return Err(Error::NotAttached);
            }
            body(&self.inner)
        })
    }
}
