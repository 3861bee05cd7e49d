//! What an instance is made of: its settings and where it listens.

use super::instance::{Failure, Listen};
use crate::pure::addr::parse_listen;
use crate::pure::error::Error;
use crate::pure::settings::{ListenerSettings, Settings};
use crate::sys::{self, RawFd};

/// Settings and listeners of an instance to be made. The keys and their values are those of docs/tuning.md.
#[deny(missing_docs)]
#[derive(Clone)]
pub struct Config {
    pub(super) settings: Settings,
    pub(super) listen: Vec<(Listen, ListenerSettings)>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            settings: Settings::new(sys::process::cpus()),
            listen: Vec::new(),
        }
    }
}

#[deny(missing_docs)]
impl Config {
    /// Every setting has its default, and nothing is listened on.
    pub fn new() -> Config {
        Config::default()
    }

    /// Sets one setting by text: times "10s", "250ms", "2m", "1h" or bare seconds; sizes "64k", "10m", "1g" or
    /// bare bytes; counts; yes/no; words. A "tcp_" prefix of the key is accepted and "-" counts as "_".
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        Ok(self.settings.set(key, value)?)
    }

    /// Sets one setting by number: milliseconds, bytes, a count, 0 or 1 for no or yes, the number of a word.
    pub fn set_number(&mut self, key: &str, value: i64) -> Result<(), Failure> {
        Ok(self.settings.set_number(key, value)?)
    }

    /// A setting's value as text that `set` takes back.
    pub fn get(&self, key: &str) -> Result<String, Failure> {
        Ok(self.settings.get(key)?)
    }

    /// Adds a listener: "tcp:127.0.0.1:5060", "tcp:\[::]:5060"; port 0 takes any free one. Listeners are numbered
    /// from 0 in the order in which they are added.
    pub fn listen(&mut self, address: &str) -> Result<(), Failure> {
        self.add(parse_listen(address).map(Listen::Address))
    }

    /// Adds a listener that was made elsewhere: a TCP socket that is bound and listens. It stays the caller's, who
    /// keeps it open until the instance, which takes a duplicate, is made.
    pub fn listen_fd(&mut self, fd: RawFd) -> Result<(), Failure> {
        self.add(Listen::descriptor(fd))
    }

    /// Gives one listener a value of its own for a setting: proxy_protocol or proxy_networks.
    pub fn listener_set(&mut self, listener: i32, key: &str, value: &str) -> Result<(), Failure> {
        let index = usize::try_from(listener).ok();
        let Some((_, own)) = index.and_then(|index| self.listen.get_mut(index)) else {
            let line = format!("there is no listener {listener} yet");
            return Err(Failure::new(Error::Argument, line));
        };
        Ok(own.set(key, value)?)
    }

    fn add(&mut self, place: Result<Listen, String>) -> Result<(), Failure> {
        let place = place.map_err(|line| Failure::new(Error::Setting, line))?;
        self.listen.push((place, ListenerSettings::default()));
        Ok(())
    }
}
