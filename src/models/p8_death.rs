//! P8 over all protocols: a supervisor, two workers and a sender as they are, on real sockets of this
//! process, in orders drawn at random; one of them stops for ever after a change drawn at random.
//! What a death may cost is asserted afterwards: docs/internals.md, DEATH-1 to DEATH-4.
#![allow(unsafe_code)] // the values of who stopped, see `Kept`

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use crate::pure::addr::Addr;
use crate::pure::reason::Reason;
use crate::pure::settings::Settings;
use crate::roles::context::{Context, Listener};
use crate::roles::host::{ConnInfo, Failure, Host, Message, Wants};
use crate::roles::member::Member;
use crate::roles::sender;
use crate::roles::supervisor::Supervisor;
use crate::roles::target::{Sent, Target};
use crate::roles::worker::Worker;
use crate::shm::log_ring::Entry as LogEntry;
use crate::shm::participants::End;
use crate::sync::{Word, stop};
use crate::sys::sock::{self, SocketOptions};
use crate::table::segment::Segment;

/// What the callbacks saw.
#[derive(Default)]
struct Seen {
    delivered: Vec<String>,
    failed: Vec<u64>,
    closed: HashMap<u32, (u32, u32)>,
}
struct Script(Arc<Mutex<Seen>>);

impl Host for Script {
    fn wants(&self) -> Wants {
        Wants {
            send_failed: true,
            close: true,
            ..Wants::default()
        }
    }
    fn on_message(&self, message: &mut Message<'_>) -> i32 {
        let text = String::from_utf8_lossy(message.data);
        let id = text
            .split("Call-ID: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap();
        self.0.lock().unwrap().delivered.push(id.to_string());
        0
    }
    fn on_send_failed(&self, failure: &mut Failure<'_>) {
        self.0.lock().unwrap().failed.push(failure.cookie);
    }
    fn on_close(&self, info: &ConnInfo) {
        let times = &mut self.0.lock().unwrap().closed;
        let entry = times.entry(info.conn_id).or_insert((info.close_reason, 0));
        entry.1 += 1;
    }
    fn on_open(&self, _: &ConnInfo) {}
    fn on_writable(&self, _: &ConnInfo) {}
    fn on_log(&self, _: &LogEntry) {}
    fn on_worker_start(&self, _: i32) {}
    fn on_worker_stop(&self, _: i32) {}
}

/// Roles outlive the threads that ran them: what a dead process had is not dropped by its own code.
#[derive(Default)]
struct Kept(RefCell<Vec<Box<dyn Any>>>);
impl Kept {
    fn keep<T: 'static>(&self, value: T) -> &'static mut T {
        let mut value = Box::new(value);
        // SAFETY: the box is not moved out or dropped before `clear`, which the model calls when no
        // thread of it runs any more.
        let kept = unsafe { &mut *core::ptr::from_mut(value.as_mut()) };
        self.0.borrow_mut().push(value);
        kept
    }
}
thread_local! {
    static KEPT: Kept = Kept::default();
}
fn keep<T: 'static>(value: T) -> &'static mut T {
    KEPT.with(|kept| kept.keep(value))
}

fn context(seen: &Arc<Mutex<Seen>>) -> Arc<Context> {
    let settings = Settings {
        max_connections: 8,
        participants: 6,
        workers: 2,
        worker_hold_ms: 0,
        // The script answers nothing.
        half_close_timeout_ms: 0,
        ..Settings::new(2)
    };
    let (fd, plain) = sock::listen(
        &Addr::parse("127.0.0.1:0").unwrap(),
        16,
        &SocketOptions::default(),
    )
    .unwrap();
    let addr = sock::local_addr(fd.as_raw()).unwrap();
    let segment = Segment::new(&settings, &[addr], false).unwrap();
    let listeners = vec![Listener {
        fd,
        addr,
        plain,
        proxy: settings.proxy_protocol,
        proxy_networks: settings.proxy_networks.clone(),
    }];
    let context =
        Context::new(segment, settings, Box::new(Script(seen.clone())), listeners).unwrap();
    // As `runtime::membership` says that this process takes part.
    let pid = u64::from(std::process::id());
    let _ = context.identity.update(|_| Some(pid << 32 | 1 << 16));
    Arc::new(context)
}

fn request(id: &str) -> String {
    format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{id}\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:a@b>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A peer with its own requests; all that it received.
struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    ended: bool,
}
impl Peer {
    fn new(to: SocketAddr) -> Peer {
        Peer::of(TcpStream::connect(to).unwrap())
    }
    fn of(stream: TcpStream) -> Peer {
        stream.set_nonblocking(true).unwrap();
        Peer {
            stream,
            received: vec![],
            ended: false,
        }
    }
    fn ask(&mut self, id: &str) {
        // A connection that was reset takes nothing.
        let _ = self.stream.write_all(request(id).as_bytes());
    }
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break self.ended = true,
                Ok(n) => self.received.extend(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break self.ended = true,
            }
        }
    }
    /// The whole messages it received, by Call-ID.
    fn messages(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.received);
        let whole = text.rsplit_once("\r\n\r\n").map_or("", |(whole, _)| whole);
        whole
            .split("Call-ID: ")
            .skip(1)
            .map(|rest| rest.split("\r\n").next().unwrap().to_string())
            .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Nobody,
    Supervisor,
    Worker,
    Sender,
}

