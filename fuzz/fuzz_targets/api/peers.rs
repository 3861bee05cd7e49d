//! The other ends of the connections: clients of the instance's listener, and a server that it dials.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::ledger::{Ledger, Stream};

pub struct Peer {
    socket: TcpStream,
    stream: Stream,
    ended: bool,
}

impl Peer {
    fn new(socket: TcpStream) -> Peer {
        socket.set_nonblocking(true).expect("set_nonblocking");
        Peer {
            socket,
            stream: Stream::default(),
            ended: false,
        }
    }

    /// None: nobody listens there any more.
    pub fn connect(to: SocketAddr) -> Option<Peer> {
        TcpStream::connect_timeout(&to, Duration::from_millis(200))
            .ok()
            .map(Peer::new)
    }

    /// What does not go now is not sent: a peer may send any piece of a message.
    pub fn write(&mut self, data: &[u8]) {
        let _ = self.socket.write(data);
    }

    pub fn read(&mut self, ledger: &mut Ledger) {
        let mut buffer = [0; 16_384];
        while !self.ended {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => self.stream.take(&buffer[..n], ledger),
                Err(error) => {
                    self.ended = error.kind() != ErrorKind::WouldBlock;
                    break;
                }
            }
        }
    }

    pub fn half_close(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// A small window: the library's output has to wait.
    pub fn narrow(&mut self) {
        let bytes: libc::c_int = 2048;
        self.set(libc::SO_RCVBUF, &bytes);
    }

    /// Closes with a reset; it also leaves no TIME_WAIT behind.
    pub fn reset(self) {
        self.set(
            libc::SO_LINGER,
            &libc::linger {
                l_onoff: 1,
                l_linger: 0,
            },
        );
    }

    fn set<T>(&self, option: libc::c_int, value: &T) {
        let (value, length) = (
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        );
        let rc = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                value,
                length,
            )
        };
        assert_eq!(rc, 0);
    }
}

/// Whom the instance dials.
pub struct Server(TcpListener);

impl Server {
    pub fn new() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("set_nonblocking");
        Server(listener)
    }

    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    pub fn accept(&self) -> Option<Peer> {
        self.0.accept().ok().map(|(socket, _)| Peer::new(socket))
    }
}
