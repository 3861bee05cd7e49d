//! `Supervised::phase`, bit by bit: what the supervisor has done with a connection. Others only read it.

/// The peer's FIN was read.
pub const HALF_CLOSED: u32 = 1;
/// The end has begun: a worker that has it in Reading gives it back.
pub const ENDING: u32 = 2;
/// Ending, but queued output goes first.
pub const GRACEFUL: u32 = 4;
/// Our FIN is out; input is discarded until the peer's.
pub const LINGERING: u32 = 8;
pub const FD_CLOSED: u32 = 16;
/// In the list of ends to be told, or was.
pub const CLOSE_LISTED: u32 = 32;
/// A pong goes out when the queue is empty.
pub const PONG_OWED: u32 = 64;
/// In the list of hand-offs that could not go yet.
pub const WAITING: u32 = 128;
/// `on_writable` when the queue is at low-water: it was above high-water, or a sender was refused.
pub const ROOM_WANTED: u32 = 256;
/// Output is queued; async mode was counted.
pub const QUEUED: u32 = 512;
/// Held by a stalled worker and armed with us as well.
pub const WATCHED: u32 = 1024;
/// Ends with a reset.
pub const RESET: u32 = 2048;
/// Not read for a moment: partial messages are at their bound, or its worker had no fd.
pub const DEFERRED: u32 = 4096;
/// What its worker armed before it let go is used up by an event, or the supervisor's own arming took its place:
/// the worker looks here when it has let go.
pub const EARLY: u32 = 1 << 15;
/// In the list of those that wait for room in all queues together.
pub const ROOM_LISTED: u32 = 8192;
/// In the list of what the next tick looks at again.
pub const LOOK_AGAIN: u32 = 16384;
/// We ping; readers look for pongs.
pub const PINGS: u32 = 1 << 20;
/// The peer has promised to ping; readers note when they heard something.
pub const FLOW_TIMED: u32 = 1 << 21;
/// A ping is due and waits for the gate.
pub const PING_OWED: u32 = 1 << 22;
/// A ping is in the queue and not written yet.
pub const PING_QUEUED: u32 = 1 << 23;
/// Keep-alive is on, in one of the two directions.
pub const KEPT: u32 = PINGS | FLOW_TIMED;
/// The queue was above high-water and is not yet down to low-water.
pub const ABOVE_HIGH: u32 = 1 << 16;
/// `on_writable` when the queue is empty: a sender was refused although it was at low-water.
pub const EMPTY_WANTED: u32 = 1 << 17;
/// Idle with something to read, and not to be read: see `flow::is_stopped`.
pub const STOPPED: u32 = 1 << 18;
/// The peer's FIN came meanwhile, behind what is not read.
pub const STOPPED_FIN: u32 = 1 << 19;
/// It was stopped before: what it had to send in the time from its accept it could not.
pub const WAS_STOPPED: u32 = 1 << 24;
