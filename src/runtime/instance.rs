//! Making an instance: settings checked, segment mapped, listeners bound, all before any fork.

use std::fmt;
use std::sync::{Arc, Weak};

use super::config::Config;
use crate::pure::addr::Addr;
use crate::pure::error::Error;
use crate::pure::settings::{ProxyProtocol, SettingError, Settings};
use crate::roles::context::{Context, Listener, cannot_listen, socket_options};
use crate::roles::host::Host;
use crate::sync::Word;
use crate::sys::sock::{self, SocketOptions};
use crate::sys::{Errno, RawFd};
use crate::table::segment::Segment;

/// A failure with the one line that says what to do about it.
#[deny(missing_docs)]
#[derive(Debug)]
pub struct Failure {
    /// What a program goes by.
    pub error: Error,
    /// For a log; also what is displayed.
    pub line: String,
    /// Of the system call that failed, 0: none did.
    pub errno: i32,
}

#[deny(missing_docs)]
impl Failure {
    pub(super) fn new(error: Error, line: String) -> Failure {
        Failure {
            error,
            line,
            errno: 0,
        }
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Failure {
        let code = match error {
            SettingError::NotLive { .. } => Error::NotLive,
            _ => Error::Setting,
        };
        Failure::new(code, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Failure {}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub enum Listen {
    /// To be bound here.
    Address(Addr),
    /// The host has bound it and listens.
    Descriptor(RawFd),
}

impl Listen {
    /// The error is one line for the host's log.
    pub fn descriptor(fd: RawFd) -> Result<Listen, String> {
        match sock::is_listener(fd) {
            Ok(true) => Ok(Listen::Descriptor(fd)),
            Ok(false) => Err(format!(
                "listen on descriptor {fd}: not a listening TCP socket"
            )),
            Err(errno) => Err(format!("listen on descriptor {fd}: {}", errno.text())),
        }
    }

    /// `settings`: with those that the listener has of its own.
    fn open(self, settings: &Settings, options: &SocketOptions) -> Result<Listener, Failure> {
        let backlog = settings.listen_backlog as i32;
        let (what, opened) = match self {
            Listen::Address(addr) => (format!("tcp:{addr}"), sock::listen(&addr, backlog, options)),
            Listen::Descriptor(fd) => (format!("descriptor {fd}"), sock::take_over(fd, options)),
        };
        let cannot_listen = |errno: Errno| Failure {
            error: Error::Listen,
            line: cannot_listen(&what, errno),
            errno: errno.0,
        };
        let (fd, plain) = opened.map_err(cannot_listen)?;
        let addr = sock::local_addr(fd.as_raw()).map_err(cannot_listen)?;
        Ok(Listener {
            fd,
            addr,
            proxy: settings.proxy_protocol,
            proxy_networks: settings.proxy_networks.clone(),
            plain,
        })
    }
}

/// Clones are the same instance.
#[derive(Clone)]
pub struct Instance {
    pub context: Arc<Context>,
    pub(super) threads: Arc<super::threads::Threads>,
}

/// For what the context itself owns.
pub struct WeakInstance {
    context: Weak<Context>,
    threads: Arc<super::threads::Threads>,
}

impl WeakInstance {
    /// None: nobody has the context any more, so nobody calls anything of it.
    pub fn upgrade(&self) -> Option<Instance> {
        Some(Instance {
            context: self.context.upgrade()?,
            threads: self.threads.clone(),
        })
    }
}

impl Instance {
    pub fn downgrade(&self) -> WeakInstance {
        WeakInstance {
            context: Arc::downgrade(&self.context),
            threads: self.threads.clone(),
        }
    }

    pub fn new(config: &Config, host: Box<dyn Host>) -> Result<Instance, Failure> {
        let Config { settings, listen } = config.clone();
        settings.check()?;
        let options = socket_options(&settings);
        let mut listeners = Vec::with_capacity(listen.len());
        for (place, own) in &listen {
            listeners.push(place.open(&own.over(&settings), &options)?);
        }
        let system = |what: &str, errno: Errno| Failure {
            error: if errno == Errno::ENOMEM {
                Error::NoMemory
            } else {
                Error::System
            },
            line: format!("cannot make the instance: {what}: {errno}"),
            errno: errno.0,
        };
        let bound: Vec<Addr> = listeners.iter().map(|listener| listener.addr).collect();
        // Those that are added while running have the instance's settings.
        let proxied = settings.proxy_protocol != ProxyProtocol::Off
            || listeners
                .iter()
                .any(|listener| listener.proxy != ProxyProtocol::Off);
        let segment = Segment::new(&settings, &bound, proxied)
            .map_err(|errno| system("shared memory", errno))?;
        let context = Context::new(segment, settings, host, listeners)
            .map_err(|errno| system("descriptors and a random key", errno))?;
        Ok(Instance {
            context: Arc::new(context),
            threads: Arc::default(),
        })
    }

    /// Changes a setting while running.
    pub fn set(&self, key: &str, value: &str) -> Result<(), Failure> {
        let before = self.context.live();
        let mut settings = (*before).clone();
        settings
            .set_live(key, value)
            .and_then(|()| settings.check())?;
        if !self.context.change_live(&before, &settings) {
            let line = format!(
                "{key} is not changed: other processes are in the middle of changing it; try again"
            );
            return Err(Failure::new(Error::NoMemory, line));
        }
        // Here too, so that a connection made from now on has them: the supervisor may sleep.
        let options = socket_options(&settings);
        if options != socket_options(&before) {
            for listener in &self.context.listeners {
                sock::apply_again(listener.fd.as_raw(), &options, &listener.plain);
            }
        }
        self.context.wake_supervisor();
        Ok(())
    }

    pub fn is_stopping(&self) -> bool {
        self.context.segment.header().stopping.load_sync() != 0
    }
}
