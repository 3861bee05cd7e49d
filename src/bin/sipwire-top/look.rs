//! Looking at an instance again and again.

use crate::find::{self, Place};
use sipwire::pure::picture::Picture;
use sipwire::pure::picture::rates::Rates;
use sipwire::runtime::picture::{self, Parts};
use sipwire::table::segment::Segment;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub struct Looker {
    segment: Segment,
    parts: Parts,
    pid: u32,
    started: Option<String>,
    pub title: String,
    pub now: Picture,
    pub rates: Option<Rates>,
}

impl Looker {
    pub fn new(place: &Place, parts: Parts) -> Result<Looker, String> {
        let segment = find::attach(place)?;
        let now = take(&segment, parts)?;
        Ok(Looker {
            segment,
            parts,
            pid: place.pid,
            started: find::started(place.pid),
            title: format!("{}, pid {}", place.name, place.pid),
            now,
            rates: None,
        })
    }

    pub fn look(&mut self) -> Result<(), String> {
        let now = take(&self.segment, self.parts)?;
        self.rates = Rates::between(&self.now, &now).or(self.rates.take());
        self.now = now;
        Ok(())
    }

    /// The process has ended. What is mapped stays, and stands still.
    pub fn has_ended(&self) -> bool {
        let started = find::started(self.pid);
        started.is_none() || started != self.started
    }
}

/// Whatever is in the memory, we go on.
fn take(segment: &Segment, parts: Parts) -> Result<Picture, String> {
    let look = || picture::take(segment, None, parts);
    catch_unwind(AssertUnwindSafe(look)).map_err(|_| "its memory is damaged".to_string())
}
