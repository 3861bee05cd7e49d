//! The C API: any sequence of valid calls, and of what peers do meanwhile, under AddressSanitizer.
//!
//! Input: two bytes say how the instance is made and ended, then each call is a byte with its operands. Half of
//! the sequences drive supervisor and workers step by step in one thread, so that the same input does the same
//! again; the others have the threads of `sipwire_start`. At the end of each: every connection that was
//! opened was closed, every accepted message was written or reported, no descriptor or thread is left.
#![no_main]

use std::ffi::CString;
use std::net::SocketAddr;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sipwire::ffi::{
    blacklist::*, config::*, conn::*, instance::*, library::*, listeners::*, matching::*, send::*,
    stats::*, types::*,
};

#[path = "api/host.rs"]
mod host;
#[path = "api/input.rs"]
mod input;
#[path = "api/ledger.rs"]
mod ledger;
#[path = "api/peers.rs"]
mod peers;
#[path = "api/process.rs"]
mod process;

use host::{CALLBACKS, Host, expect, piece, to_id};
use input::{CHANGES, Input, MADE_WITH};
use peers::{Peer, Server};

const CALLS: usize = 48;
const PEERS: usize = 6;
const WORKERS: usize = 2;
/// All that may take time in a sequence; the whole end of an instance has to come within `PATIENCE`.
const SLEEP_MS: u64 = 30;
const PATIENCE: Duration = Duration::from_secs(60);

const NO_CONNECTION: [i32; 2] = [SIPWIRE_E_NO_CONNECTION, SIPWIRE_E_NOT_ATTACHED];
const NO_PART: [i32; 3] = [
    SIPWIRE_E_NOT_ATTACHED,
    SIPWIRE_E_NO_PARTICIPANT,
    SIPWIRE_E_ROLE,
];

struct World<'a> {
    input: Input<'a>,
    host: &'a Host,
    config: *mut sipwire_config,
    instance: *mut sipwire_instance,
    /// The supervisor and the workers, if they are driven from here.
    loops: [*mut sipwire_loop; 1 + WORKERS],
    threads: bool,
    stopped: bool,
    peers: Vec<Peer>,
    server: Server,
    listener: SocketAddr,
    sleep_ms: u64,
}

fn address_of(addr: SocketAddr) -> sipwire_addr {
    let text = CString::new(addr.to_string()).expect("no NUL");
    let mut out = to_id(0, 0).remote;
    assert_eq!(
        unsafe { sipwire_addr_parse(text.as_ptr(), &raw mut out) },
        SIPWIRE_OK
    );
    out
}

fn text(bytes: &[u8]) -> CString {
    CString::new(
        bytes
            .iter()
            .copied()
            .filter(|byte| *byte != 0)
            .collect::<Vec<_>>(),
    )
    .expect("no NUL")
}

fn set(config: *mut sipwire_config, (key, value): (&str, &str)) {
    let (key, value) = (text(key.as_bytes()), text(value.as_bytes()));
    assert_eq!(
        unsafe { sipwire_config_set(config, key.as_ptr(), value.as_ptr()) },
        SIPWIRE_OK
    );
}

