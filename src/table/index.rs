//! P5, the address index: chained hash from address to slot, in the segment. The supervisor is its
//! only writer; readers take no lock. A connection is in it under its remote address, and once more
//! under its alias (RFC 5923), if it has one: the same address with another port.
//!
//! Invariants: IDX-1 insert and remove are one store each; nothing moves; IDX-2 the end of a chain
//! is a marker that carries its bucket's number: a reader whose slot was removed and put in another
//! chain meanwhile ends on another bucket's marker and starts again, boundedly; IDX-3 of two open
//! connections at most one answers to an address by its alias.

use crate::pure::addr::Addr;
use crate::pure::choice::{Candidate, Choice, Chosen, Wish};
use crate::pure::words::{GateWord, OwnerState};
use crate::sync::{AtomicU32, Word};
use crate::table::inbox;
use crate::table::phase;
use crate::table::rare::mark;
use crate::table::segment::Segment;
use crate::table::slot::Slot;

const END: u32 = 0x8000_0000;
/// The link stands for the slot's alias and goes on in its rare record.
const ALIAS: u32 = 0x4000_0000;

pub fn init(segment: &Segment) {
    for (i, bucket) in segment.buckets().iter().enumerate() {
        bucket.store_sync(END | i as u32);
    }
}

pub fn bucket_of(segment: &Segment, remote: &Addr) -> u32 {
    remote.hash32_keyed(segment.index_key()) & (segment.buckets().len() as u32).wrapping_sub(1)
}

/// Where a link's own bucket number + 1 (0: it is in none) and next link are.
fn place(segment: &Segment, link: u32) -> Option<(&AtomicU32, &AtomicU32)> {
    let index = link & !ALIAS;
    if link & ALIAS != 0 {
        let rare = segment.rare(index)?;
        Some((&rare.alias_bucket, &rare.alias_next))
    } else {
        let identity = &segment.slot(index)?.identity;
        Some((&identity.index_bucket, &identity.index_next))
    }
}

fn put(segment: &Segment, link: u32, under: &Addr) {
    let number = bucket_of(segment, under);
    if let (Some(head), Some((bucket, next))) =
        (segment.buckets().get(number as usize), place(segment, link))
    {
        bucket.set(number + 1);
        next.store_sync(head.load_sync());
        head.store_sync(link);
    }
}

fn take(segment: &Segment, link: u32) {
    let Some((bucket, after)) = place(segment, link) else {
        return;
    };
    let Some(number) = bucket.get().checked_sub(1) else {
        return;
    };
    bucket.set(0);
    let Some(mut at) = segment.buckets().get(number as usize) else {
        return;
    };
    for _ in 0..=longest(segment) {
        let next = at.load_sync();
        if next == link {
            at.store_sync(after.load_sync());
            return;
        }
        match place(segment, next) {
            Some((_, next)) => at = next,
            _ => return,
        }
    }
}

/// Links that one chain can have.
fn longest(segment: &Segment) -> usize {
    2 * segment.slots().len()
}

/// Supervisor. The slot's addresses are set.
pub fn insert(segment: &Segment, index: u32) {
    if let Some(slot) = segment.slot(index) {
        put(segment, index, &slot.remote());
    }
}

/// Supervisor. No-op when it is not in the index.
pub fn remove(segment: &Segment, index: u32) {
    take(segment, index);
    take_alias(segment, index);
}

/// Supervisor: the connection is also found under its remote address with this port, unless another one
/// is. What stood against it.
pub fn insert_alias(segment: &Segment, index: u32, port: u16) -> Claim {
    let (Some(slot), Some(rare)) = (segment.slot(index), segment.rare(index)) else {
        return Claim::Taken;
    };
    let under = slot.remote().with_port(port);
    let claim = claim(segment, index, &under);
    if let Claim::Free { given_up } = claim {
        if let Some(other) = given_up {
            take_alias(segment, other);
        }
        take_alias(segment, index);
        rare.alias_port.store_sync(u32::from(port));
        put(segment, ALIAS | index, &under);
    }
    claim
}

