//! The connections a worker holds, ordered by when each had data last: since every hold is equally
//! long, the first one is always the first to be given back, and new data moves one to the end.
//! Private to one worker; costs nothing for connections it does not hold.

use crate::pure::error::Result;
use crate::roles::memory::filled;

#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub slot: u32,
    pub generation: u32,
    pub data_ms: u64,
    prev: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

pub struct HoldList {
    entries: Vec<Held>,
    free: Vec<u32>,
    /// Entry + 1 by slot, 0: not held.
    by_slot: Vec<u32>,
    first: u32,
    last: u32,
}

impl HoldList {
    pub fn new(slots: u32) -> Result<HoldList> {
        Ok(HoldList {
            entries: vec![],
            free: vec![],
            by_slot: filled(slots as usize, 0)?,
            first: NONE,
            last: NONE,
        })
    }

    pub fn len(&self) -> u32 {
        (self.entries.len() - self.free.len()) as u32
    }

    fn entry_of(&self, slot: u32) -> Option<u32> {
        self.by_slot.get(slot as usize)?.checked_sub(1)
    }

    pub fn get(&self, slot: u32) -> Option<Held> {
        self.entries.get(self.entry_of(slot)? as usize).copied()
    }

    /// Holds the connection (or moves it to the end: it had data now).
    pub fn touch(&mut self, slot: u32, generation: u32, now_ms: u64) {
        self.remove(slot);
        let held = Held {
            slot,
            generation,
            data_ms: now_ms,
            prev: self.last,
            next: NONE,
        };
        let entry = match self.free.pop() {
            Some(entry) => {
                if let Some(place) = self.entries.get_mut(entry as usize) {
                    *place = held;
                }
                entry
            }
            None => {
                self.entries.push(held);
                (self.entries.len() - 1) as u32
            }
        };
        match self.entries.get_mut(self.last as usize) {
            Some(last) if self.last != NONE => last.next = entry,
            _ => self.first = entry,
        }
        self.last = entry;
        if let Some(place) = self.by_slot.get_mut(slot as usize) {
            *place = entry + 1;
        }
    }

    pub fn remove(&mut self, slot: u32) {
        let Some(entry) = self.entry_of(slot) else {
            return;
        };
        let Some(held) = self.entries.get(entry as usize).copied() else {
            return;
        };
        match self.entries.get_mut(held.prev as usize) {
            Some(prev) if held.prev != NONE => prev.next = held.next,
            _ => self.first = held.next,
        }
        match self.entries.get_mut(held.next as usize) {
            Some(next) if held.next != NONE => next.prev = held.prev,
            _ => self.last = held.prev,
        }
        if let Some(place) = self.by_slot.get_mut(slot as usize) {
            *place = 0;
        }
        self.free.push(entry);
    }

    /// The one that had data longest ago.
    pub fn first(&self) -> Option<Held> {
        if self.first == NONE {
            None
        } else {
            self.entries.get(self.first as usize).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_always_the_one_silent_longest() {
        let mut list = HoldList::new(10).unwrap();
        for (slot, at) in [(3, 10), (4, 11), (5, 12)] {
            list.touch(slot, 1, at);
        }
        list.touch(3, 1, 13);
        assert_eq!(list.len(), 3);
        let mut order = vec![];
        while let Some(held) = list.first() {
            order.push(held.slot);
            list.remove(held.slot);
        }
        assert_eq!(order, [4, 5, 3]);
        assert_eq!(list.len(), 0);
        list.remove(4);
        list.touch(9, 2, 20);
        assert_eq!(
            list.get(9).map(|h| (h.generation, h.data_ms)),
            Some((2, 20))
        );
    }
}
