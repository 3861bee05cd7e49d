//! `handoff=sticky`: what the choice of `pure::handoff` is made from, and its result.

use super::Supervisor;
use crate::pure::error::Result;
use crate::pure::handoff::{self, Candidate};
use crate::pure::settings::Handoff;
use crate::roles::memory::{filled, reserved};
use crate::table::slot::Slot;

/// Which worker had each connection last. The supervisor's own: a successor begins without.
pub struct Sticky {
    /// Seat + 1 by slot, 0: none yet.
    last: Vec<u16>,
    /// Room for one choice.
    candidates: Vec<Candidate>,
}

impl Sticky {
    pub fn new(slots: usize, seats: usize) -> Result<Sticky> {
        Ok(Sticky {
            last: filled(slots, 0)?,
            candidates: reserved(seats)?,
        })
    }

    /// `None`: the slot has a new connection.
    pub fn remember(&mut self, index: u32, seat: Option<usize>) {
        if let Some(last) = self.last.get_mut(index as usize) {
            *last = seat.map_or(0, |seat| seat as u16 + 1);
        }
    }

    fn last(&self, index: u32) -> Option<usize> {
        let last = *self.last.get(index as usize)?;
        usize::from(last).checked_sub(1)
    }
}

impl Supervisor {
    /// The seat that should have the connection, whoever's turn it is, and has an fd for it.
    pub(super) fn sticky_seat(&mut self, index: u32, slot: &Slot) -> Option<usize> {
        if self.live.handoff != Handoff::Sticky {
            return None;
        }
        let mut candidates = core::mem::take(&mut self.sticky.candidates);
        candidates.clear();
        candidates.extend((0..self.seats.len()).map(|seat| self.candidate(seat, slot)));
        let chosen = handoff::sticky(&candidates, self.sticky.last(index));
        self.sticky.candidates = candidates;
        chosen.filter(|seat| self.give_fd(*seat, index, slot))
    }

    fn candidate(&self, seat: usize, slot: &Slot) -> Candidate {
        let ring = self.context.segment.ring(seat);
        let (Some(place), Some(ring)) = (self.seats.get(seat), ring) else {
            return Candidate::default();
        };
        Candidate {
            usable: place.holder != 0 && !place.stalled && ring.has_room(),
            keeps: super::peers::keeps(slot, place.holder),
            backlog: ring.len(),
        }
    }
}
