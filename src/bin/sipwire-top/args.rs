//! The command line.

use lexopt::prelude::*;
use sipwire::pure::picture::screen::Sort;

pub const USAGE: &str = "\
usage: sipwire-top [OPTION]... [PID | NAME]

Shows what a server that uses libsipwire does, without asking it: its shared memory is mapped
read-only. Without PID or NAME: the one instance that there is.

  -1, --once             one screen of text, also what is shown without a terminal
      --json             everything as one JSON object
      --prometheus       statistics in Prometheus' text format
  -l, --list             instances of this machine that may be looked into
  -n, --instance N       the Nth of several in one process
  -d, --delay SECONDS    time between looks (1; 0.1 to 60)
  -s, --sort ORDER       of connections: queue, age or traffic
  -f, --filter TEXT      connections whose address has this in it
      --size COLxROWS    of --once (80x24 without a terminal)
  -h, --help
  -V, --version

Keys: q quit, s sort, r reverse, / filter, p pause, ? help. Manual: sipwire-top(1).
";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Interactive, if there is a terminal.
    Screen,
    Once,
    Json,
    Prometheus,
    List,
    Help,
    Version,
}

#[derive(Debug)]
pub struct Args {
    pub output: Output,
    pub target: Option<String>,
    pub instance: Option<usize>,
    pub delay_ms: u64,
    pub sort: Sort,
    pub filter: String,
    pub size: Option<(u16, u16)>,
}

/// The error is one line.
pub fn parse() -> Result<Args, String> {
    let mut args = Args {
        output: Output::Screen,
        target: None,
        instance: None,
        delay_ms: 1_000,
        sort: Sort::default(),
        filter: String::new(),
        size: None,
    };
    read(&mut args, lexopt::Parser::from_env()).map_err(|error| error.to_string())?;
    Ok(args)
}

fn read(args: &mut Args, mut parser: lexopt::Parser) -> Result<(), lexopt::Error> {
    while let Some(arg) = parser.next()? {
        match arg {
            Short('1') | Long("once") => args.output = Output::Once,
            Long("json") => args.output = Output::Json,
            Long("prometheus") => args.output = Output::Prometheus,
            Short('l') | Long("list") => args.output = Output::List,
            Short('h') | Long("help") => args.output = Output::Help,
            Short('V') | Long("version") => args.output = Output::Version,
            Short('n') | Long("instance") => args.instance = Some(parser.value()?.parse()?),
            Short('d') | Long("delay") => {
                let seconds: f64 = parser.value()?.parse()?;
                if !(0.1..=60.0).contains(&seconds) {
                    return Err("--delay: 0.1 to 60 seconds".into());
                }
                args.delay_ms = (seconds * 1_000.0) as u64;
            }
            Short('s') | Long("sort") => {
                let name = parser.value()?.string()?;
                args.sort = Sort::from_name(&name).ok_or("--sort: queue, age or traffic")?;
            }
            Short('f') | Long("filter") => args.filter = parser.value()?.string()?,
            Long("size") => {
                let size = parser.value()?.string()?;
                args.size = Some(size_of(&size).ok_or("--size: columns x rows, say 120x40")?);
            }
            Value(target) if args.target.is_none() => args.target = Some(target.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(())
}

fn size_of(text: &str) -> Option<(u16, u16)> {
    let (columns, rows) = text.split_once('x')?;
    let both = (columns.parse().ok()?, rows.parse().ok()?);
    (both.0 > 0 && both.1 > 0).then_some(both)
}
