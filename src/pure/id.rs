//! Connection ids. The public id is `0x40000000 | 30 bits`: slot index in the low bits, as many
//! generation bits as fit above it. It is positive in the signed int fields in which Kamailio and
//! OpenSIPS carry it, and never meets Kamailio's own ids, which count up from 1.

/// Bits of a slot's generation kept inside; the public id carries the low ones of them.
pub const GENERATION_BITS: u32 = 26;
pub const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const PUBLIC: u32 = 0x4000_0000;
const PAYLOAD_BITS: u32 = 30;

/// How slot index and generation share the 30 bits of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLayout {
    index_bits: u32,
}

impl IdLayout {
    /// `slots`: number of slots of the instance, at most 2^20.
    pub fn new(slots: u32) -> IdLayout {
        let index_bits = (32 - slots.saturating_sub(1).leading_zeros()).clamp(1, 20);
        IdLayout { index_bits }
    }

    pub fn public(self, slot: u32, generation: u32) -> u32 {
        let index_mask = (1u32 << self.index_bits) - 1;
        let generation_mask = (1u32 << (PAYLOAD_BITS - self.index_bits)) - 1;
        PUBLIC | ((generation & generation_mask) << self.index_bits) | (slot & index_mask)
    }

    /// The slot index a public id names, if it is one of ours.
    pub fn slot(self, id: u32) -> Option<u32> {
        (id & 0xC000_0000 == PUBLIC).then_some(id & ((1 << self.index_bits) - 1))
    }

    /// Whether `id` names this generation of its slot (as far as the id carries it).
    pub fn names(self, id: u32, slot: u32, generation: u32) -> bool {
        id == self.public(slot, generation)
    }
}

/// The generation after this one; 0 is never used, so that a zeroed word names no connection.
pub fn next_generation(generation: u32) -> u32 {
    match (generation + 1) & GENERATION_MASK {
        0 => 1,
        next => next,
    }
}

/// The generation before this one.
pub fn previous_generation(generation: u32) -> u32 {
    match generation {
        0 | 1 => GENERATION_MASK,
        later => later - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_its_slot_and_only_its_generation() {
        for slots in [1, 2, 1000, 16384, 1 << 20] {
            let layout = IdLayout::new(slots);
            for slot in [0, slots / 2, slots - 1] {
                let id = layout.public(slot, 7);
                assert!((id as i32) > 0 && id >= PUBLIC);
                assert_eq!(layout.slot(id), Some(slot));
                assert!(layout.names(id, slot, 7));
                assert!(!layout.names(id, slot, 8));
            }
        }
    }

    #[test]
    fn ids_of_others_name_nothing() {
        let layout = IdLayout::new(16384);
        assert_eq!(layout.slot(0), None);
        assert_eq!(layout.slot(77), None);
        assert_eq!(layout.slot(0xC000_0001), None);
    }

    #[test]
    fn generations_wrap_past_zero() {
        assert_eq!(next_generation(GENERATION_MASK), 1);
        assert_eq!(next_generation(1), 2);
        for generation in [1, 2, GENERATION_MASK] {
            assert_eq!(next_generation(previous_generation(generation)), generation);
        }
    }
}
