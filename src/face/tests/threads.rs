//! The Rust face with threads: those of the instance, and the host's own loop.
#![allow(unsafe_code)] // poll, as a host's loop would call it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may end with a panic

mod client;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use client::{Client, address, answer, config};
use sipwire::{Callbacks, Close, Error, Instance, Loop, Message, Reason, Sent, Target};

/// Answers with the request's body.
fn echo(instance: &Instance, message: &mut Message<'_>) -> Result<(), Close> {
    answer(instance, message.conn_id, message.body())
}

#[test]
fn what_threads_may_share() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Instance>();
    shared::<Callbacks>();
    shared::<sipwire::Config>();
    shared::<sipwire::SetupError>();
    // A loop stays in its thread: were it Send, there would be two to choose from.
    trait Stays<A> {
        fn here() {}
    }
    impl<T> Stays<()> for T {}
    impl<T: Send> Stays<u8> for T {}
    <Loop as Stays<_>>::here();
}

#[test]
fn a_connection_is_opened_served_and_closed() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (opened, asked, closed) = (told.clone(), told.clone(), told.clone());
    let (end, ended) = mpsc::channel();
    let callbacks = Callbacks::new(move |instance, message| {
        asked.lock().unwrap().push("message");
        instance.conn_set_user(message.conn_id, 7)?;
        echo(instance, message)
    })
    .on_open(move |_, _| opened.lock().unwrap().push("open"))
    .on_close(move |_, info| {
        closed.lock().unwrap().push("close");
        end.send((info.conn_user, info.close_reason)).unwrap();
    });
    let instance = Instance::new(&config(), callbacks).unwrap();
    instance.start().unwrap();
    let mut client = Client::connect(address(&instance));
    client.ask("hello");
    assert_eq!(client.hear(), "hello");
    drop(client);
    assert_eq!(ended.recv().unwrap(), (7, Reason::PeerClosed as u32));
    assert_eq!(*told.lock().unwrap(), ["open", "message", "close"]);
    let stats = instance.stats();
    assert_eq!(
        (stats.accepted, stats.messages_in, stats.messages_out),
        (1, 1, 1)
    );
    instance.stop().unwrap();
    assert_eq!(instance.start(), Err(Error::Role));
}

/// As `examples-c/threads.c`: work that takes time is another thread's, which answers by the connection's id.
#[test]
fn another_thread_answers_later() {
    let (hand_over, work) = mpsc::channel();
    let callbacks = Callbacks::new(move |_, message| {
        hand_over.send((message.conn_id, message.body().to_vec()))?;
        Ok(())
    });
    let instance = Instance::new(&config(), callbacks).unwrap();
    instance.start().unwrap();
    let mut client = Client::connect(address(&instance));
    client.ask("later");
    let answering = instance.clone();
    let thread = std::thread::spawn(move || {
        let (conn_id, body) = work.recv().unwrap();
        answer(&answering, conn_id, &body).unwrap();
    });
    assert_eq!(client.hear(), "later");
    thread.join().unwrap();
    let by_address = Target::remote(client.local_addr().into());
    let message = b"BYE sip:c SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(instance.send(by_address, &[message], 0), Ok(Sent::Directly));
    assert_eq!(client.hear(), "");
    let pieces = [&b"x"[..]; 1025];
    assert_eq!(instance.send(by_address, &pieces, 0), Err(Error::Argument));
    let internal = Target {
        flags: 1 << 31,
        ..by_address
    };
    assert_eq!(instance.send(internal, &[message], 0), Err(Error::Argument));
    assert_eq!(
        instance.send(by_address, &[&[b'x'; 65_537]], 0),
        Err(Error::TooLarge)
    );
}

/// As for a host in C, where nothing may unwind through the library: the connection ends, all else goes on.
#[test]
fn a_callback_that_panics_ends_its_connection_only_as_one_that_returns_close() {
    let (end, ended) = mpsc::channel();
    let callbacks = Callbacks::new(|instance, message| match message.body() {
        b"panic" => panic!("on purpose"),
        b"close" => Err(Close),
        _ => echo(instance, message),
    })
    .on_open(|_, _| panic!("on purpose"))
    .on_worker_start(|_, _| panic!("on purpose"))
    .on_close(move |_, info| end.send(info.close_reason).unwrap());
    let instance = Instance::new(&config(), callbacks).unwrap();
    instance.start().unwrap();
    let mut other = Client::connect(address(&instance));
    other.ask("before");
    assert_eq!(other.hear(), "before");
    for how in ["panic", "close"] {
        let mut client = Client::connect(address(&instance));
        client.ask(how);
        client.hear_end();
        assert_eq!(ended.recv().unwrap(), Reason::Host as u32);
    }
    other.ask("after");
    assert_eq!(other.hear(), "after");
}

