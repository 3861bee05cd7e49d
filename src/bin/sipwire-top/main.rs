//! sipwire-top: what a server that uses libsipwire does, seen from outside. It maps the instance's memory
//! read-only and makes no call that the server would notice; see docs/man/sipwire-top.1.
#![forbid(unsafe_code)]

mod args;
mod find;
mod keys;
mod look;
mod terminal;

use args::{Args, Output};
use look::Looker;
use sipwire::pure::picture::screen::{View, render};
use sipwire::pure::picture::{json, prometheus};
use sipwire::runtime::picture::Parts;
use sipwire::shm::header::LAYOUT_VERSION;
use std::io::{self, IsTerminal, Write};
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Duration;

/// Between the two looks of --once, of which the rates are.
const MOMENT_MS: u64 = 500;

fn main() -> ExitCode {
    // A panic is caught; its text would be lost in the screen.
    std::panic::set_hook(Box::new(|_| {}));
    match catch_unwind(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // Who reads us has seen enough.
        Ok(Err(Failure::Io(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Ok(Err(Failure::Io(error))) => complain(&error.to_string()),
        Ok(Err(Failure::Line(line))) => complain(&line),
        Err(_) => complain("ended by a mistake of its own, which is worth a report"),
    }
}

enum Failure {
    Line(String),
    Io(io::Error),
}
impl From<String> for Failure {
    fn from(line: String) -> Failure {
        Failure::Line(line)
    }
}
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

fn complain(line: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "sipwire-top: {line}");
    ExitCode::FAILURE
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn run() -> Result<(), Failure> {
    let args = args::parse().map_err(|error| format!("{error} (see --help)"))?;
    match args.output {
        Output::Help => return print(args::USAGE),
        Output::Version => {
            let version = env!("CARGO_PKG_VERSION");
            return print(&format!(
                "sipwire-top {version}, layout version {LAYOUT_VERSION}\n"
            ));
        }
        Output::List => {
            let places = find::all(|_| true);
            return print(&find::listing(&places));
        }
        _ => (),
    }
    let place = find::find(args.target.as_deref(), args.instance)?;
    let parts = Parts {
        connections: args.output != Output::Prometheus,
        settings: args.output == Output::Json,
    };
    let mut looker = Looker::new(&place, parts)?;
    match args.output {
        Output::Json => print(&json::render(&looker.now)),
        Output::Prometheus => print(&prometheus::render(&looker.now)),
        Output::Screen if has_terminal() => {
            let view = View {
                keys: true,
                delay_ms: args.delay_ms,
                ..view(&args, &looker)
            };
            Ok(terminal::run(&mut looker, view)?)
        }
        _ => {
            std::thread::sleep(Duration::from_millis(MOMENT_MS.min(args.delay_ms)));
            looker.look()?;
            print(&render(&looker.now, looker.rates.as_ref(), &view(&args, &looker)).text())
        }
    }
}

fn has_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
}

fn view(args: &Args, looker: &Looker) -> View {
    let there = io::stdout().is_terminal().then(crossterm::terminal::size);
    let there = there
        .and_then(Result::ok)
        .filter(|size| size.0 > 0 && size.1 > 0);
    let (columns, rows) = args.size.or(there).unwrap_or((80, 24));
    View {
        width: usize::from(columns),
        height: usize::from(rows),
        title: looker.title.clone(),
        sort: args.sort,
        filter: args.filter.clone(),
        ..View::default()
    }
}
