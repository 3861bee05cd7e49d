//! The host's closures as the roles' `Host`.

use std::sync::{Arc, Weak};

use once_cell::sync::OnceCell;

use super::instance::{Instance, Owner};
use super::{ConnInfo, Failure, LogRecord, Message};
use crate::roles::host::{Host, Wants};
use crate::runtime::boundary::callback as call;
use crate::runtime::instance::WeakInstance;

/// What `on_message` returns to have the connection closed once its output is written. Every error turns
/// into it, so that `?` closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Close;

impl<E: std::error::Error> From<E> for Close {
    fn from(_: E) -> Close {
        Close
    }
}

type OnMessage =
    Box<dyn Fn(&Instance, &mut Message<'_>) -> core::result::Result<(), Close> + Send + Sync>;
type OnFailure = Box<dyn Fn(&Instance, &mut Failure<'_>) + Send + Sync>;
type OnConn = Box<dyn Fn(&Instance, &ConnInfo) + Send + Sync>;
type OnWorker = Box<dyn Fn(&Instance, i32) + Send + Sync>;
type OnLog = Box<dyn Fn(&LogRecord) + Send + Sync>;

/// What the host is told, in workers only and by several at once. Nothing is held meanwhile: every call is
/// allowed in a callback unless its description says otherwise.
///
/// A callback that panics is as good as one that returned, and `on_message` as one that returned [`Close`].
///
/// Each is given the instance. One that captures a clone of it keeps the instance from ever being freed.
pub struct Callbacks {
    message: OnMessage,
    send_failed: Option<OnFailure>,
    open: Option<OnConn>,
    close: Option<OnConn>,
    writable: Option<OnConn>,
    worker_start: Option<OnWorker>,
    worker_stop: Option<OnWorker>,
    log: Option<OnLog>,
}

impl Callbacks {
    /// `on_message`: a message is there, complete, in the order of its connection.
    pub fn new<F>(on_message: F) -> Callbacks
    where
        F: Fn(&Instance, &mut Message<'_>) -> core::result::Result<(), Close>
            + Send
            + Sync
            + 'static,
    {
        Callbacks {
            message: Box::new(on_message),
            send_failed: None,
            open: None,
            close: None,
            writable: None,
            worker_start: None,
            worker_stop: None,
            log: None,
        }
    }
}

macro_rules! optional {
    ($($(#[$doc:meta])* $name:ident: $field:ident($($argument:ty),*);)*) => {
        impl Callbacks {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(mut self, callback: impl Fn($($argument),*) + Send + Sync + 'static) -> Self {
                self.$field = Some(Box::new(callback));
                self
            })*
        }
    };
}
optional! {
    /// A message that was accepted as [`Sent::Queued`](super::Sent::Queued) will not be written whole. Exactly once for
    /// each, and once more if the worker dies inside the callback ([`Failure::repeated`]).
    on_send_failed: send_failed(&Instance, &mut Failure<'_>);
    /// A connection was accepted, or one that we dialled is connected: before its first message.
    on_open: open(&Instance, &ConnInfo);
    /// A connection has ended: the last that is told of it.
    on_close: close(&Instance, &ConnInfo);
    /// A connection whose queue was above the setting `queue_high` is down to `queue_low`.
    on_writable: writable(&Instance, &ConnInfo);
    /// Before the first other callback of a worker, in that worker.
    on_worker_start: worker_start(&Instance, i32);
    /// After the last other callback of a worker, in that worker. One that dies has none.
    on_worker_stop: worker_stop(&Instance, i32);
    /// A line for the host's log. Workers call it.
    on_log: log(&LogRecord);
}

/// Set once the instance is made. Weak, because the instance owns the callbacks.
pub(super) type Itself = Arc<OnceCell<(WeakInstance, Weak<Owner>)>>;

pub(super) struct RustHost {
    pub(super) callbacks: Callbacks,
    pub(super) itself: Itself,
}

impl RustHost {
    /// Runs one callback; a panic ends in `default`. Whoever calls a callback holds the instance, so there is one.
    fn tell<F, R>(
        &self,
        default: R,
        callback: Option<&F>,
        body: impl FnOnce(&F, &Instance) -> R,
    ) -> R
    where
        F: ?Sized,
    {
        let instance = self.itself.get().and_then(Instance::of_callback);
        match (callback, instance) {
            (Some(callback), Some(instance)) => call(default, || body(callback, &instance)),
            _ => default,
        }
    }
}

impl Host for RustHost {
    fn wants(&self) -> Wants {
        Wants {
            send_failed: self.callbacks.send_failed.is_some(),
            open: self.callbacks.open.is_some(),
            close: self.callbacks.close.is_some(),
            writable: self.callbacks.writable.is_some(),
            log: self.callbacks.log.is_some(),
            capture: false,
        }
    }

    fn on_message(&self, message: &mut Message<'_>) -> i32 {
        self.tell(-1, Some(&*self.callbacks.message), |callback, instance| {
            callback(instance, message).map_or(-1, |()| 0)
        })
    }
    fn on_send_failed(&self, failure: &mut Failure<'_>) {
        self.tell(
            (),
            self.callbacks.send_failed.as_deref(),
            |callback, instance| callback(instance, failure),
        );
    }
    fn on_open(&self, info: &ConnInfo) {
        self.tell_conn(&self.callbacks.open, info);
    }
    fn on_close(&self, info: &ConnInfo) {
        self.tell_conn(&self.callbacks.close, info);
    }
    fn on_writable(&self, info: &ConnInfo) {
        self.tell_conn(&self.callbacks.writable, info);
    }
    fn on_log(&self, record: &LogRecord) {
        if let Some(callback) = &self.callbacks.log {
            call((), || callback(record));
        }
    }
    fn on_worker_start(&self, worker: i32) {
        self.tell_worker(&self.callbacks.worker_start, worker);
    }
    fn on_worker_stop(&self, worker: i32) {
        self.tell_worker(&self.callbacks.worker_stop, worker);
    }
}

impl RustHost {
    fn tell_conn(&self, callback: &Option<OnConn>, info: &ConnInfo) {
        self.tell((), callback.as_deref(), |callback, instance| {
            callback(instance, info)
        });
    }
    fn tell_worker(&self, callback: &Option<OnWorker>, worker: i32) {
        self.tell((), callback.as_deref(), |callback, instance| {
            callback(instance, worker)
        });
    }
}
