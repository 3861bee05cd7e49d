//! What travels in a lend ring, and the notices (failed messages, room to write) that wait in
//! blocks until a worker has told the host.

/// `Head::kind` of a notice's first block.
pub const KIND_FAILED: u32 = 1;
pub const KIND_WRITABLE: u32 = 2;
/// The worker that was told first died inside the callback.
pub const KIND_REPEATED: u32 = 0x100;

/// `Head::kind` on the dial list: no message, the word to end the connection to this address,
/// because all queues together are full.
pub const KIND_END: u32 = 0x10;
/// Likewise: the word that this address is to be the connection's alias.
pub const KIND_ALIAS: u32 = 0x20;

/// `Head::kind` of a message that the supervisor has taken from an inbox or the dial list. Set before
/// it is taken off: should the supervisor die, its successor knows by this that the message, if it is
/// in no list, is not one that its sender is about to push.
pub const KIND_TAKEN: u32 = 0x200;
/// Taken from the dial list, and not yet counted in `dial_taken`.
pub const KIND_DIALLED: u32 = 0x400;
/// Written whole, or failed with nobody to tell: accounted for, only its blocks are left.
pub const KIND_DONE: u32 = 0x800;

/// An entry of a lend ring; the second word of the entry is the stamp it was given under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A connection with unread data. `read_closed`: the poll saw RDHUP, HUP or PRI, so a short
    /// read does not mean that nothing is left.
    Lend { slot: u32, read_closed: bool },
    /// A connection that ended and whose `on_close` is to be called.
    Close { slot: u32 },
    /// A notice's first block.
    Notice { block: u32 },
    /// Close duplicates of connections that ended.
    Sweep,
    /// Nothing: that it is taken shows that the worker runs.
    Probe,
}

impl Entry {
    pub fn pack(self) -> u64 {
        let (kind, index) = match self {
            Entry::Lend {
                slot,
                read_closed: false,
            } => (1u64, slot),
            Entry::Lend {
                slot,
                read_closed: true,
            } => (2, slot),
            Entry::Close { slot } => (3, slot),
            Entry::Notice { block } => (4, block),
            Entry::Sweep => (5, 0),
            Entry::Probe => (6, 0),
        };
        kind << 32 | u64::from(index)
    }

    /// `None`: scribbled.
    pub fn unpack(word: u64) -> Option<Entry> {
        let index = word as u32;
        Some(match word >> 32 {
            1 => Entry::Lend {
                slot: index,
                read_closed: false,
            },
            2 => Entry::Lend {
                slot: index,
                read_closed: true,
            },
            3 => Entry::Close { slot: index },
            4 => Entry::Notice { block: index },
            5 => Entry::Sweep,
            6 => Entry::Probe,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_ring() {
        let entries = [
            Entry::Lend {
                slot: 0,
                read_closed: false,
            },
            Entry::Lend {
                slot: 77,
                read_closed: true,
            },
            Entry::Close { slot: 5 },
            Entry::Notice { block: 0xFF_FFFF },
            Entry::Sweep,
            Entry::Probe,
        ];
        for entry in entries {
            assert_eq!(Entry::unpack(entry.pack()), Some(entry));
        }
        assert_eq!(Entry::unpack(0), None);
        assert_eq!(Entry::unpack(9 << 32), None);
    }
}
