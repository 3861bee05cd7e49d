//! libsipwire: the TCP transport of a SIP server. Its hosts are written in C, `include/sipwire.h`; what is
//! here is the same for a host written in Rust, in the same words. The documentation is in the C header and
//! `docs/`; where to begin is [`Config`], [`Callbacks`] and [`Instance`].
//!
//! A server that answers everything 200:
//!
//! ```
//! use sipwire::{Callbacks, Config, Instance, Target};
//! # use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::new();
//! config.set("workers", "2")?;
//! config.listen("tcp:127.0.0.1:0")?;
//! let callbacks = Callbacks::new(|instance, message| {
//!     let head = message.header().split_inclusive(|byte| *byte == b'\n');
//!     let copied = [b"Via:".as_slice(), b"From:", b"To:", b"Call-ID:", b"CSeq:"];
//!     let mut answer = vec![b"SIP/2.0 200 OK\r\n".as_slice()];
//!     answer.extend(head.filter(|line| copied.iter().any(|name| line.starts_with(name))));
//!     answer.push(b"Content-Length: 0\r\n\r\n");
//!     instance.send(Target::conn(message.conn_id), &answer, 0)?; // an error closes the connection
//!     Ok(())
//! });
//! let instance = Instance::new(&config, callbacks)?;
//! instance.start()?;
//! # let address = instance.listener_addr(0)?.to_std().ok_or("no address")?;
//! # let mut client = std::net::TcpStream::connect(address)?;
//! # let via = "Via: SIP/2.0/TCP b;branch=z9hG4bK1\r\n";
//! # write!(client, "OPTIONS sip:a SIP/2.0\r\n{via}Content-Length: 0\r\n\r\n")?;
//! # let answer = format!("SIP/2.0 200 OK\r\n{via}Content-Length: 0\r\n\r\n");
//! # let mut heard = vec![0; answer.len()];
//! # client.read_exact(&mut heard)?;
//! # assert_eq!(heard, answer.as_bytes());
//! // until it is to end
//! instance.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! With processes the same instance is made before the fork; then one child calls
//! [`Instance::run_supervisor`] and others [`Instance::run_worker`]. An event loop of the host's drives
//! [`Instance::supervisor_loop`] and [`Instance::worker_loop`].
//!
//! The modules are floors; a lower one never names a higher one (a test enforces it):
//! `pure` decides, `sys` performs, `shm` and `table` keep what participants share, `roles` are what
//! participants do, `runtime` puts an instance together, `ffi` is its C face and `face` its Rust face. They are
//! public for the benches, the fuzz targets and sipwire-top alone, and change without notice.

// Hidden from the reader, and not from the lint for what has no documentation: hence only with cfg(doc).
#[cfg_attr(doc, doc(hidden))]
pub mod pure;
#[cfg_attr(doc, doc(hidden))]
pub mod sync;
#[cfg_attr(doc, doc(hidden))]
pub mod sys;

#[cfg_attr(doc, doc(hidden))]
pub mod shm;
#[cfg_attr(doc, doc(hidden))]
pub mod table;

#[cfg_attr(doc, doc(hidden))]
pub mod roles;
#[cfg_attr(doc, doc(hidden))]
pub mod runtime;

#[cfg_attr(doc, doc(hidden))]
pub mod ffi;

mod face;

pub use face::*;

#[cfg(all(test, any(loom, shuttle)))]
mod models;
