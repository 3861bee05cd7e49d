//! One connection as callbacks, listings and pictures show it: each value true for some instant.

use crate::pure::addr::Addr;
use crate::pure::keepalive::Interval;
use crate::pure::words::OwnerState;

/// A snapshot of one connection.
#[deny(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// Its id.
    pub conn_id: u32,
    /// The peer; behind a balancer the one that its PROXY header names.
    pub remote: Addr,
    /// Our end of it.
    pub local: Addr,
    /// We dialled it.
    pub outbound: bool,
    /// It is being dialled.
    pub connecting: bool,
    /// Output is queued.
    pub async_mode: bool,
    /// It is about to end.
    pub closing: bool,
    /// The peer has sent FIN.
    pub half_closed: bool,
    /// Not read: the host paused it.
    pub paused: bool,
    /// Not read: its own output is above high-water.
    pub slowed: bool,
    /// The host takes it for one that may be dead.
    pub suspect: bool,
    /// Who may read it.
    pub owner: OwnerState,
    /// Worker index, -1: with the supervisor.
    pub worker: i32,
    /// Listener index, -1: dialled.
    pub listener: i32,
    /// Since it was accepted or dialled.
    pub age_ms: u64,
    /// Since its last activity.
    pub idle_ms: u64,
    /// How long it may be idle.
    pub lifetime_ms: u64,
    /// Our queue only, not the kernel's buffer.
    pub queued_bytes: u64,
    /// Received and not delivered.
    pub partial_bytes: u64,
    /// Received.
    pub bytes_in: u64,
    /// Sent.
    pub bytes_out: u64,
    /// Received.
    pub messages_in: u64,
    /// Sent.
    pub messages_out: u64,
    /// What `conn_set_user` stored.
    pub conn_user: u64,
    /// Requests delivered (not ACK) minus final answers sent.
    pub pending_answers: i32,
    /// The number of a `Reason`, when closing.
    pub close_reason: u32,
    /// Beside `close_reason`, 0 when there is none.
    pub close_errno: i32,
    /// The time between our pings.
    pub keepalive: Interval,
    /// Within which the peer has promised to send something, 0: it has not.
    pub flow_timer_ms: u64,
    /// How long a pong has been awaited, 0: none is.
    pub pong_wait_ms: u64,
    /// The peer of the socket itself.
    pub wire_remote: Addr,
    /// Our end of the socket itself.
    pub wire_local: Addr,
    /// 0: it has no alias.
    pub alias_port: u32,
}

#[deny(missing_docs)]
impl ConnInfo {
    /// One word for people: what of its state matters most.
    pub fn state(&self) -> &'static str {
        if self.closing {
            "closing"
        } else if self.connecting {
            "dialling"
        } else if self.paused {
            "paused"
        } else if self.slowed {
            "slowed"
        } else if self.half_closed {
            "half-closed"
        } else if self.async_mode {
            "queueing"
        } else {
            self.owner_text()
        }
    }

    /// Who may read it.
    pub fn owner_text(&self) -> &'static str {
        match self.owner {
            OwnerState::Free => "free",
            OwnerState::Idle => "idle",
            OwnerState::Lent => "lent",
            OwnerState::Held => "held",
            OwnerState::Reading => "reading",
            OwnerState::Retiring | OwnerState::Told => "ending",
            OwnerState::Closing | OwnerState::ClosingRun => "closing",
        }
    }

    /// In both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes_in.saturating_add(self.bytes_out)
    }
}