fn take_alias(segment: &Segment, index: u32) {
    if let Some(rare) = segment.rare(index)
        && rare.alias_bucket.get() != 0
    {
        take(segment, ALIAS | index);
        rare.alias_port.store_sync(0);
    }
}

/// A new supervisor has emptied the index: the slot is in no chain.
pub fn forget(segment: &Segment, index: u32) {
    if let (Some(slot), Some(rare)) = (segment.slot(index), segment.rare(index)) {
        slot.identity.index_bucket.set(0);
        rare.alias_bucket.set(0);
        rare.alias_port.store_sync(0);
    }
}

/// What a sender needs to know of the connection it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub slot: u32,
    pub generation: u32,
}

/// Of the open connections to `remote` (from `local`, unless that is none; its port 0 matches any)
/// the one that a message takes, and whether a further one is to be dialled. None is chosen that the
/// host suspects. A miss may be wrong while the supervisor changes the chain: the dial list, where a
/// miss leads, looks again.
pub fn choose(segment: &Segment, remote: &Addr, local: &Addr, wish: Wish) -> Chosen<Found> {
    for _ in 0..8 {
        let mut choice = Choice::new(wish);
        let whole = walk(segment, remote, |found, slot, gate, alias| {
            if !is_suspect(segment, found) && local_matches(&slot.local(), local) {
                choice.offer(candidate(segment, slot, gate, alias), found);
            }
        });
        if whole {
            return choice.made();
        }
    }
    Choice::new(wish).made()
}

/// The newest of them.
pub fn find(segment: &Segment, remote: &Addr, local: &Addr) -> Option<Found> {
    choose(segment, remote, local, Wish::NEWEST).open
}

/// The sum over all open connections to `remote` (from `local`, as in `choose`). One that is opened or ends meanwhile is in it or not.
pub fn sum(segment: &Segment, remote: &Addr, local: &Addr, of: impl Fn(&Slot) -> u64) -> u64 {
    let mut sum = 0;
    for _ in 0..8 {
        sum = 0;
        let whole = walk(segment, remote, |_, slot, _, _| {
            if local_matches(&slot.local(), local) {
                sum += of(slot);
            }
        });
        if whole {
            break;
        }
    }
    sum
}

/// What stands against a connection's alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It answers to this address already.
    Has,
    /// Nobody does, but for a connection (`given_up`, by its alias) that the host suspects.
    Free { given_up: Option<u32> },
    /// Another open connection answers to it: who may come from the same address must not take over
    /// what is sent there (RFC 5923 section 8.2).
    Taken,
}

pub fn claim(segment: &Segment, index: u32, under: &Addr) -> Claim {
    let mut claim = Claim::Free { given_up: None };
    for _ in 0..8 {
        claim = Claim::Free { given_up: None };
        let whole = walk(segment, under, |found, _, _, alias| {
            if found.slot == index {
                claim = Claim::Has;
            } else if claim == Claim::Has {
            } else if !is_suspect(segment, found) {
                claim = Claim::Taken;
            } else if alias && claim != Claim::Taken {
                claim = Claim::Free {
                    given_up: Some(found.slot),
                };
            }
        });
        if whole {
            break;
        }
    }
    claim
}

fn is_suspect(segment: &Segment, found: Found) -> bool {
    segment
        .rare(found.slot)
        .is_some_and(|rare| rare.has(found.generation, mark::SUSPECT))
}

/// Whether the connection in this slot answers to this address.
pub fn is_at(segment: &Segment, index: u32, slot: &Slot, remote: &Addr) -> bool {
    let own = slot.remote();
    own == *remote || aliased(segment, index, &own) == Some(*remote)
}

fn aliased(segment: &Segment, index: u32, own: &Addr) -> Option<Addr> {
    let port = segment.rare(index)?.alias_port.load_sync();
    (port != 0).then(|| own.with_port(port as u16))
}

