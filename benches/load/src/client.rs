//! The clients: sockets, what each waits for, and the loop that serves them all.

use crate::options::{Drive, Options};
use crate::pace::Measured;
use crate::request::{Template, answer_end};
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Connections that are being opened at one time while all are opened: below the usual backlog.
const OPENING: usize = 256;
/// A datagram without an answer is lost after this time.
const LOST: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(1);

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
    None,
}

struct Client {
    socket: Socket,
    /// Of each request on its way, when it should have left.
    asked: VecDeque<Instant>,
    /// The beginning of an answer that is not complete.
    partial: Vec<u8>,
    /// What the kernel has not taken.
    unsent: Vec<u8>,
    /// A slow reader has something to read.
    readable: bool,
}

pub struct Clients {
    options: Options,
    poll: Poll,
    clients: Vec<Client>,
    template: Template,
    number: u64,
    random: fastrand::Rng,
    measured: Measured,
    buffer: Vec<u8>,
    out: Vec<u8>,
    running: bool,
}

impl Clients {
    /// Opens them all, except those that come and go.
    pub fn open(options: &Options) -> io::Result<Clients> {
        let transport = if options.udp { "udp" } else { "tcp" };
        let server = options.server.to_string();
        let mut all = Clients {
            poll: Poll::new()?,
            clients: Vec::new(),
            template: Template::new(&server, transport, options.request_bytes),
            number: 0,
            random: fastrand::Rng::with_seed(options.seed),
            measured: Measured::new(),
            buffer: vec![0; 256 * 1024],
            out: Vec::new(),
            running: false,
            options: options.clone(),
        };
        all.clients.resize_with(options.connections, || Client {
            socket: Socket::None,
            asked: VecDeque::new(),
            partial: Vec::new(),
            unsent: Vec::new(),
            readable: false,
        });
        if options.drive == Drive::Short {
            return Ok(all);
        }
        let mut events = Events::with_capacity(1024);
        let mut pending = 0;
        for index in 0..options.connections {
            all.connect(index)?;
            pending += usize::from(!options.udp);
            while pending >= OPENING || (pending > 0 && index + 1 == options.connections) {
                all.poll.poll(&mut events, Some(Duration::from_secs(30)))?;
                if events.is_empty() {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        "the server does not accept",
                    ));
                }
                for event in &events {
                    if let Socket::Tcp(stream) = &all.clients[event.token().0].socket
                        && event.is_writable()
                    {
                        if let Some(error) = stream.take_error()? {
                            return Err(error);
                        }
                        pending = pending.saturating_sub(1);
                    }
                }
            }
        }
        Ok(all)
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let token = Token(index);
        let client = &mut self.clients[index];
        client.socket = if self.options.udp {
            let mut socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            socket.connect(self.options.server)?;
            self.poll
                .registry()
                .register(&mut socket, token, Interest::READABLE)?;
            Socket::Udp(socket)
        } else {
            let mut stream = TcpStream::connect(self.options.server)?;
            let _ = stream.set_nodelay(true);
            if self.options.read_bytes > 0 {
                small_receive_buffer(&stream, self.options.read_bytes);
            }
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, both)?;
            Socket::Tcp(stream)
        };
        Ok(())
    }

    /// Makes load for so long, then waits for the answers that are still on their way.
    pub fn run(&mut self, seconds: f64) -> io::Result<Measured> {
        self.measured = Measured::new();
        self.running = true;
        let begun = Instant::now();
        let stop = begun + Duration::from_secs_f64(seconds);
        let latest = stop + Duration::from_secs(5);
        let mut next_read = begun;
        let mut next_lost = begun;
        let mut due = begun;
        match self.options.drive {
            Drive::Depth(depth) => {
                (0..self.clients.len()).try_for_each(|i| self.ask(i, depth, begun))?
            }
            Drive::Short => (0..self.clients.len()).try_for_each(|i| self.connect(i))?,
            Drive::Rate(_) | Drive::Idle => {}
        }
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            if self.running && now >= stop {
                self.running = false;
                self.measured.took = now - begun;
            }
            if !self.running && (self.quiet() || now >= latest) {
                break;
            }
            if let Drive::Rate(rate) = self.options.drive {
                while self.running && due <= now {
                    let index = self.random.usize(..self.clients.len());
                    self.ask(index, 1, due)?;
                    // Exponential gaps: what independent clients make.
                    due += Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() / rate);
                }
            }
            if self.options.read_bytes > 0 && now >= next_read {
                next_read = now + Duration::from_millis(self.options.read_every_ms);
                for index in 0..self.clients.len() {
                    if self.clients[index].readable {
                        self.read(index, now)?;
                    }
                }
            }
            if self.options.udp && now >= next_lost {
                next_lost = now + LOST / 5;
                self.ask_again(now)?;
            }
            let wait = match self.options.drive {
                Drive::Rate(_) => due.saturating_duration_since(now).max(TICK),
                _ if self.options.read_bytes > 0 => {
                    next_read.saturating_duration_since(now).max(TICK)
                }
                _ => Duration::from_millis(100),
            };
            self.poll.poll(&mut events, Some(wait))?;
            let now = Instant::now();
            for event in &events {
                let index = event.token().0;
                if event.is_writable() {
                    self.writable(index, now)?;
                }
                if event.is_readable() || event.is_read_closed() {
                    self.clients[index].readable = true;
                    if self.options.read_bytes == 0 {
                        self.read(index, now)?;
                    }
                }
            }
        }
        Ok(core::mem::replace(&mut self.measured, Measured::new()))
    }

    fn quiet(&self) -> bool {
        self.clients.iter().all(|client| client.asked.is_empty())
    }

    /// Sends `count` requests in one write.
    fn ask(&mut self, index: usize, count: usize, due: Instant) -> io::Result<()> {
        self.out.clear();
        for _ in 0..count {
            self.number += 1;
            self.template.write(self.number, &mut self.out);
        }
        let client = &mut self.clients[index];
        client.asked.extend(std::iter::repeat_n(due, count));
        if !client.unsent.is_empty() {
            client.unsent.extend_from_slice(&self.out);
            return Ok(());
        }
        let sent = match &mut client.socket {
            Socket::Tcp(stream) => stream.write(&self.out),
            Socket::Udp(socket) => {
                for request in self.out.chunks(self.template.len()) {
                    let _ = socket.send(request); // lost ones are asked again
                }
                return Ok(());
            }
            Socket::None => Err(ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(n) => client.unsent.extend_from_slice(&self.out[n..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.unsent.extend_from_slice(&self.out)
            }
            Err(_) => self.broke(index)?,
        }
        Ok(())
    }

    fn writable(&mut self, index: usize, now: Instant) -> io::Result<()> {
        if self.options.drive == Drive::Short
            && self.running
            && self.clients[index].asked.is_empty()
        {
            if let Socket::Tcp(_) = self.clients[index].socket {
                return self.ask(index, 1, now);
            }
        }
        let client = &mut self.clients[index];
        if let Socket::Tcp(stream) = &mut client.socket
            && !client.unsent.is_empty()
        {
            match stream.write(&client.unsent) {
                Ok(n) => drop(client.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.broke(index)?,
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize, now: Instant) -> io::Result<()> {
        let slow = self.options.read_bytes;
        let mut answers = 0;
        loop {
            let client = &mut self.clients[index];
            let room = if slow > 0 {
                slow.min(self.buffer.len())
            } else {
                self.buffer.len()
            };
            let room = &mut self.buffer[..room];
            let read = match &mut client.socket {
                Socket::Tcp(stream) => stream.read(room),
                Socket::Udp(socket) => socket.recv(room),
                Socket::None => return Ok(()),
            };
            let n = match read {
                Ok(0) => return self.broke(index),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    client.readable = false;
                    break;
                }
                Err(_) => return self.broke(index),
            };
            self.measured.bytes += n as u64;
            answers += self.take_answers(index, n, now);
            if slow > 0 || (n < self.buffer.len() && !self.options.udp) {
                break;
            }
        }
        if answers == 0 {
            return Ok(());
        }
        match self.options.drive {
            Drive::Short => self.again(index),
            Drive::Depth(_) if self.running => self.ask(index, answers, now),
            _ => Ok(()),
        }
    }

    /// How many answers the first `n` bytes of the buffer complete.
    fn take_answers(&mut self, index: usize, n: usize, now: Instant) -> usize {
        let client = &mut self.clients[index];
        let mut answers = 0;
        let mut used = 0;
        let joined = !client.partial.is_empty();
        if joined {
            client.partial.extend_from_slice(&self.buffer[..n]);
        }
        let bytes: &[u8] = if joined {
            &client.partial
        } else {
            &self.buffer[..n]
        };
        while let Some(end) = answer_end(&bytes[used..]) {
            used += end;
            answers += 1;
            if let Some(asked) = client.asked.pop_front() {
                self.measured.answered(now.saturating_duration_since(asked));
            }
        }
        if joined {
            client.partial.drain(..used);
        } else {
            client.partial.extend_from_slice(&self.buffer[used..n]);
        }
        answers
    }

    /// The client of `Short` has its answer: it closes and comes again.
    fn again(&mut self, index: usize) -> io::Result<()> {
        self.measured.connections += 1;
        self.forget(index);
        if self.running {
            self.connect(index)
        } else {
            Ok(())
        }
    }

    fn broke(&mut self, index: usize) -> io::Result<()> {
        self.measured.broken += 1;
        self.forget(index);
        if !self.running {
            return Ok(());
        }
        self.connect(index)?;
        match self.options.drive {
            Drive::Depth(depth) => self.ask(index, depth, Instant::now()),
            _ => Ok(()),
        }
    }

    fn forget(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.socket = Socket::None;
        client.asked.clear();
        client.partial.clear();
        client.unsent.clear();
        client.readable = false;
    }

    /// Datagrams get lost.
    fn ask_again(&mut self, now: Instant) -> io::Result<()> {
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let lost = client
                .asked
                .iter()
                .filter(|asked| now.saturating_duration_since(**asked) > LOST)
                .count();
            if lost > 0 {
                client.asked.drain(..lost);
                self.measured.broken += lost as u64;
                if self.running {
                    self.ask(index, lost, now)?;
                }
            }
        }
        Ok(())
    }
}

/// A slow reader with a large receive buffer would be no slow reader for the server.
fn small_receive_buffer(stream: &TcpStream, bytes: usize) {
    let bytes = bytes as libc::c_int;
    // SAFETY: an open socket's descriptor, and a c_int with its size.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}
