//! What kind of load, from the command line.

use lexopt::prelude::*;
use std::net::SocketAddr;

pub const USAGE: &str = "usage: load ADDR:PORT [--connections N] [--depth N | --rate PER_SECOND | --short | --idle] \
[--udp] [--request-bytes N] [--read-bytes N --read-every-ms N] [--seed N]";

/// What makes a client send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drive {
    /// So many requests of each client are always on their way.
    Depth(usize),
    /// So many requests a second, each on a random connection.
    Rate(f64),
    /// Each client opens a connection, asks once, and closes it; then again.
    Short,
    /// Nothing is sent.
    Idle,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub server: SocketAddr,
    pub connections: usize,
    pub drive: Drive,
    pub udp: bool,
    pub request_bytes: usize,
    /// A slow reader takes so many bytes at a time; 0: all there is.
    pub read_bytes: usize,
    pub read_every_ms: u64,
    pub seed: u64,
}

impl Options {
    pub fn from_args() -> Result<Options, lexopt::Error> {
        let mut server = None;
        let mut options = Options {
            server: SocketAddr::from(([127, 0, 0, 1], 0)),
            connections: 100,
            drive: Drive::Depth(1),
            udp: false,
            request_bytes: 600,
            read_bytes: 0,
            read_every_ms: 0,
            seed: 1,
        };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("connections") => options.connections = args.value()?.parse()?,
                Long("depth") => options.drive = Drive::Depth(args.value()?.parse()?),
                Long("rate") => options.drive = Drive::Rate(args.value()?.parse()?),
                Long("short") => options.drive = Drive::Short,
                Long("idle") => options.drive = Drive::Idle,
                Long("udp") => options.udp = true,
                Long("request-bytes") => options.request_bytes = args.value()?.parse()?,
                Long("read-bytes") => options.read_bytes = args.value()?.parse()?,
                Long("read-every-ms") => options.read_every_ms = args.value()?.parse()?,
                Long("seed") => options.seed = args.value()?.parse()?,
                Value(value) if server.is_none() => server = Some(value.parse()?),
                _ => return Err(arg.unexpected()),
            }
        }
        options.server = server.ok_or("no server given")?;
        if options.connections == 0 {
            return Err("--connections 0: there is nothing to do; use 1 or more".into());
        }
        if options.udp && options.drive == Drive::Short {
            return Err("--short opens connections; there are none with --udp".into());
        }
        Ok(options)
    }
}
