//! Settings: text and numbers in, typed values out, with errors that a person can act on.
//!
//! `Settings` has one field for each key (durations `_ms` or `_s`, sizes `_bytes`); `table` says
//! everything about each key. Invariant: `set`, `set_number`, `set_live` and `apply_live_words`
//! store only values in range, and a call that fails changes nothing. Settings that depend on each
//! other are compared once, by `check`, when the instance is made: a host may set them in any order.
//!
//! Live settings are published as words of the segment (`live_words`), and as texts where a word is too
//! small (`live_texts`); whoever looks them up (`apply_live_words`, `apply_live_text`) trusts none of them.

mod listener;
mod table;
mod text;
mod value;
mod water;

use super::addr::{Addr, Quoted};
use super::networks::Networks;
use std::fmt;
use table::{ALIASES, TABLE};
use text::SECOND;
use value::{Field, Value};

pub use listener::ListenerSettings;
pub use table::{Descriptor, LARGEST_MESSAGE_BYTES, LIVE_TEXTS, LIVE_WORDS, Settings, Unit};
pub use value::{Handoff, LogLevel, ProxyOut, ProxyProtocol, QueueFull};
pub use water::Water;

/// Bytes of the text of a list of networks, as it is shown: some 900 networks.
pub const LONGEST_LIST: usize = 16 << 10;

/// Why a setting was refused. `Display` gives one line for the host's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// No such key.
    UnknownKey {
        /// As it was given.
        key: String,
        /// The most similar key that there is.
        nearest: &'static str,
    },
    /// Not a value of this key.
    BadValue {
        /// The key.
        key: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong, and the nearest value that is not.
        hint: String,
    },
    /// It belongs to the instance as a whole.
    NotOfListener {
        /// The key.
        key: &'static str,
    },
    /// It can be set only before the instance is made.
    NotLive {
        /// The key.
        key: &'static str,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingError::UnknownKey { key, nearest } => {
                write!(
                    f,
                    "unknown setting {}: did you mean \"{nearest}\"?",
                    Quoted(key)
                )
            }
            SettingError::BadValue { key, value, hint } => {
                write!(f, "{key} = {}: {hint}", Quoted(value))
            }
            SettingError::NotLive { key } => {
                write!(
                    f,
                    "{key} cannot be changed while running; set it before the start"
                )
            }
            SettingError::NotOfListener { key } => {
                let own: Vec<_> = Settings::keys()
                    .filter(|row| row.of_listener)
                    .map(|row| row.key)
                    .collect();
                write!(
                    f,
                    "{key} is no setting of a single listener; those are {}",
                    own.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for SettingError {}

impl Settings {
    /// Sets `key` from text, as a config file has it.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        let row = find(key)?;
        let parsed = row.parse(value.trim())?;
        (row.put)(self, parsed);
        Ok(())
    }

    /// Sets `key` from a number: milliseconds, bytes, a count, 0 or 1 for no or yes, the number of a
    /// word.
    pub fn set_number(&mut self, key: &str, value: i64) -> Result<(), SettingError> {
        let row = find(key)?;
        let number = row.check_number(value)?;
        (row.put)(self, Value::Number(number));
        Ok(())
    }

    /// `set` for an instance that runs: refuses what cannot change any more.
    pub fn set_live(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match find(key)? {
            row if row.live => self.set(key, value),
            row => Err(SettingError::NotLive { key: row.key }),
        }
    }

    /// The value as text that `set` takes back.
    pub fn get(&self, key: &str) -> Result<String, SettingError> {
        find(key).map(|row| row.format((row.value)(self)))
    }

    /// Every setting, in the order of the documentation.
    pub fn keys() -> impl Iterator<Item = &'static Descriptor> {
        TABLE.iter()
    }

    /// Can this setting be changed while the instance runs?
    pub fn is_live(key: &str) -> Result<bool, SettingError> {
        find(key).map(|row| row.live)
    }

    /// Settings that contradict each other; asked once, before the segment is laid out.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.participants <= self.workers {
            return Err(SettingError::BadValue {
                key: "participants",
                value: self.participants.to_string(),
                hint: format!(
                    "too few for {} workers and the supervisor; the smallest is {}",
                    self.workers,
                    self.workers.saturating_add(1)
                ),
            });
        }
        // A message of the largest size could never be completed, or never be queued.
        for (key, bytes) in [
            ("partial_max", self.partial_max_bytes),
            ("wq_max", self.wq_max_bytes),
        ] {
            if bytes < self.max_message_size_bytes {
                let smallest = self.get("max_message_size")?;
                let hint = format!("below max_message_size; the smallest is {smallest}");
                return Err(SettingError::BadValue {
                    key,
                    value: self.get(key)?,
                    hint,
                });
            }
        }
        self.check_water()
    }

    /// The live settings, one word each, in table order. Of an optional one 0 is unset, see `word_offset`.
    pub fn live_words(&self) -> [u64; LIVE_WORDS] {
        let mut words = [0; LIVE_WORDS];
        for (word, row) in words.iter_mut().zip(live_rows(false)) {
            if let Value::Number(number) = (row.value)(self) {
                *word = number.saturating_add(row.word_offset()).unsigned_abs();
            }
        }
        words
    }

    /// Takes the live settings from words of the segment. Total: what a stray write left there
    /// becomes the nearest value in range.
    pub fn apply_live_words(&mut self, words: [u64; LIVE_WORDS]) {
        for (word, row) in words.into_iter().zip(live_rows(false)) {
            let value = if row.unset.is_some() && word == 0 {
                Value::Unset
            } else {
                let number = i64::try_from(word).unwrap_or(i64::MAX);
                Value::Number((number - row.word_offset()).clamp(row.min, row.max))
            };
            (row.put)(self, value);
        }
    }

    /// The live settings that fit no word, in table order.
    pub fn live_texts(&self) -> [String; LIVE_TEXTS] {
        let mut texts = live_rows(true).map(|row| row.format((row.value)(self)));
        core::array::from_fn(|_| texts.next().unwrap_or_default())
    }

    /// Takes one of them. What a stray write left there, which is no value of the key, changes nothing.
    pub fn apply_live_text(&mut self, which: usize, text: &str) {
        if let Some(row) = live_rows(true).nth(which)
            && let Ok(value) = row.parse(text)
        {
            (row.put)(self, value);
        }
    }
}

