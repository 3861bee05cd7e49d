//! Where a message is to go, and what became of it: the words of `send`.

use crate::pure::addr::Addr;

/// Where a message is to go: a connection id and/or a remote address. With both, the connection is used
/// while it still has that address, else the address.
#[deny(missing_docs)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    /// 0: by address only.
    pub conn_id: u32,
    /// None: by id only.
    pub remote: Addr,
    /// None: any local address; port 0: any port of it.
    pub local: Addr,
    /// `Target::NO_CONNECT` and its like, added.
    pub flags: u32,
    /// With the setting connections_per_destination above 1: messages of one hash (of the Call-ID, say) go over
    /// one connection as long as it lives. 0: each over the one with the least queued.
    pub hash: u32,
}

#[deny(missing_docs)]
impl Target {
    /// Never dial: use an open connection or fail.
    pub const NO_CONNECT: u32 = 1;
    /// Close gracefully when this message is written.
    pub const CLOSE_AFTER: u32 = 2;
    /// Dial a new connection even when one is open; with an id, when that one has ended.
    pub const FRESH: u32 = 4;
    /// A flow (RFC 5626): on this connection or not at all.
    pub const FLOW: u32 = 8;
    /// An answer (RFC 3261 18.2.2): on the connection of the request, wherever it came from; the address is for
    /// when that has ended.
    pub const ANSWER: u32 = 16;

    /// The connection with this id.
    pub fn conn(conn_id: u32) -> Target {
        Target {
            conn_id,
            ..Target::default()
        }
    }

    /// A connection to this address; without one it is dialled.
    pub fn remote(remote: Addr) -> Target {
        Target {
            remote,
            ..Target::default()
        }
    }

    /// Flags that exist, and do not contradict each other or the rest.
    pub fn is_sound(&self) -> bool {
        let all = Self::NO_CONNECT | Self::CLOSE_AFTER | Self::FRESH | Self::FLOW | Self::ANSWER;
        let flow = self.flags & Self::FLOW;
        let by_id = flow | self.flags & Self::ANSWER;
        self.flags & !all == 0
            && (by_id == 0 || self.conn_id != 0)
            && (flow == 0 || self.flags & (Self::FRESH | Self::ANSWER) == 0)
    }
}

/// What became of a message that was accepted.
#[deny(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took all of it.
    Directly,
    /// It is written later, or reported once as failed.
    Queued,
}