#[test]
fn the_last_clone_ends_threads_and_frees_what_callbacks_hold() {
    let held = Arc::new(());
    let of_callback = held.clone();
    let kept: Arc<Mutex<Option<Instance>>> = Arc::default();
    let keep = kept.clone();
    let callbacks = Callbacks::new(move |instance, message| {
        let _ = &of_callback;
        *keep.lock().unwrap() = Some(instance.clone());
        echo(instance, message)
    });
    let instance = Instance::new(&config(), callbacks).unwrap();
    instance.start().unwrap();
    let to = address(&instance);
    let mut client = Client::connect(to);
    client.ask("x");
    client.hear();
    let clone = instance.clone();
    drop(instance);
    client.ask("y");
    assert_eq!(client.hear(), "y");
    drop(clone);
    client.hear_end();
    TcpStream::connect(to).expect_err("nobody listens any more");
    // A callback's clone owns nothing, and is not wrong to use.
    let callbacks_clone = kept.lock().unwrap().take().unwrap();
    assert_eq!(callbacks_clone.attach(), Ok(()));
    assert_eq!(callbacks_clone.start(), Err(Error::Role));
    assert_eq!(callbacks_clone.run_worker(0), Err(Error::Role));
    assert_eq!(callbacks_clone.worker_loop(0).err(), Some(Error::Role));
    let message = b"BYE sip:c SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        callbacks_clone.send(Target::conn(1), &[message], 0),
        Err(Error::ShuttingDown)
    );
    drop(callbacks_clone);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn the_last_clone_in_a_callback_ends_all_and_waits_for_nobody() {
    let last: Arc<Mutex<Option<Instance>>> = Arc::default();
    let (gives_up, stopped) = (last.clone(), Arc::new(AtomicBool::new(false)));
    let (stops, held) = (stopped.clone(), Arc::new(()));
    let captured = held.clone();
    let callbacks = Callbacks::new(move |instance, message| {
        let _ = &captured;
        drop(gives_up.lock().unwrap().take());
        stops.store(instance.stop() == Err(Error::Reentrant), Ordering::SeqCst);
        echo(instance, message)
    });
    let instance = Instance::new(&config(), callbacks).unwrap();
    instance.start().unwrap();
    let mut client = Client::connect(address(&instance));
    *last.lock().unwrap() = Some(instance);
    client.ask("the end");
    client.hear_end();
    assert!(stopped.load(Ordering::SeqCst));
    // The last of its threads frees the instance, and with it what the closures captured.
    for _ in 0..20_000 {
        if Arc::strong_count(&held) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn an_instance_that_cannot_be_made_says_why() {
    let mut config = config();
    let error = config.set("worker", "2").unwrap_err();
    assert_eq!(error.error, Error::Setting);
    assert_eq!(
        error.to_string(),
        "unknown setting \"worker\": did you mean \"workers\"?"
    );
    let first = Instance::new(&config, Callbacks::new(echo)).unwrap();
    assert_eq!(
        first.set("max_connections", "5").unwrap_err().error,
        Error::NotLive
    );
    first.set("send_timeout", "3s").unwrap();
    assert_eq!(first.get("send_timeout").unwrap(), "3s");
    config.listen(&format!("tcp:{}", address(&first))).unwrap();
    let error = Instance::new(&config, Callbacks::new(echo)).err().unwrap();
    assert_eq!(
        (error.error, error.errno),
        (Error::Listen, libc::EADDRINUSE)
    );
}

/// Waits until one of them is ready or due, as a host's own loop does, and lets both take their turns.
fn turn(loops: &mut [Loop]) {
    let ready = |role: &Loop| libc::pollfd {
        fd: role.fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds: Vec<_> = loops.iter().map(ready).collect();
    let due = loops.iter().filter_map(Loop::timeout_ms).min();
    let timeout = due.map_or(-1, |ms| ms.try_into().unwrap_or(i32::MAX));
    // SAFETY: as many as there are.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    for role in loops {
        while role.step().unwrap() {}
    }
}

#[test]
fn the_hosts_own_loop_drives_supervisor_and_worker() {
    let mut config = config();
    config.set_number("workers", 1).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let served = done.clone();
    let callbacks = Callbacks::new(echo).on_close(move |_, _| served.store(true, Ordering::SeqCst));
    let instance = Instance::new(&config, callbacks).unwrap();
    let mut loops = [
        instance.supervisor_loop().unwrap(),
        instance.worker_loop(0).unwrap(),
    ];
    assert_eq!(instance.worker_loop(0).err(), Some(Error::Role));
    let mut client = Client::connect(address(&instance));
    client.ask("turn by turn");
    let peer = std::thread::spawn(move || client.hear());
    while !done.load(Ordering::SeqCst) {
        turn(&mut loops);
    }
    assert_eq!(peer.join().unwrap(), "turn by turn");
}