fn live_rows(texts: bool) -> impl Iterator<Item = &'static Descriptor> {
    TABLE
        .iter()
        .filter(move |row| row.live && row.is_text() == texts)
}

/// The row of a key, however it is spelt: with `-` for `_`, with `tcp_`, by the ancestor's name.
fn find(key: &str) -> Result<&'static Descriptor, SettingError> {
    let spelt = key.trim().replace('-', "_");
    let name = spelt.strip_prefix("tcp_").unwrap_or(&spelt);
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |&(_, key)| key);
    if let Some(row) = TABLE.iter().find(|row| row.key == name) {
        return Ok(row);
    }
    let known = TABLE
        .iter()
        .map(|row| row.key)
        .chain(ALIASES.iter().map(|&(alias, _)| alias));
    Err(SettingError::UnknownKey {
        key: key.to_string(),
        nearest: text::nearest(&name.to_ascii_lowercase(), known).unwrap_or_default(),
    })
}

impl Descriptor {
    /// Added to the number in its word: 0 is for unset, and a word has no sign.
    fn word_offset(&self) -> i64 {
        i64::from(self.unset.is_some()) - self.min.min(0)
    }

    fn parse(&self, text: &str) -> Result<Value, SettingError> {
        if let Some(unset) = self.unset
            && (text.is_empty()
                || [unset, "unset"]
                    .iter()
                    .any(|word| text.eq_ignore_ascii_case(word)))
        {
            return Ok(Value::Unset);
        }
        if let Some(&(_, number)) = self
            .words
            .iter()
            .find(|(word, _)| text.eq_ignore_ascii_case(word))
        {
            return Ok(Value::Number(number));
        }
        let number = match self.unit {
            Unit::Ipv4 | Unit::Ipv6 => return self.parse_address(text).map(Value::Address),
            Unit::Networks => {
                let networks = Networks::parse(text).map_err(|hint| self.bad(text, hint))?;
                // Published whole, see `live_texts`.
                return match networks.to_string().len() {
                    0..=LONGEST_LIST => Ok(networks.value()),
                    _ => Err(self.bad(
                        text,
                        format!("longer than {LONGEST_LIST} bytes; use fewer, wider networks"),
                    )),
                };
            }
            Unit::Count => text::parse_count(text),
            Unit::Duration => text::parse_duration_ms(text),
            Unit::Seconds => match text::parse_duration_ms(text) {
                Some(ms) => Some(self.whole_seconds(ms, text)?),
                None => None,
            },
            Unit::Size => text::parse_size(text),
            Unit::Word => None,
        };
        let number = number.ok_or_else(|| self.bad(text, self.not_of_this_unit(text)))?;
        self.check_range(number, text).map(Value::Number)
    }

