//! One connection as callbacks, listings and pictures show it: each value true for some instant.

use crate::pure::addr::Addr;
use crate::pure::keepalive::Interval;
use crate::pure::words::OwnerState;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    pub conn_id: u32,
    pub remote: Addr,
    pub local: Addr,
    pub outbound: bool,
    pub connecting: bool,
    pub async_mode: bool,
    pub closing: bool,
    pub half_closed: bool,
    /// Not read: the host paused it.
    pub paused: bool,
    /// Not read: its own output is above high-water.
    pub slowed: bool,
    pub suspect: bool,
    pub owner: OwnerState,
    /// Worker index, -1: with the supervisor.
    pub worker: i32,
    pub listener: i32,
    pub age_ms: u64,
    pub idle_ms: u64,
    pub lifetime_ms: u64,
    pub queued_bytes: u64,
    pub partial_bytes: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub messages_in: u64,
    pub messages_out: u64,
    pub conn_user: u64,
    pub pending_answers: i32,
    pub close_reason: u32,
    pub close_errno: i32,
    pub keepalive: Interval,
    pub flow_timer_ms: u64,
    /// How long a pong has been awaited, 0: none is.
    pub pong_wait_ms: u64,
    /// Of the socket itself.
    pub wire_remote: Addr,
    pub wire_local: Addr,
    /// 0: it has no alias.
    pub alias_port: u32,
}

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

    pub fn bytes(&self) -> u64 {
        self.bytes_in.saturating_add(self.bytes_out)
    }
}
