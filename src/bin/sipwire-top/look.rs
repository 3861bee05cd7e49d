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
    inode: u64,
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
            inode: place.inode,
            started: find::started(place.pid),
            title: title(place),
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

    /// The last process has ended. What is mapped stays, and stands still. While there is another one of this
    /// instance (a worker was looked at, and died) that is followed.
    pub fn has_ended(&mut self) -> bool {
        let started = find::started(self.pid);
        if started.is_some() && started == self.started {
            return false;
        }
        let mut places = find::all(|_| true).into_iter();
        let Some(place) = places.find(|place| place.inode == self.inode) else {
            return true;
        };
        self.pid = place.pid;
        self.started = find::started(place.pid);
        self.title = title(&place);
        false
    }
}

fn title(place: &Place) -> String {
    format!("{}, pid {}", place.name, place.pid)
}

/// Whatever is in the memory, we go on.
fn take(segment: &Segment, parts: Parts) -> Result<Picture, String> {
    let look = || picture::take(segment, None, parts);
    catch_unwind(AssertUnwindSafe(look)).map_err(|_| "its memory is damaged".to_string())
}
