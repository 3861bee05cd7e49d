//! The other side: a peer that asks and reads answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sipwire::{Close, Config, Instance, Target};

pub fn config() -> Config {
    let mut config = Config::new();
    config.set("workers", "2").unwrap();
    config.listen("tcp:127.0.0.1:0").unwrap();
    config
}

pub fn address(instance: &Instance) -> SocketAddr {
    instance.listener_addr(0).unwrap().to_std().unwrap()
}

pub fn answer(instance: &Instance, conn_id: u32, body: &[u8]) -> Result<(), Close> {
    let head = format!("SIP/2.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    instance.send(Target::conn(conn_id), &[head.as_bytes(), body], 0)?;
    Ok(())
}

pub struct Client(TcpStream);

impl Client {
    pub fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).unwrap();
        // A test that hears nothing fails instead of hanging.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Client(stream)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn ask(&mut self, body: &str) {
        let head = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP b;branch=z9hG4bK1\r\n";
        let length = body.len();
        write!(self.0, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
    }

    /// The body of the next message.
    pub fn hear(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("Content-Length: ").nth(1).unwrap().trim();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    pub fn hear_end(mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0, "more instead of the end");
    }
}