/// Each of two senders says so much to the first peer, and so much to one that is to be dialled.
const MESSAGES: u64 = 3;

fn die(context: &Context, pick: impl Fn(u32) -> bool) {
    let header = context.segment.header();
    for (holder, record) in context.segment.participants().active() {
        if holder != 1 && pick(record.worker.load_sync()) {
            record.tell_end(record.tenant().epoch(), End::Died);
        }
    }
    header.deaths_told.fetch_add(1, Ordering::SeqCst);
    context.wake_supervisor();
}

fn one_run() {
    stop::in_model(true);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let context = context(&seen);
    let to = context.listeners[0].addr.to_std().unwrap();
    // The supervisor has by far the most steps.
    let victim = [
        Victim::Nobody,
        Victim::Supervisor,
        Victim::Supervisor,
        Victim::Supervisor,
        Victim::Worker,
        Victim::Sender,
    ][thread_rng().gen_range(0..6)];
    // What each makes when nobody stops, the most seen.
    let most = match victim {
        Victim::Nobody => 1,
        Victim::Supervisor => 520,
        Victim::Worker => 120,
        Victim::Sender => 200,
    };
    let changes = thread_rng().gen_range(1..=most);
    let changes_of = |role| if role == victim { changes } else { 0 };

    // Two connections are there, accepted and known by id, before the others start.
    let mut supervisor = keep(Supervisor::open(&context).unwrap());
    let mut peers = [Peer::new(to), Peer::new(to)];
    let open = |context: &Context| {
        context
            .segment
            .slots()
            .iter()
            .filter(|slot| slot.is_open())
            .count()
    };
    while open(&context) < 2 {
        supervisor.step(Some(0)).unwrap();
    }
    let target = peers[0].stream.local_addr().unwrap();
    let target = Target {
        conn_id: 0,
        remote: Addr::from_std(target),
        local: Addr::none(),
        flags: Target::NO_CONNECT,
        hash: 0,
    };

    let worker = |index: usize, changes: u32| {
        let context = context.clone();
        thread::spawn(move || {
            stop::after(changes, || {
                let worker = keep(Worker::open(&context, index).unwrap());
                for _ in 0..12 {
                    worker.step(Some(0)).unwrap();
                }
                worker
            })
            .map(KeptWorker)
        })
    };
    let workers = [worker(0, changes_of(Victim::Worker)), worker(1, 0)];
    let sent = Arc::new(Mutex::new(vec![]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let dialled = Target {
        remote: Addr::from_std(listener.local_addr().unwrap()),
        flags: 0,
        ..target
    };
    let sender = |name: u64, changes: u32| {
        let (context, sent) = (context.clone(), sent.clone());
        thread::spawn(move || {
            stop::after(changes, || {
                let member = keep(Member::join(&context, 0).unwrap());
                for number in 0..2 * MESSAGES {
                    let cookie = name * 10 + number;
                    let place = sent.lock().unwrap().len();
                    sent.lock().unwrap().push((cookie, None));
                    let text = request(&format!("s{cookie}"));
                    let to = if number < MESSAGES { target } else { dialled };
                    let result = sender::send(&context, member, to, &[text.as_bytes()], cookie);
                    sent.lock().unwrap()[place].1 = Some(result);
                }
                member.leave(&context);
            })
        })
    };
    let senders = [sender(1, changes_of(Victim::Sender)), sender(2, 0)];
    for (i, peer) in peers.iter_mut().enumerate() {
        for number in 0..2 {
            peer.ask(&format!("p{i}-{number}"));
        }
    }
    let stopped = AtomicBool::new(false);
    let supervised = stop::after(changes_of(Victim::Supervisor), || {
        for _ in 0..12 {
            supervisor.step(Some(0)).unwrap();
        }
    });
    stopped.fetch_or(supervised.is_none(), Ordering::SeqCst);
    let mut senders = senders
        .into_iter()
        .map(|sender| sender.join().unwrap().is_some());
    let sender_done = senders.next().unwrap();
    assert!(senders.all(|done| done));
    let mut workers: Vec<Option<KeptWorker>> =
        workers.into_iter().map(|w| w.join().unwrap()).collect();
    stop::in_model(false);
    let died = supervised.is_none() || !sender_done || workers.iter().any(Option::is_none);

    // What follows a death.
    if supervised.is_none() {
        // Workers end with their supervisor.
        let header = context.segment.header();
        header.note_gone(header.claim.load_sync());
        for worker in workers.iter_mut().flatten() {
            worker.0.leave();
        }
        context.end_supervising();
        supervisor = keep(Supervisor::open(&context).unwrap());
        for worker in workers.iter_mut().flatten() {
            worker.0 = keep(Worker::open(&context, worker.0.index()).unwrap());
        }
    }
    if !sender_done {
        // The other one left.
        die(&context, |worker| worker == 0);
    }
    if workers[0].is_none() {
        die(&context, |worker| worker == 1);
        // A replacement can attach.
        for _ in 0..50 {
            supervisor.step(Some(0)).unwrap();
        }
        workers[0] = Some(KeptWorker(keep(Worker::open(&context, 0).unwrap())));
    }
    let mut far: Vec<Peer> = vec![];
    let mut settle = |peers: &mut [Peer], far: &mut Vec<Peer>| {
        for _ in 0..60 {
            far.extend(listener.accept().ok().map(|(stream, _)| Peer::of(stream)));
            far.iter_mut().for_each(Peer::read);
            supervisor.step(Some(0)).unwrap();
            for worker in workers.iter_mut().flatten() {
                worker.0.step(Some(0)).unwrap();
            }
            peers.iter_mut().for_each(Peer::read);
        }
    };
    settle(&mut peers, &mut far);

    let said = format!("{victim:?} after {changes} changes, died: {died}");
    {
        let seen = seen.lock().unwrap();
        let sent = sent.lock().unwrap();
        let times = |list: &[String], id: &str| list.iter().filter(|have| *have == id).count();
        for (i, peer) in peers.iter().enumerate() {
            for number in 0..2 {
                let id = format!("p{i}-{number}");
                let delivered = times(&seen.delivered, &id);
                assert!(
                    delivered <= 1,
                    "DEATH-2: {id} delivered {delivered} times; {said}"
                );
                assert!(
                    delivered == 1 || peer.ended,
                    "DEATH-1: {id} is lost on a connection that lives; {said}"
                );
            }
        }
        // A dialled connection that ended may have been dialled again.
        let ended = peers.iter().chain(&far).filter(|peer| peer.ended).count();
        match victim {
            Victim::Nobody => assert_eq!(ended, 0, "{said}"),
            Victim::Worker | Victim::Sender => {
                assert!(ended <= 1, "DEATH-1: {ended} ended; {said}")
            }
            Victim::Supervisor if died => {
                assert!(peers.iter().all(|peer| peer.ended), "DEATH-1; {said}")
            }
            Victim::Supervisor => {}
        }
        let at = [
            peers[0].messages(),
            far.iter().flat_map(Peer::messages).collect(),
        ];
        for (cookie, result) in sent.iter() {
            let id = format!("s{cookie}");
            let dialled = usize::from(cookie % 10 >= MESSAGES);
            let written = times(&at[dialled], &id);
            let failed = seen
                .failed
                .iter()
                .filter(|failed| *failed == cookie)
                .count();
            // What the kernel took may not have reached the peer of a connection that a death ended.
            let cut = if dialled == 0 {
                peers[0].ended
            } else {
                far.iter().any(|peer| peer.ended) || died && far.is_empty()
            };
            // What the supervisor's last write took is unknown to its successor, which reports it too.
            let unknown = victim == Victim::Supervisor && died && failed == 1;
            let said = format!("{id} {result:?} written {written} failed {failed}; {said}");
            match result {
                Some(Ok(Sent::Directly)) => assert!(
                    written == 1 && failed == 0 || cut && written + failed == 0,
                    "DEATH-3: {said}"
                ),
                Some(Ok(Sent::Queued)) => assert!(
                    written + failed == 1
                        || cut && written + failed == 0
                        || unknown && written == 1,
                    "DEATH-3: {said}"
                ),
                Some(Err(_)) => assert_eq!(written + failed, 0, "DEATH-3: {said}"),
                None => assert!(written + failed <= 1, "DEATH-3: {said}"),
            }
        }
        for at in at {
            for name in ["s1", "s2"] {
                let order: Vec<&String> = at.iter().filter(|id| id.starts_with(name)).collect();
                assert!(order.is_sorted(), "GATE-2: {order:?}; {said}");
            }
        }
    }
    // Everything ends; nothing is left.
    for peer in peers.iter().chain(&far) {
        let _ = peer.stream.shutdown(Shutdown::Both);
    }
    let watchdog = Instant::now();
    while open(&context) > 0 && watchdog.elapsed() < Duration::from_secs(20) {
        settle(&mut peers, &mut far);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(open(&context), 0, "DEATH-4: a slot is left; {said}");
    let participants = context.segment.participants();
    let accounts: Vec<(u64, u64)> = participants
        .records
        .iter()
        .map(|r| (r.account.added.get(), r.supervised.removed.get()))
        .collect();
    assert_eq!(
        participants.queued_bytes(),
        0,
        "DEATH-4: queued bytes {accounts:?}; {said}"
    );
    assert_eq!(
        participants.partial_bytes(),
        0,
        "DEATH-4: parked bytes; {said}"
    );
    workers.iter().flatten().for_each(|worker| worker.0.leave());
    assert_eq!(
        context.segment.blocks().in_use(),
        0,
        "DEATH-4: blocks; {said}"
    );
    let seen = seen.lock().unwrap();
    for (id, (reason, times)) in &seen.closed {
        assert_eq!(
            *times,
            1,
            "on_close of {id:x} ({:?}); {said}",
            Reason::from_number(*reason)
        );
    }
    drop(seen);
    KEPT.with(|kept| kept.0.borrow_mut().clear());
}

/// All threads of a model are one of the system's.
struct KeptWorker(&'static mut Worker);
// SAFETY: see above.
unsafe impl Send for KeptWorker {}

#[test]
fn a_death_costs_no_more_than_it_may() {
    let all = std::env::var_os("SIPWIRE_CHECK_ALL").is_some_and(|all| !all.is_empty());
    shuttle::check_random(one_run, if all { 40_000 } else { 2_000 });
}
