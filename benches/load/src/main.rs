//! load: many SIP clients in one thread, to measure a server with.
//!
//! It opens the connections, prints `ready`, and then follows the lines of its standard input:
//! `run SECONDS` makes load and prints one line of JSON; the end of the input closes all. What runs
//! between two lines is the driver's business: it reads the server's CPU time there.
//!
//! Latency is from when a request should have left (a rate does not wait for a slow server) to the
//! last byte of its answer.

mod client;
mod options;
mod pace;
mod request;

use client::Clients;
use options::Options;
use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("load: {error}\n{}", options::USAGE);
            std::process::exit(2);
        }
    };
    let mut clients = Clients::open(&options)?;
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Some(seconds) = line.strip_prefix("run ").and_then(|s| s.parse().ok()) else {
            eprintln!("load: not a command: {line}; use \"run SECONDS\"");
            std::process::exit(2);
        };
        say(&clients.run(seconds)?.to_json())?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
