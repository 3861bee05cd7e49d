//! Back-pressure: what is queued on a connection, and whether it may be read. Anybody may ask.
//!
//! A connection is not read while the host has paused it, or while its own output is above high-water.
//! Its worker then keeps what it has read and not delivered (`Slot::has_kept_input`) and gives it back.

use crate::pure::settings::Settings;
use crate::pure::words::GateWord;
use crate::sync::Word;
use crate::table::inbox;
use crate::table::phase;
use crate::table::rare::mark;
use crate::table::segment::Segment;
use crate::table::slot::Slot;

/// Gate word and queued bytes, inbox and queue. A gate that moves on meanwhile is looked at again, but not for ever: no
/// message is refused for this number, and one that is old does no harm.
pub fn queued(segment: &Segment, slot: &Slot) -> (GateWord, u64) {
    let mut gate = GateWord(slot.output.gate.load_sync());
    let mut bytes = 0;
    for _ in 0..8 {
        bytes = inbox::waiting(segment.blocks(), &slot.output, gate).all();
        let after = GateWord(slot.output.gate.load_sync());
        if after.inbox() == gate.inbox() {
            break;
        }
        gate = after;
    }
    (gate, bytes)
}

/// The host has paused it.
pub fn is_paused(segment: &Segment, index: u32, generation: u32) -> bool {
    segment
        .rare(index)
        .is_some_and(|rare| rare.has(generation, mark::PAUSED))
}

/// All queues together are not yet full, but nearly; or would be with `more`.
pub fn total_is_high(segment: &Segment, settings: &Settings, more: u64) -> bool {
    segment.participants().queued_bytes() + more > settings.wq_max_bytes / 4 * 3
}

/// A sender that is told of room finds it, however large its message: all queues together are not nearly full.
pub fn total_has_room(segment: &Segment, settings: &Settings) -> bool {
    let largest = settings.max_message_size_bytes.min(settings.wq_max_bytes);
    let queued = segment.participants().queued_bytes();
    queued <= settings.wq_max_bytes - largest && !total_is_high(segment, settings, 0)
}

/// It is not read because of its own output: above high-water, or not yet down to low-water; or any,
/// while all queues together are nearly full, so that many such peers are slowed before one is closed.
pub fn is_slowed(segment: &Segment, slot: &Slot, settings: &Settings) -> bool {
    if !settings.pause_reading {
        return false;
    }
    let (_, queued) = queued(segment, slot);
    slot.supervised.phase.load_sync() & phase::ABOVE_HIGH != 0
        || queued > settings.water().high
        || (queued > 0 && total_is_high(segment, settings, 0))
}

/// Nothing more of it is read, and nothing more delivered.
pub fn is_stopped(
    segment: &Segment,
    (index, slot, generation): (u32, &Slot, u32),
    settings: &Settings,
) -> bool {
    is_paused(segment, index, generation) || is_slowed(segment, slot, settings)
}
