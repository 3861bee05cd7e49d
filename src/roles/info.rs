//! A snapshot of one connection, read without locks: each value is true for some instant of the
//! call, not all for the same one.

use crate::pure::keepalive::{Agreed, moment_ms};
use crate::pure::settings::Settings;
use crate::pure::words::GateWord;
use crate::roles::context::Context;
use crate::roles::host::ConnInfo;
use crate::sync::Word;
use crate::table::rare::Rare;
use crate::table::rare::mark;
use crate::table::segment::Segment;
use crate::table::slot::{Slot, unpack_reason};
use crate::table::{flow, phase};

pub fn of(context: &Context, index: u32, slot: &Slot, generation: u32, now_ms: u64) -> ConnInfo {
    read(
        &context.segment,
        &context.live(),
        (index, slot, generation),
        now_ms,
    )
}

/// The same by who only looks: `live` are the settings as they are now.
pub fn read(
    segment: &Segment,
    live: &Settings,
    (index, slot, generation): (u32, &Slot, u32),
    now_ms: u64,
) -> ConnInfo {
    let (gate, queued_bytes) = flow::queued(segment, slot);
    let owner = slot.owner();
    let supervised = &slot.supervised;
    let lifetime = u64::from(slot.output.lifetime_ms.get());
    let rare = segment.rare(index);
    let agreed = rare.map_or(Agreed(0), Rare::agreed);
    let pinged = rare.filter(|rare| rare.awaits_pong());
    let wire = segment.wire_of(index, slot);
    let (close_reason, close_errno) = unpack_reason(supervised.close_reason.get());
    ConnInfo {
        conn_id: segment.id_of(index, generation),
        remote: slot.remote(),
        local: slot.local(),
        outbound: slot.is_outbound(),
        connecting: gate.has(GateWord::CONNECTING),
        async_mode: gate.is_async(),
        closing: gate.has(GateWord::CLOSING),
        half_closed: supervised.phase.load_sync() & phase::HALF_CLOSED != 0,
        paused: flow::is_paused(segment, index, generation),
        slowed: flow::is_slowed(segment, slot, live),
        suspect: rare.is_some_and(|rare| rare.has(generation, mark::SUSPECT)),
        owner: owner.state(),
        worker: segment.worker_index(owner.worker()),
        listener: (slot.identity.listener.get() as i32).wrapping_sub(1),
        age_ms: now_ms.saturating_sub(supervised.created_ms.get()),
        idle_ms: now_ms.saturating_sub(slot.active_ms()),
        lifetime_ms: if lifetime > 0 {
            lifetime
        } else {
            live.connection_lifetime_ms
        },
        queued_bytes,
        partial_bytes: u64::from(slot.input.partial_bytes.get()),
        bytes_in: slot.input.bytes_in.get(),
        bytes_out: slot.output.bytes_out.get(),
        messages_in: u64::from(slot.input.messages_in.get()),
        messages_out: u64::from(slot.output.messages_out.get()),
        conn_user: slot.output.user.load_sync(),
        pending_answers: slot.output.pending_answers.load_sync(),
        close_reason,
        close_errno,
        keepalive: agreed.interval(),
        flow_timer_ms: agreed.flow_timer_ms(),
        pong_wait_ms: pinged.map_or(0, |rare| {
            let since_ms = moment_ms(now_ms, rare.pinged_ms());
            now_ms.saturating_sub(since_ms).max(1)
        }),
        wire_remote: wire.source,
        wire_local: wire.destination,
        alias_port: rare.map_or(0, |rare| rare.alias_port.load_sync()),
    }
}