fn candidate(segment: &Segment, slot: &Slot, gate: GateWord, alias: bool) -> Candidate {
    let busy = gate.is_async();
    Candidate {
        lane: slot.lane(),
        dialled: slot.is_outbound() && !alias,
        alias,
        connecting: gate.has(GateWord::CONNECTING),
        half_closed: slot.supervised.phase.load_sync() & phase::HALF_CLOSED != 0,
        busy,
        // Of what is not busy the queue is empty, or a batch that its worker is about to write.
        queued_bytes: match busy {
            true => inbox::waiting(segment.blocks(), &slot.output, gate).all(),
            false => 0,
        },
    }
}

/// Visits what is open under this address and can still send messages, newest first. False: the chain
/// changed under the walk, which is to begin anew.
fn walk(
    segment: &Segment,
    remote: &Addr,
    mut visit: impl FnMut(Found, &Slot, GateWord, bool),
) -> bool {
    let bucket = bucket_of(segment, remote);
    let Some(head) = segment.buckets().get(bucket as usize) else {
        return true;
    };
    let mut at = head.load_sync();
    for _ in 0..=longest(segment) {
        if at & END != 0 {
            return at == END | bucket;
        }
        let (index, alias) = (at & !ALIAS, at & ALIAS != 0);
        let (Some(slot), Some((_, next))) = (segment.slot(index), place(segment, at)) else {
            return true;
        };
        let gate = GateWord(slot.output.gate.load_sync());
        let owner = slot.owner();
        let alive = owner.state() != OwnerState::Free
            && owner.generation() == gate.generation()
            && !gate.has(GateWord::CLOSING);
        let own = slot.remote();
        let under = if alias {
            aliased(segment, index, &own)
        } else {
            Some(own)
        };
        // Somebody saw it fail, and the supervisor has not ended it yet: what is queued there is lost.
        let failed = || matches!(slot.wanted(), Some((_, _, true)));
        if alive && under == Some(*remote) && !failed() {
            let found = Found {
                slot: index,
                generation: gate.generation(),
            };
            visit(found, slot, gate, alias);
        }
        at = next.load_sync();
    }
    true
}

fn local_matches(have: &Addr, want: &Addr) -> bool {
    want.is_none()
        || ((want.is_unspecified() || have.same_host(want))
            && (want.port == 0 || want.port == have.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::reason::Reason;
    use crate::pure::settings::Settings;
    use crate::pure::words::{OwnerWord, Wanted};
    use crate::shm::gate;

    fn segment() -> Segment {
        let settings = Settings {
            max_connections: 1024,
            ..Settings::new(1)
        };
        Segment::new(&settings, &[], false).unwrap()
    }

    #[test]
    fn nobody_can_choose_addresses_of_one_chain() {
        let segment = segment();
        // What somebody finds who knows all but the key.
        let chosen = (0..u32::MAX)
            .map(|i| {
                let mut ip = [0; 16];
                ip[0] = 0x20;
                ip[12..].copy_from_slice(&i.to_be_bytes());
                Addr::v6(ip, 5060, 0)
            })
            .filter(|addr| addr.hash32() % 1024 == 7)
            .take(512);
        let mut links = [0u32; 1024];
        for addr in chosen {
            links[bucket_of(&segment, &addr) as usize] += 1;
        }
        let longest = links.iter().max().unwrap();
        assert!(*longest <= 16, "{longest} of 512 in one chain");
    }

    #[test]
    fn a_connection_that_somebody_saw_fail_is_not_chosen() {
        const GENERATION: u32 = 5;
        let segment = segment();
        let remote = Addr::v4([10, 0, 0, 1], 5060);
        let slot = segment.slot(3).unwrap();
        slot.set_addresses(&remote, &Addr::none());
        slot.output.wanted.store_sync(Wanted::nothing(GENERATION).0);
        gate::open(&slot.output.gate, GENERATION, 0);
        let owner = OwnerWord::new(GENERATION, 0, OwnerState::Idle, 0);
        slot.input.owner.store_sync(owner.0);
        insert(&segment, 3);
        let find = || find(&segment, &remote, &Addr::none());
        // Of a graceful end the queue is written.
        slot.want(GENERATION, Reason::Host, 0, false);
        assert_eq!(find().map(|found| found.slot), Some(3));
        slot.want(GENERATION, Reason::PeerReset, Wanted::TOLD_ELSEWHERE, true);
        assert_eq!(find(), None);
    }
}
