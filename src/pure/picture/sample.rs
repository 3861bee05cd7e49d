//! A picture for the tests of the renderers.

use super::conn::ConnInfo;
use super::*;
use crate::pure::keepalive::Interval;
use crate::pure::words::OwnerState;

pub fn conn(number: u32, remote: Addr) -> ConnInfo {
    ConnInfo {
        conn_id: 0x4000_0000 | number,
        remote,
        local: Addr::v4([192, 0, 2, 1], 5060),
        outbound: false,
        connecting: false,
        async_mode: false,
        closing: false,
        half_closed: false,
        paused: false,
        slowed: false,
        suspect: false,
        owner: OwnerState::Held,
        worker: 0,
        listener: 0,
        age_ms: u64::from(number) * 1_000,
        idle_ms: 20,
        lifetime_ms: 120_000,
        queued_bytes: 0,
        partial_bytes: 0,
        bytes_in: u64::from(number) * 100,
        bytes_out: 50,
        messages_in: 2,
        messages_out: 1,
        conn_user: 0,
        pending_answers: 1,
        close_reason: 0,
        close_errno: 0,
        keepalive: Interval::Off,
        flow_timer_ms: 0,
        pong_wait_ms: 0,
        wire_remote: Addr::none(),
        wire_local: Addr::none(),
        alias_port: 0,
    }
}

pub fn picture() -> Picture {
    let mut stats = Stats {
        connections: 3,
        connections_idle: 1,
        queued_bytes: 12_345,
        messages_in: 1_234_567,
        messages_out: 7,
        accepted: 3,
        slots_total: 16_384,
        workers: 2,
        ..Stats::default()
    };
    stats.closed_by_reason[2] = 5;
    stats.closed_by_reason[5] = 1;
    let mut connections = vec![
        conn(1, Addr::v4([10, 0, 0, 1], 40_001)),
        conn(
            2,
            Addr::parse("[2001:db8:1111:2222:3333:4444:5555:6666]:40002").unwrap(),
        ),
        conn(3, Addr::v4([10, 0, 0, 3], 40_003)),
    ];
    connections[1].queued_bytes = 12_345;
    connections[1].async_mode = true;
    connections[2].outbound = true;
    connections[2].owner = OwnerState::Idle;
    connections[2].worker = -1;
    Picture {
        now_ms: 1_000_000,
        up_ms: 754_000,
        supervisor: Supervisor::Serves(4_000),
        stopping: false,
        stats,
        queued_max: 10 << 20,
        partial_max: 64 << 20,
        workers: (0..2)
            .map(|number| Worker {
                number,
                pid: 4_001 + number,
                held: 1,
                lends: 3,
                messages: 600_000,
                busy_ms: u64::from(number) * 12,
                ..Worker::default()
            })
            .collect(),
        participants: vec![Participant {
            number: 1,
            role: "supervisor",
            pid: 4_000,
            busy_ms: 0,
        }],
        listeners: vec![Listener {
            number: 0,
            state: "open",
            addr: Addr::v4([192, 0, 2, 1], 5060),
            errno: 0,
        }],
        connections,
        blacklist: vec![Listed {
            addr: Addr::v4([203, 0, 113, 9], 5060),
            remaining_ms: 42_000,
            reason: Reason::ConnectFailed,
        }],
        settings: vec![("send_timeout", "10s".to_string())],
    }
}