    /// A number from `set_number`: in the unit of the field, and in range.
    fn check_number(&self, number: i64) -> Result<i64, SettingError> {
        // As the person who reads the error would have written it.
        let shown = match self.unit {
            Unit::Seconds => text::format_duration_ms(number),
            Unit::Word => number.to_string(),
            _ => self.format_number(number),
        };
        let checked = match self.unit {
            Unit::Ipv4 | Unit::Ipv6 | Unit::Networks => {
                Err(self.bad(&shown, self.not_of_this_unit(&shown)))
            }
            Unit::Seconds => self.whole_seconds(number, &shown),
            Unit::Word if !(self.min..=self.max).contains(&number) => {
                Err(self.bad(&shown, self.not_a_number_of_a_word()))
            }
            _ => Ok(number),
        };
        checked.and_then(|number| self.check_range(number, &shown))
    }

    fn check_range(&self, number: i64, text: &str) -> Result<i64, SettingError> {
        if number < self.min {
            let smallest = self.format_number(self.min);
            return Err(self.bad(text, format!("below the smallest, {smallest}")));
        }
        if number > self.max {
            let largest = self.format_number(self.max);
            return Err(self.bad(text, format!("above the largest, {largest}")));
        }
        Ok(number)
    }

    fn whole_seconds(&self, ms: i64, text: &str) -> Result<i64, SettingError> {
        if ms % SECOND == 0 {
            return Ok(ms / SECOND);
        }
        let nearest = (ms / SECOND).clamp(self.min.max(1), self.max);
        let nearest = self.format_number(nearest);
        Err(self.bad(text, format!("not whole seconds; use e.g. \"{nearest}\"")))
    }

    fn parse_address(&self, text: &str) -> Result<Addr, SettingError> {
        let wanted = if self.unit == Unit::Ipv4 { 4 } else { 6 };
        match Addr::parse_ip(text) {
            Some(addr) if addr.family != wanted => Err(self.bad(text, self.not_of_this_unit(text))),
            Some(addr) if addr.is_unspecified() => Err(self.bad(
                text,
                "not the address of a host; use \"unset\" to let the kernel choose".to_string(),
            )),
            Some(addr) => Ok(addr),
            None => Err(self.bad(text, self.not_of_this_unit(text))),
        }
    }

    fn not_of_this_unit(&self, text: &str) -> String {
        match self.unit {
            Unit::Count => {
                let range = self.range_text();
                format!("not a whole number; use {range}")
            }
            Unit::Duration => "not a duration; use e.g. \"5s\" or \"250ms\"".to_string(),
            Unit::Seconds => "not a duration; use e.g. \"5s\" or \"2m\"".to_string(),
            Unit::Size => "not a size; use e.g. \"64k\" or \"10m\"".to_string(),
            Unit::Word => {
                let choices = self.choices();
                let listed = choices.join(", ");
                let nearest = text::nearest(&text.to_ascii_lowercase(), choices);
                let nearest = nearest.unwrap_or_default();
                format!("not one of {listed}; did you mean \"{nearest}\"?")
            }
            Unit::Ipv4 => "not an IPv4 address; use e.g. \"192.0.2.1\"".to_string(),
            Unit::Ipv6 => "not an IPv6 address; use e.g. \"2001:db8::1\"".to_string(),
            Unit::Networks => {
                "not a list of networks; use e.g. \"192.0.2.0/24, 2001:db8::/32\"".to_string()
            }
        }
    }

    fn not_a_number_of_a_word(&self) -> String {
        let numbers = (self.min..=self.max)
            .map(|number| format!("{number} for {}", self.format_number(number)))
            .collect::<Vec<_>>();
        format!("no value has this number; use {}", numbers.join(", "))
    }

    fn bad(&self, value: &str, hint: String) -> SettingError {
        SettingError::BadValue {
            key: self.key,
            value: value.to_string(),
            hint,
        }
    }
}

#[cfg(test)]
mod tests;