impl World<'_> {
    fn conn_id(&mut self) -> u32 {
        let ledger = self.host.ledger();
        match (self.input.byte() as usize, ledger.ids.len()) {
            (0 | 255, _) | (_, 0) => 0x4000_0000 + self.input.byte() as u32,
            (n, count) => ledger.ids[n % count],
        }
    }

    /// Its port is free, so that a connection is refused, as long as nobody else binds it.
    fn address(&mut self) -> sipwire_addr {
        let to = match self.input.byte() % 4 {
            0 => self.listener,
            1 => ([127, 0, 0, 1], 1).into(),
            _ => self.server.addr(),
        };
        address_of(to)
    }

    fn peer(&mut self) -> Option<&mut Peer> {
        let chosen = self.input.byte() as usize;
        let count = self.peers.len();
        self.peers.get_mut(chosen % count.max(1))
    }

    fn read_all(&mut self) {
        let mut ledger = self.host.ledger();
        self.peers
            .iter_mut()
            .for_each(|peer| peer.read(&mut ledger));
    }

    fn admit(&mut self, peer: Option<Peer>) {
        if self.peers.len() < PEERS {
            self.peers.extend(peer);
        }
    }

    fn call(&mut self) {
        let instance = self.instance;
        match self.input.byte() % 27 {
            0 => {
                let mut peer = Peer::connect(self.listener);
                if self.input.byte() % 4 == 0 {
                    peer.iter_mut().for_each(Peer::narrow);
                }
                self.admit(peer);
            }
            1 | 2 => self.request(),
            3 => {
                let count = self.input.byte() as usize % 64;
                let raw = self.input.bytes(count);
                self.peer().into_iter().for_each(|peer| peer.write(raw));
            }
            4 => self.read_all(),
            5 => self.peer().into_iter().for_each(|peer| peer.half_close()),
            6 => {
                let (chosen, how) = (self.input.byte() as usize, self.input.byte());
                if !self.peers.is_empty() {
                    let peer = self.peers.swap_remove(chosen % self.peers.len());
                    if how % 2 == 0 {
                        peer.reset();
                    }
                }
            }
            7 => {
                let (which, times) = (self.input.byte(), self.input.byte() % 4);
                for _ in 0..=times {
                    self.step(which as usize % self.loops.len());
                }
            }
            8 => self.settle(),
            9 => {
                let (id, flags) = (self.conn_id(), self.input.byte() as u32 & 31);
                self.send(to_id(id, flags));
            }
            10 => {
                let flags = self.input.byte() as u32 & 31;
                let id = if self.input.byte() % 4 == 0 {
                    self.conn_id()
                } else {
                    0
                };
                let mut target = to_id(id, flags);
                target.remote = self.address();
                target.hash = self.input.byte() as u32 % 4;
                if self.input.byte() % 8 == 0 {
                    target.local = address_of(([127, 0, 0, 1], 0).into());
                }
                self.send(target);
            }
            11 => self.send_from_a_thread(),
            12 => {
                let id = self.conn_id();
                expect(unsafe { sipwire_conn_close(instance, id) }, &NO_CONNECTION);
            }
            13 => {
                let (id, ms) = (self.conn_id(), self.input.byte() as i64 - 1);
                expect(
                    unsafe { sipwire_conn_set_user(instance, id, 5) },
                    &NO_CONNECTION,
                );
                let refusals = [NO_CONNECTION[0], NO_CONNECTION[1], SIPWIRE_E_ARGUMENT];
                expect(
                    unsafe { sipwire_conn_set_lifetime(instance, id, ms) },
                    &refusals,
                );
                expect(
                    unsafe { sipwire_conn_set_keepalive(instance, id, ms / 4) },
                    &refusals,
                );
                expect(
                    unsafe { sipwire_conn_set_flow_timer(instance, id, ms / 2) },
                    &refusals,
                );
            }
            14 => self.look(),
            15 => self.blacklist(),
            16 => self.statistics(),
            17 => {
                let (key, value) = self.input.choose(&CHANGES);
                let (key, value) = (text(key.as_bytes()), text(value.as_bytes()));
                // Refused when it contradicts another one.
                let rc =
                    unsafe { sipwire_set(instance, key.as_ptr(), value.as_ptr(), null_mut(), 0) };
                expect(rc, &[SIPWIRE_E_SETTING]);
            }
            18 => self.settings_text(),
            19 => {
                let ms = self.input.byte() as i64 % 32 - 1;
                expect(
                    unsafe { sipwire_drain(instance, ms) },
                    &[SIPWIRE_E_ARGUMENT],
                );
            }
            20 => self.stop(),
            21 => self.take_part(),
            22 => {
                let accepted = self.server.accept();
                self.admit(accepted);
            }
            23 => {
                let which = self.input.byte() as usize % self.loops.len();
                if !self.stopped && !self.end_loop(which) {
                    self.open_loop(which);
                }
            }
            24 => self.refused(),
            25 => self.matching(),
            _ => self.sleep(),
        }
    }

    /// One to three requests, whole or in part, that ask the script for something.
    fn request(&mut self) {
        let asked = b'a' + self.input.byte() % 16;
        let (count, part) = (self.input.byte(), self.input.byte());
        let body = self.input.choose(&[0, 10, 2_000, 40_000]);
        let method = self.input.choose(&["OPTIONS", "ACK", "MESSAGE"]);
        let mut text = format!(
            "{method} sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
             Call-ID: q\r\nCSeq: 1 {method}\r\nX:{}\r\nContent-Length: {body}\r\n\r\n{}",
            char::from(asked),
            "r".repeat(body)
        )
        .repeat(1 + count as usize % 3);
        // The rest may follow as the first part of the next one: then it is no SIP any more.
        if part != 0 {
            text.truncate(text.len() * part as usize / 255);
        }
        self.peer()
            .into_iter()
            .for_each(|peer| peer.write(text.as_bytes()));
    }

    fn send(&mut self, target: sipwire_target) {
        let body = self.input.choose(&[0, 500, 3_000, 20_000, 70_000]);
        let (kind, pieces) = (self.input.byte(), self.input.choose(&[1, 2, 40]));
        self.host.send(self.instance, &target, kind, body, pieces);
    }

    /// A thread takes part with its first send and leaves at its end.
    fn send_from_a_thread(&mut self) {
        let (id, flags) = (self.conn_id(), self.input.byte() as u32 & 3);
        let (host, instance) = (self.host, self.instance as usize);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                (0..3).for_each(|_| host.send(instance as *mut _, &to_id(id, flags), 2, 700, 1));
            });
        });
    }

    fn look(&mut self) {
        let (id, mut found) = (self.conn_id(), 0);
        let mut page = [unsafe { std::mem::zeroed::<sipwire_conn_info>() }; 4];
        page[0].struct_size =
            size_of::<sipwire_conn_info>() as u32 - self.input.choose(&[0, 8, 100]);
        let refusals = [SIPWIRE_E_NOT_ATTACHED, SIPWIRE_E_NO_CONNECTION];
        expect(
            unsafe { sipwire_conn_info_get(self.instance, id, page.as_mut_ptr()) },
            &refusals,
        );
        let remote = self.address();
        expect(
            unsafe { sipwire_conn_find(self.instance, &remote, null(), &raw mut found) },
            &refusals,
        );
        let mut cursor = 0;
        for _ in 0..32 {
            let rc = unsafe {
                sipwire_conn_list(
                    self.instance,
                    &raw mut cursor,
                    page.as_mut_ptr(),
                    page.len(),
                )
            };
            assert!(expect(rc, &refusals) <= page.len() as i32);
            if cursor == 0 {
                return;
            }
        }
        panic!("32 pages of 4 for at most 16 connections");
    }

    /// Aliases, suspects, flows.
    fn matching(&mut self) {
        let (id, other) = (self.conn_id(), self.input.byte());
        let refusals = [
            &NO_CONNECTION[..],
            &NO_PART[..],
            &[
                SIPWIRE_E_ALIASES_OFF,
                SIPWIRE_E_ALIAS_TAKEN,
                SIPWIRE_E_ARGUMENT,
                SIPWIRE_E_TOTAL_QUEUE_FULL,
                SIPWIRE_E_SHUTTING_DOWN,
                SIPWIRE_E_SUPERVISOR_GONE,
            ],
        ]
        .concat();
        let port = u32::from(other % 3);
        expect(
            unsafe { sipwire_conn_add_alias(self.instance, id, port) },
            &refusals,
        );
        let on = i32::from(other % 2);
        expect(
            unsafe { sipwire_conn_set_suspect(self.instance, id, on) },
            &NO_CONNECTION,
        );
        let (mut token, mut found) = ([0; SIPWIRE_FLOW_TOKEN_SIZE], 0);
        let length =
            unsafe { sipwire_flow_token(self.instance, id, token.as_mut_ptr(), token.len()) };
        if expect(length, &NO_CONNECTION) < 0 {
            return;
        }
        let whole = token.len() - 1;
        let refusals = [SIPWIRE_E_NO_CONNECTION, SIPWIRE_E_BAD_TOKEN];
        let rc = unsafe { sipwire_flow_find(self.instance, token.as_ptr(), whole, &raw mut found) };
        assert!(expect(rc, &refusals[..1]) < 0 || found == id);
        if let Some(letter) = token.get_mut(usize::from(other) % whole) {
            *letter ^= 1;
        }
        let rc = unsafe { sipwire_flow_find(self.instance, token.as_ptr(), whole, &raw mut found) };
        assert!(expect(rc, &refusals) < 0);
    }

    fn blacklist(&mut self) {
        let addr = self.address();
        let ttl_ms = self.input.byte() as i64 - 1;
        let how = self.input.byte() % 4;
        let mut cursor = 0;
        let mut page = [unsafe { std::mem::zeroed::<sipwire_blacklist_entry>() }; 4];
        page[0].struct_size = size_of::<sipwire_blacklist_entry>() as u32;
        let refusals = [&NO_PART[..], &[SIPWIRE_E_NO_MEMORY]].concat();
        unsafe {
            match how {
                0 => expect(
                    sipwire_blacklist_add(self.instance, &addr, ttl_ms),
                    &refusals,
                ),
                1 => expect(sipwire_blacklist_remove(self.instance, &addr), &refusals),
                2 => expect(sipwire_blacklist_check(self.instance, &addr), &[]),
                _ => expect(
                    sipwire_blacklist_list(
                        self.instance,
                        &raw mut cursor,
                        page.as_mut_ptr(),
                        page.len(),
                    ),
                    &[],
                ),
            }
        };
    }

    fn stats(&self) -> sipwire_stats {
        let mut stats = unsafe { std::mem::zeroed::<sipwire_stats>() };
        stats.struct_size = size_of::<sipwire_stats>() as u32;
        assert_eq!(
            unsafe { sipwire_stats_get(self.instance, &raw mut stats) },
            SIPWIRE_OK
        );
        assert_eq!(
            (
                stats.degraded,
                stats.messages_lost_report,
                stats.participants_died
            ),
            (0, 0, 0)
        );
        stats
    }

    fn statistics(&mut self) {
        self.stats();
        let number = self.input.byte() as i32 % 4 - 1;
        let mut worker = unsafe { std::mem::zeroed::<sipwire_worker_stats>() };
        worker.struct_size = size_of::<sipwire_worker_stats>() as u32;
        let rc = unsafe { sipwire_worker_stats_get(self.instance, number, &raw mut worker) };
        assert_eq!(rc == SIPWIRE_OK, (0..WORKERS as i32).contains(&number));
    }

    /// Any text, for a configuration of which no instance is made.
    fn settings_text(&mut self) {
        let count = self.input.byte() as usize % 32;
        let (key, value) = (
            text(self.input.bytes(count)),
            text(self.input.bytes(count / 2)),
        );
        let mut out = [1; 16];
        unsafe {
            let config = sipwire_config_new();
            let rc = sipwire_config_set(config, key.as_ptr(), value.as_ptr());
            expect(rc, &[SIPWIRE_E_SETTING, SIPWIRE_E_ARGUMENT]);
            assert_eq!(rc < 0, *sipwire_config_error(config) != 0);
            expect(
                sipwire_config_set_number(config, key.as_ptr(), count as i64),
                &[SIPWIRE_E_SETTING, SIPWIRE_E_ARGUMENT],
            );
            expect(
                sipwire_config_listen(config, value.as_ptr()),
                &[SIPWIRE_E_SETTING, SIPWIRE_E_ARGUMENT],
            );
            sipwire_config_get(config, key.as_ptr(), out.as_mut_ptr(), out.len());
            sipwire_get(self.instance, key.as_ptr(), out.as_mut_ptr(), count);
            let mut addr = to_id(0, 0).remote;
            if sipwire_addr_parse(value.as_ptr(), &raw mut addr) == SIPWIRE_OK {
                sipwire_addr_format(&raw const addr, out.as_mut_ptr(), count / 2);
            }
            sipwire_config_free(config);
        }
    }

    fn take_part(&mut self) {
        let how = self.input.byte() % 4;
        unsafe {
            match how {
                0 => expect(sipwire_attach(self.instance), &NO_PART),
                1 => expect(sipwire_detach(self.instance), &NO_PART),
                2 => expect(sipwire_refresh(self.instance), &NO_PART),
                _ => expect(sipwire_log_drain(self.instance), &NO_PART),
            }
        };
    }

    /// What the header says is refused.
    fn refused(&mut self) {
        let instance = self.instance;
        let whole = piece(b"x");
        let (target, unknown) = (to_id(0x4000_0001, 0), to_id(12, 0));
        let sized = sipwire_target {
            struct_size: 3,
            ..target
        };
        let huge = sipwire_iov {
            length: usize::MAX,
            ..whole
        };
        let nothing = sipwire_iov {
            base: null(),
            length: 0,
        };
        let stopping = [
            SIPWIRE_E_SHUTTING_DOWN,
            SIPWIRE_E_NOT_ATTACHED,
            SIPWIRE_E_NO_PARTICIPANT,
            SIPWIRE_E_SUPERVISOR_GONE,
        ];
        let (rc, wanted) = unsafe {
            match self.input.byte() % 12 {
                0 => (
                    sipwire_send(instance, null(), &whole, 1, 1),
                    SIPWIRE_E_ARGUMENT,
                ),
                1 => (
                    sipwire_send(instance, &target, null(), 1, 1),
                    SIPWIRE_E_ARGUMENT,
                ),
                2 => (
                    sipwire_send(instance, &target, &whole, 0, 1),
                    SIPWIRE_E_ARGUMENT,
                ),
                3 => (
                    sipwire_send(instance, &target, &huge, 1, 1),
                    SIPWIRE_E_TOO_LARGE,
                ),
                4 => (
                    sipwire_send(instance, &target, &nothing, 1, 1),
                    SIPWIRE_E_ARGUMENT,
                ),
                5 => (
                    sipwire_send(instance, &sized, &whole, 1, 1),
                    SIPWIRE_E_VERSION,
                ),
                6 => (
                    sipwire_send(instance, &unknown, &whole, 1, 1),
                    SIPWIRE_E_NO_CONNECTION,
                ),
                7 => (
                    sipwire_send(null_mut(), &target, &whole, 1, 1),
                    SIPWIRE_E_ARGUMENT,
                ),
                8 => (sipwire_stats_get(instance, null_mut()), SIPWIRE_E_ARGUMENT),
                9 => (sipwire_process_died(instance, 0), SIPWIRE_E_ARGUMENT),
                10 => (
                    sipwire_conn_find(instance, null(), null(), null_mut()),
                    SIPWIRE_E_ARGUMENT,
                ),
                _ => (
                    sipwire_set(instance, null(), null(), null_mut(), 0),
                    SIPWIRE_E_ARGUMENT,
                ),
            }
        };
        assert!(
            rc == wanted || stopping.contains(&rc),
            "returned {rc}, not {wanted}"
        );
    }

    fn sleep(&mut self) {
        let ms = (self.input.byte() as u64 % 12).min(SLEEP_MS - self.sleep_ms);
        self.sleep_ms += ms;
        std::thread::sleep(Duration::from_millis(ms));
    }

    // ---- the roles ----

    fn open_loop(&mut self, which: usize) {
        let role = if which == 0 {
            SIPWIRE_ROLE_SUPERVISOR
        } else {
            SIPWIRE_ROLE_WORKER
        };
        let out = &raw mut self.loops[which];
        let rc = unsafe { sipwire_loop_new(self.instance, role, which as i32 - 1, out) };
        // The threads have the place; or there is no supervisor to recover the one of the worker before.
        expect(
            rc,
            &[
                SIPWIRE_E_ROLE,
                SIPWIRE_E_SHUTTING_DOWN,
                SIPWIRE_E_NO_PARTICIPANT,
            ],
        );
    }

    fn end_loop(&mut self, which: usize) -> bool {
        let ended = std::mem::replace(&mut self.loops[which], null_mut());
        unsafe { sipwire_loop_free(ended) };
        !ended.is_null()
    }

    /// False: it has nothing to do now, or has ended.
    fn step(&mut self, which: usize) -> bool {
        let driven = self.loops[which];
        if driven.is_null() {
            return false;
        }
        let rc = unsafe { sipwire_loop_step(driven) };
        if rc < 0 {
            expect(rc, &[SIPWIRE_E_SHUTTING_DOWN, SIPWIRE_E_SUPERVISOR_GONE]);
            self.end_loop(which);
        }
        rc == 1
    }

    /// Turns of all loops until nothing is ready, or some time for the threads.
    fn settle(&mut self) {
        if self.threads {
            std::thread::sleep(Duration::from_micros(300));
            return;
        }
        for _ in 0..6 {
            for which in 0..self.loops.len() {
                let mut turns = 0;
                while self.step(which) && turns < 100 {
                    turns += 1;
                }
            }
        }
    }

    /// Stops and waits until all is told, which needs all the roles.
    fn stop(&mut self) {
        let begun = Instant::now();
        // With all roles, or nobody is left who could tell. Workers of a supervisor before may be among them.
        while !self.threads && !self.stopped {
            assert!(begun.elapsed() < PATIENCE, "the roles cannot begin again");
            for which in 0..self.loops.len() {
                if self.loops[which].is_null() {
                    self.open_loop(which);
                }
            }
            if self.loops.iter().all(|driven| !driven.is_null()) {
                break;
            }
            self.settle();
        }
        self.stopped = true;
        expect(unsafe { sipwire_stop(self.instance) }, &[]);
        while self.loops.iter().any(|driven| !driven.is_null()) {
            assert!(
                begun.elapsed() < PATIENCE,
                "the loops do not end after sipwire_stop"
            );
            self.settle();
            // A worker of the supervisor before ends now, and comes again to tell what is left.
            for which in 1..self.loops.len() {
                if self.loops[which].is_null() && !self.loops[0].is_null() {
                    self.open_loop(which);
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(begun.elapsed() < PATIENCE, "sipwire_stop took too long");
    }
}

fn run(data: &[u8]) {
    let before = process::Usage::now();
    let mut input = Input(data);
    let (how, changes) = (input.byte(), input.byte() % 4);
    let threads = how % 2 == 1;
    let host = Host::new(threads);
    let server = Server::new();
    let config = sipwire_config_new();
    MADE_WITH
        .into_iter()
        .for_each(|setting| set(config, setting));
    for _ in 0..changes {
        let setting = input.choose(&CHANGES);
        set(config, setting);
    }
    assert_eq!(
        unsafe { sipwire_config_listen(config, c"tcp:127.0.0.1:0".as_ptr()) },
        SIPWIRE_OK
    );
    let mut instance = null_mut();
    let user = (&raw const host).cast_mut().cast();
    assert_eq!(
        unsafe { sipwire_new(config, &CALLBACKS, user, &raw mut instance) },
        SIPWIRE_OK
    );
    let mut bound = to_id(0, 0).remote;
    assert_eq!(
        unsafe { sipwire_listener_addr(instance, 0, &raw mut bound) },
        SIPWIRE_OK
    );
    let mut world = World {
        input,
        host: &host,
        config,
        instance,
        loops: [null_mut(); 1 + WORKERS],
        threads,
        stopped: false,
        peers: Vec::new(),
        server,
        listener: ([127, 0, 0, 1], bound.port).into(),
        sleep_ms: 0,
    };
    if world.threads {
        assert_eq!(unsafe { sipwire_start(instance) }, SIPWIRE_OK);
    } else {
        (0..=WORKERS).for_each(|which| world.open_loop(which));
    }
    for _ in 0..CALLS {
        if world.input.0.is_empty() {
            break;
        }
        world.call();
    }
    if how & 2 != 0 {
        world.peers.drain(..).for_each(Peer::reset);
    }
    world.stop();
    world.read_all();
    host.ledger().assert_all_closed();
    let stats = world.stats();
    assert_eq!(
        (
            stats.connections,
            stats.slots_used,
            stats.queued_bytes,
            stats.partial_bytes
        ),
        (0, 0, 0, 0)
    );
    // Pongs and answers of the library's own count too, if they were written.
    let (least, own) = (host.ledger().written(), stats.pings + stats.error_answers);
    let written = stats.messages_out;
    assert!(
        (least..=least + own).contains(&written),
        "{least} accepted and not reported, {written} written"
    );
    let World {
        config,
        peers,
        server,
        ..
    } = world;
    unsafe {
        sipwire_free(instance);
        sipwire_config_free(config);
    }
    peers.into_iter().for_each(Peer::reset);
    drop(server);
    before.assert_again();
}

fuzz_target!(init: process::prepare(), |data: &[u8]| run(data));
