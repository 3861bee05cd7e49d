//! The terminal: as it was when we end, however we end.

use crate::keys::{self, Key};
use crate::look::Looker;
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::{cursor, execute, queue, terminal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::raise;
use sipwire::pure::picture::screen::{Line, Screen, Style, View, render};
use sipwire::sys::clock::monotonic_ms;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Of a terminal that does not know its size, as some have none at first.
const UNKNOWN_SIZE: (u16, u16) = (80, 24);

/// While it lives the terminal is ours.
struct Taken;

impl Taken {
    fn new() -> io::Result<Taken> {
        terminal::enable_raw_mode()?;
        let taken = Taken;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Where it is gone there is nothing to set right.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

enum Event {
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// A signal, or the terminal is gone.
    Quit,
}

/// Keys and signals, each from a thread that ends with us.
fn events() -> io::Result<Receiver<Event>> {
    let (sender, events) = mpsc::channel();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH])?;
    let other = sender.clone();
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGWINCH => Event::Resized,
                _ => Event::Quit,
            };
            if other.send(event).is_err() {
                return;
            }
        }
    })?;
    thread::Builder::new().spawn(move || {
        let mut bytes = [0; 256];
        loop {
            let length = match io::stdin().read(&mut bytes) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => {
                    let _ = sender.send(Event::Quit);
                    return;
                }
            };
            for key in keys::parse(bytes.get(..length).unwrap_or_default()) {
                if sender.send(Event::Key(key)).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(events)
}

fn size() -> io::Result<(u16, u16)> {
    let size = terminal::window_size()?;
    let known = size.columns > 0 && size.rows > 0;
    Ok(if known {
        (size.columns, size.rows)
    } else {
        UNKNOWN_SIZE
    })
}

pub fn run(looker: &mut Looker, mut view: View) -> io::Result<()> {
    let events = events()?;
    let mut taken = Taken::new()?;
    let mut painter = Painter::default();
    // The first rates after a moment already.
    let mut due_ms = monotonic_ms() + view.delay_ms.min(500);
    loop {
        let size = size()?;
        (view.width, view.height) = (usize::from(size.0), usize::from(size.1));
        view.title.clone_from(&looker.title);
        let screen = render(&looker.now, looker.rates.as_ref(), &view);
        // Further than the end is no place to come back from.
        view.scroll = view.scroll.min(screen.last_scroll);
        painter.paint(&screen, size)?;
        // One event, and all that wait behind it, then one look at the screen.
        let left_ms = due_ms.saturating_sub(monotonic_ms());
        let mut next = match events.recv_timeout(Duration::from_millis(left_ms)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        while let Some(event) = next {
            match event {
                Event::Quit => return Ok(()),
                Event::Resized => painter.forget(),
                Event::Key(Key::Control('z')) => {
                    drop(taken);
                    // Nothing happens where no shell could wake us again.
                    raise(SIGTSTP)?;
                    taken = Taken::new()?;
                    painter.forget();
                }
                Event::Key(key) => {
                    if !press(key, &mut view, &screen) {
                        return Ok(());
                    }
                }
            }
            next = events.try_recv().ok();
        }
        let now_ms = monotonic_ms();
        if now_ms >= due_ms {
            due_ms = now_ms + view.delay_ms;
            if !view.paused {
                view.notice = match looker.look() {
                    Err(line) => line,
                    Ok(()) if looker.has_ended() => {
                        "the process has ended: this is what it left (q quits)".to_string()
                    }
                    Ok(()) => String::new(),
                };
            }
        }
    }
}

/// False: it is the end.
fn press(key: Key, view: &mut View, screen: &Screen) -> bool {
    if let Key::Control('c' | 'd') = key {
        return false;
    }
    if view.typing {
        match key {
            Key::Enter => view.typing = false,
            Key::Esc => (view.typing, view.filter) = (false, String::new()),
            Key::Backspace => drop(view.filter.pop()),
            Key::Control('u') => view.filter.clear(),
            Key::Char(letter) if letter != ' ' && view.filter.len() < 60 => {
                view.filter.push(letter);
            }
            _ => (),
        }
        view.scroll = 0;
        return true;
    }
    let page = screen.rows.max(1);
    match key {
        Key::Char('q') => return false,
        Key::Esc if view.help => view.help = false,
        Key::Esc if !view.filter.is_empty() => view.filter.clear(),
        Key::Esc => return false,
        Key::Char('?' | 'h') | Key::Help => view.help = !view.help,
        Key::Char('s') => (view.sort, view.scroll) = (view.sort.next(), 0),
        Key::Char('r') => (view.reversed, view.scroll) = (!view.reversed, 0),
        Key::Char('/') => (view.typing, view.help) = (true, false),
        Key::Char('p' | ' ') => view.paused = !view.paused,
        Key::Char('+') => view.delay_ms = (view.delay_ms / 2).max(100),
        Key::Char('-') => view.delay_ms = (view.delay_ms * 2).min(60_000),
        Key::Up | Key::Char('k') => view.scroll = view.scroll.saturating_sub(1),
        Key::Down | Key::Char('j') => view.scroll = view.scroll.saturating_add(1),
        Key::PageUp => view.scroll = view.scroll.saturating_sub(page),
        Key::PageDown => view.scroll = view.scroll.saturating_add(page),
        Key::Home => view.scroll = 0,
        Key::End => view.scroll = screen.last_scroll,
        _ => (),
    }
    true
}

/// Writes what has changed since the last time, in one go: nothing flickers, and a slow line carries little.
#[derive(Default)]
struct Painter {
    size: (u16, u16),
    shown: Vec<Line>,
}

impl Painter {
    fn forget(&mut self) {
        self.size = (0, 0);
    }

    fn paint(&mut self, screen: &Screen, size: (u16, u16)) -> io::Result<()> {
        let mut out = Vec::new();
        queue!(out, terminal::BeginSynchronizedUpdate)?;
        if self.size != size {
            queue!(out, terminal::Clear(terminal::ClearType::All))?;
            self.shown.clear();
            self.size = size;
        }
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let nothing = Line::default();
        let mut changed = false;
        for row in 0..usize::from(size.1) {
            let line = screen.lines.get(row).unwrap_or(&nothing);
            if self.shown.get(row) == Some(line) {
                continue;
            }
            changed = true;
            queue!(out, cursor::MoveTo(0, row as u16))?;
            for span in &line.0 {
                dress(&mut out, span.style, colours)?;
                queue!(out, Print(&span.text), SetAttribute(Attribute::Reset))?;
            }
            // In the last column the cursor stands on what is to stay.
            let full: usize = line.0.iter().map(|span| span.text.chars().count()).sum();
            if full < usize::from(size.0) {
                queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
            }
        }
        if !changed {
            return Ok(());
        }
        self.shown = screen.lines.clone();
        self.shown.resize(usize::from(size.1), nothing);
        queue!(out, terminal::EndSynchronizedUpdate)?;
        let mut stdout = io::stdout();
        stdout.write_all(&out)?;
        stdout.flush()
    }
}

fn dress(out: &mut Vec<u8>, style: Style, colours: bool) -> io::Result<()> {
    let (attribute, colour) = match style {
        Style::Plain => return Ok(()),
        Style::Dim => (Some(Attribute::Dim), None),
        Style::Bold => (Some(Attribute::Bold), None),
        Style::Bar => (Some(Attribute::Reverse), None),
        Style::Good => (None, Some(Color::Green)),
        Style::Warn => (Some(Attribute::Bold), Some(Color::Yellow)),
        Style::Bad => (Some(Attribute::Bold), Some(Color::Red)),
    };
    if let Some(attribute) = attribute {
        queue!(out, SetAttribute(attribute))?;
    }
    match colour {
        Some(colour) if colours => queue!(out, SetForegroundColor(colour)),
        _ => Ok(()),
    }
}
