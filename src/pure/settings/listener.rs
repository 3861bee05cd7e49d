//! The settings that one listener has of its own.

use super::table::Descriptor;
use super::value::Value;
use super::{SettingError, Settings, find};

/// What a listener has instead of the instance's values.
#[derive(Clone, Debug, Default)]
pub struct ListenerSettings(Vec<(&'static Descriptor, Value)>);

impl ListenerSettings {
    /// As `Settings::set`, of those keys that a listener may have for itself.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        let row = find(key)?;
        if !row.of_listener {
            return Err(SettingError::NotOfListener { key: row.key });
        }
        let value = row.parse(value.trim())?;
        self.0.push((row, value));
        Ok(())
    }

    /// The instance's settings as this listener has them.
    pub fn over(&self, settings: &Settings) -> Settings {
        let mut own = settings.clone();
        for (row, value) in &self.0 {
            (row.put)(&mut own, value.clone());
        }
        own
    }
}
