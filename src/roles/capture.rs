//! What passes, shown to the host's `on_capture`: by the worker that delivers or refuses a message, by
//! whoever sends one. Nothing is copied or kept, and the supervisor takes no part: it runs no host code.
//!
//! Invariants: nothing is held while the callback runs, neither a gate nor a borrow of the member, so it
//! may call what every callback may; what is sent inside it is not shown again.

use crate::pure::addr::Addr;
use crate::roles::context::Context;
use crate::roles::host::{Capture, Captured, Message};
use crate::roles::member::Member;
use crate::sync::Word;
use crate::sys::clock::realtime_us;
use crate::table::slot::Slot;

/// The time from which a message counts, when it is to be shown. None: no callback (one branch), switched
/// off (one look at the live settings), or the callback itself sends.
pub fn begin(context: &Context, member: &Member) -> Option<u64> {
    let shown = context.wants.capture && !member.capturing.get() && member.live(context).capture;
    shown.then(realtime_us)
}

/// Between whom a message passes.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub conn_id: u32,
    pub remote: Addr,
    pub local: Addr,
    pub listener: i32,
}

impl Ends {
    /// Of a message that waits for a dial: it has no connection, and no more of a local address than was asked for.
    pub fn not_dialled(remote: Addr, local: Addr) -> Ends {
        Ends {
            conn_id: 0,
            remote,
            local,
            listener: -1,
        }
    }

    /// Read before the message is given to the connection: from then on the slot may be another's. True if
    /// the generation is still this one's when the message is accepted.
    pub fn of(context: &Context, index: u32, slot: &Slot, generation: u32) -> Ends {
        Ends {
            conn_id: context.segment.id_of(index, generation),
            remote: slot.remote(),
            local: slot.local(),
            listener: slot.identity.listener.get() as i32 - 1,
        }
    }
}

pub fn show(
    context: &Context,
    member: &Member,
    time_us: u64,
    what: Captured,
    ends: Ends,
    parts: &[&[u8]],
) {
    let capture = Capture {
        time_us,
        what,
        ends,
        worker: member.worker as i32 - 1,
        parts,
    };
    member.capturing.set(true);
    member.calling(context, || context.host.on_capture(&capture));
    member.capturing.set(false);
}

/// A message on its way to `on_message`.
pub fn show_received(context: &Context, member: &Member, message: &Message<'_>) {
    let Some(time_us) = begin(context, member) else {
        return;
    };
    let ends = Ends {
        conn_id: message.conn_id,
        remote: message.remote,
        local: message.local,
        listener: message.listener,
    };
    let parts = &[message.bytes()];
    show(context, member, time_us, Captured::Received, ends, parts);
}
