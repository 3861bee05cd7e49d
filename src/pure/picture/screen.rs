//! A picture as one screen of text: at most so many lines of at most so many characters, whatever is in
//! it. Who has a terminal gives the spans their colours; without one the text alone reads as well.

use super::conn::ConnInfo;
use super::rates::Rates;
use super::units::{bytes, count, grouped, rate, time};
use super::{Picture, Supervisor, Worker};
use core::cmp::Reverse;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    #[default]
    Plain,
    Dim,
    Bold,
    /// The title, and the heads of columns.
    Bar,
    Good,
    Warn,
    Bad,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    pub text: String,
    pub style: Style,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line(pub Vec<Span>);

impl Line {
    fn of(text: impl Into<String>, style: Style) -> Line {
        Line::default().with(text, style)
    }
    fn with(mut self, text: impl Into<String>, style: Style) -> Line {
        let text = text.into();
        self.0.push(Span { text, style });
        self
    }
    fn plain(self, text: impl Into<String>) -> Line {
        self.with(text, Style::Plain)
    }
    fn width(&self) -> usize {
        self.0.iter().map(|span| span.text.chars().count()).sum()
    }
    /// Filled up with blanks.
    fn padded(self, width: usize, style: Style) -> Line {
        let missing = width.saturating_sub(self.width());
        self.with(" ".repeat(missing), style)
    }
    fn cut(&mut self, width: usize) {
        let mut left = width;
        for span in &mut self.0 {
            let length = span.text.chars().count();
            if length > left {
                span.text = span.text.chars().take(left).collect();
            }
            left -= length.min(left);
        }
        self.0.retain(|span| !span.text.is_empty());
    }
    pub fn text(&self) -> String {
        let text: String = self.0.iter().map(|span| span.text.as_str()).collect();
        text.trim_end().to_string()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    #[default]
    Queue,
    Age,
    Traffic,
}

impl Sort {
    pub fn next(self) -> Sort {
        match self {
            Sort::Queue => Sort::Age,
            Sort::Age => Sort::Traffic,
            Sort::Traffic => Sort::Queue,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Sort::Queue => "queue",
            Sort::Age => "age",
            Sort::Traffic => "traffic",
        }
    }
    pub fn from_name(name: &str) -> Option<Sort> {
        let all = [Sort::Queue, Sort::Age, Sort::Traffic];
        all.into_iter().find(|sort| sort.name() == name)
    }
}

/// What is shown, and how much room there is.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub width: usize,
    pub height: usize,
    /// Whose picture it is.
    pub title: String,
    pub sort: Sort,
    /// The least first.
    pub reversed: bool,
    /// Connections whose addresses have this in them.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    pub paused: bool,
    pub help: bool,
    /// Connections passed over at the top.
    pub scroll: usize,
    /// Said at the end instead of the keys.
    pub notice: String,
    /// There is a keyboard.
    pub keys: bool,
    /// Time between two looks.
    pub delay_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Screen {
    pub lines: Vec<Line>,
    /// The furthest that scrolling leads.
    pub last_scroll: usize,
    /// Rows of connections: a page.
    pub rows: usize,
}

impl Screen {
    pub fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.text() + "\n");
        lines.collect()
    }
}

/// `rates`: of the time since the look before; without them there are totals only.
pub fn render(picture: &Picture, rates: Option<&Rates>, view: &View) -> Screen {
    let mut lines = vec![title(picture, view)];
    let footer = usize::from(view.keys || !view.notice.is_empty());
    let mut screen = Screen::default();
    if view.help {
        lines.extend(help());
        // What is cut off is not the keys.
        lines.truncate(view.height.saturating_sub(footer));
        lines.resize(view.height.saturating_sub(footer), Line::default());
    } else {
        lines.extend(totals(picture, rates));
        lines.extend(alerts(picture));
        lines.push(Line::default());
        lines.extend(workers(picture, rates, view.height.saturating_sub(14) / 2));
        lines.push(Line::default());
        lines.push(ends(picture, view.width));
        lines.push(blacklist(picture, view.width));
        lines.push(Line::default());
        let body = view.height.saturating_sub(footer);
        // The two heads of the list.
        screen.rows = body.saturating_sub(lines.len() + 2);
        let found = select(picture, rates, view);
        screen.last_scroll = found.len().saturating_sub(screen.rows);
        let first = view.scroll.min(screen.last_scroll);
        lines.extend(heads(picture, found.len(), first, screen.rows, view));
        let shown = found.iter().skip(first).take(screen.rows);
        lines.extend(shown.map(|conn| row(conn, rates, view.width)));
        lines.truncate(body);
        if footer > 0 {
            lines.resize(body, Line::default());
        }
    }
    if footer > 0 {
        lines.push(keys(view));
    }
    for line in &mut lines {
        line.cut(view.width);
    }
    lines.truncate(view.height);
    screen.lines = lines;
    screen
}

fn title(picture: &Picture, view: &View) -> Line {
    let supervisor = match picture.supervisor {
        Supervisor::None => "no supervisor yet".to_string(),
        Supervisor::Serves(pid) => format!("supervisor {pid}"),
        Supervisor::Gone if picture.stopping => "stopped".to_string(),
        Supervisor::Gone => "supervisor gone".to_string(),
    };
    let right = format!("{supervisor}   up {} ", time(picture.up_ms));
    let left = Line::of(format!(" sipwire  {}", view.title), Style::Bar);
    let left = if view.paused {
        left.with("  PAUSED", Style::Bar)
    } else {
        left
    };
    let room = view.width.saturating_sub(right.chars().count());
    let room = room.max(left.width() + 3);
    left.padded(room, Style::Bar).with(right, Style::Bar)
}

/// How far from its bound.
fn level(value: u64, bound: u64) -> Style {
    match value {
        _ if bound == 0 || value == 0 => Style::Plain,
        _ if value >= bound / 10 * 9 => Style::Bad,
        _ if value >= bound / 2 => Style::Warn,
        _ => Style::Bold,
    }
}

fn or_bad(value: u64) -> Style {
    if value > 0 { Style::Bad } else { Style::Plain }
}

const LEFT: usize = 48;

fn totals(picture: &Picture, rates: Option<&Rates>) -> Vec<Line> {
    let stats = &picture.stats;
    let per_second = |of: fn(&Rates) -> f64| match rates {
        Some(rates) => format!("{:>6}/s", rate(of(rates))),
        None => " ".repeat(8),
    };
    let volume = |of: fn(&Rates) -> f64| match rates {
        Some(rates) => format!("{:>7}/s", bytes(of(rates).max(0.0) as u64)),
        None => " ".repeat(9),
    };
    let label = |name: &str| Line::of(format!(" {name:<14}"), Style::Dim);
    let and = |line: Line, name: &str| {
        line.padded(LEFT, Style::Plain)
            .with(format!("{name:<10}"), Style::Dim)
    };
    let open = label("Connections")
        .with(
            format!("{:>7}", grouped(stats.connections)),
            level(stats.connections, stats.slots_total),
        )
        .plain(format!(
            " of {:<8} {} idle",
            grouped(stats.slots_total),
            grouped(stats.connections_idle)
        ));
    let received = label("Messages in")
        .with(format!("{:>7}", count(stats.messages_in)), Style::Bold)
        .plain(per_second(|rates| rates.messages_in))
        .plain(volume(|rates| rates.bytes_in));
    let sent = label("Messages out")
        .with(format!("{:>7}", count(stats.messages_out)), Style::Bold)
        .plain(per_second(|rates| rates.messages_out))
        .plain(volume(|rates| rates.bytes_out));
    let queued = label("Queued")
        .with(
            format!("{:>7}", bytes(stats.queued_bytes)),
            level(stats.queued_bytes, picture.queued_max),
        )
        .plain(format!(" of {:<7} partial ", bytes(picture.queued_max)))
        .with(
            bytes(stats.partial_bytes),
            level(stats.partial_bytes, picture.partial_max),
        );
    let refused = stats.refused();
    let not_sent = stats.failures_reported.saturating_add(stats.sends_refused);
    vec![
        and(open, "Accepted")
            .plain(format!("{:>6}", count(stats.accepted)))
            .plain(per_second(|rates| rates.accepted)),
        and(received, "Closed")
            .plain(format!("{:>6}", count(stats.closed)))
            .plain(per_second(|rates| rates.closed)),
        and(sent, "Dialled")
            .plain(format!("{:>6}", count(stats.dialled)))
            .with(
                format!("{:>6} failed", count(stats.connect_failed)),
                or_bad(stats.connect_failed),
            ),
        and(queued, "Refused")
            .with(format!("{:>6}", count(refused)), or_bad(refused))
            .with(format!("{:>6} not sent", count(not_sent)), or_bad(not_sent)),
    ]
}

/// What somebody should know at once; no line when there is nothing.
fn alerts(picture: &Picture) -> Option<Line> {
    let stats = &picture.stats;
    let mut line = Line::of(" !", Style::Bad);
    let mut say = |there: bool, text: String, style: Style| {
        if there {
            line.0.push(Span {
                text: format!(" {text} "),
                style,
            });
        }
    };
    // Who has been stopped is not missing.
    let stopping = picture.stopping;
    say(stopping, "stopping".to_string(), Style::Warn);
    let gone = picture.supervisor == Supervisor::Gone && !stopping;
    say(gone, "SUPERVISOR GONE".to_string(), Style::Bad);
    let degraded = stats.degraded != 0;
    say(degraded, "SHARED MEMORY DAMAGED".to_string(), Style::Bad);
    let paused = stats.accept_paused != 0;
    say(
        paused,
        "accept paused: no descriptors".to_string(),
        Style::Bad,
    );
    let stalled = picture.workers.iter().filter(|worker| worker.stalled);
    let stalled: Vec<String> = stalled.map(|worker| worker.number.to_string()).collect();
    let text = format!("stalled: {}", stalled.join(" "));
    say(!stalled.is_empty(), text, Style::Warn);
    let absent = picture.workers.iter().filter(|w| w.pid == 0).count();
    say(
        absent > 0 && !stopping,
        format!("{absent} workers absent"),
        Style::Warn,
    );
    say(stats.draining != 0, "draining".to_string(), Style::Warn);
    let died = stats.participants_died;
    say(died > 0, format!("{died} participants died"), Style::Warn);
    let lost = stats.log_dropped;
    say(lost > 0, format!("{lost} log records dropped"), Style::Dim);
    (line.0.len() > 1).then_some(line)
}

fn workers(picture: &Picture, rates: Option<&Rates>, room: usize) -> Vec<Line> {
    let head = format!(
        " {:>6} {:>8}  {:<8} {:>6} {:>7} {:>8} {:>9} {:>9}",
        "WORKER", "PID", "STATE", "HELD", "BUSY", "MSG/S", "MESSAGES", "HANDED"
    );
    let mut lines = vec![Line::of(head, Style::Dim)];
    let room = room.max(2);
    let all = picture.workers.len();
    let shown = if all > room { room - 1 } else { all };
    for (i, worker) in picture.workers.iter().take(shown).enumerate() {
        let messages = rates.and_then(|rates| rates.workers.get(i));
        lines.push(worker_row(worker, messages.copied()));
    }
    let rest = picture.workers.get(shown..).unwrap_or_default();
    if !rest.is_empty() {
        let held = rest
            .iter()
            .fold(0u64, |sum, worker| sum.saturating_add(worker.held));
        let busy = rest.iter().filter(|worker| worker.busy_ms > 0).count();
        let text = format!(
            " and {} more, {busy} of them busy, that hold {}",
            rest.len(),
            grouped(held)
        );
        lines.push(Line::of(text, Style::Dim));
    }
    lines
}

fn worker_row(worker: &Worker, messages: Option<f64>) -> Line {
    let style = match worker.state() {
        "absent" => Style::Dim,
        "stalled" => Style::Bad,
        "busy" => Style::Good,
        _ => Style::Plain,
    };
    let pid = match worker.pid {
        0 => "-".to_string(),
        pid => pid.to_string(),
    };
    Line::default()
        .plain(format!(" {:>6} {pid:>8}  ", worker.number))
        .with(format!("{:<8}", worker.state()), style)
        .plain(format!(
            " {:>6} {:>7} {:>8} {:>9} {:>9}",
            grouped(worker.held),
            time(worker.busy_ms),
            messages.map_or_else(|| "-".to_string(), rate),
            count(worker.messages),
            count(worker.lends)
        ))
}

/// As many of the parts as there is room for.
fn listing(label: &str, parts: &[String], width: usize, nothing: &str) -> Line {
    let mut line = Line::of(format!(" {label:<14}"), Style::Dim);
    if parts.is_empty() {
        return line.with(nothing, Style::Dim);
    }
    for (i, part) in parts.iter().enumerate() {
        let part = if i > 0 {
            format!("  {part}")
        } else {
            part.clone()
        };
        let last = i + 1 == parts.len();
        let room = width.saturating_sub(line.width() + if last { 0 } else { 4 });
        if i > 0 && part.chars().count() > room {
            return line.with(" ...", Style::Dim);
        }
        line = line.plain(part);
    }
    line
}

fn ends(picture: &Picture, width: usize) -> Line {
    let parts: Vec<String> = picture
        .stats
        .frequent_reasons()
        .into_iter()
        .map(|(reason, number)| format!("{} {}", reason.text(), count(number)))
        .collect();
    listing("Closed for", &parts, width, "nothing yet")
}

fn blacklist(picture: &Picture, width: usize) -> Line {
    let mut parts: Vec<String> = picture
        .blacklist
        .iter()
        .map(|listed| {
            let left = time(listed.remaining_ms);
            format!("{} {} {left}", listed.addr, listed.reason.text())
        })
        .collect();
    if parts.len() > 1 {
        parts.insert(0, format!("{}:", parts.len()));
    }
    listing("Blacklist", &parts, width, "empty")
}

fn traffic(conn: &ConnInfo, rates: Option<&Rates>) -> f64 {
    match rates {
        Some(rates) => rates.connections.get(&conn.conn_id).copied().unwrap_or(0.0),
        None => conn.bytes() as f64,
    }
}

/// The connections to show, in their order.
fn select<'a>(picture: &'a Picture, rates: Option<&Rates>, view: &View) -> Vec<&'a ConnInfo> {
    let wanted = view.filter.to_ascii_lowercase();
    let matches = |conn: &&ConnInfo| {
        wanted.is_empty()
            || conn.remote.to_string().contains(&wanted)
            || conn.local.to_string().contains(&wanted)
    };
    let mut found: Vec<&ConnInfo> = picture.connections.iter().filter(matches).collect();
    let moved = |conn: &ConnInfo| traffic(conn, rates).max(0.0) as u64;
    found.sort_by_cached_key(|conn| {
        let key = match view.sort {
            Sort::Queue => (conn.queued_bytes, conn.partial_bytes, moved(conn)),
            Sort::Age => (conn.age_ms, 0, 0),
            Sort::Traffic => (moved(conn), conn.bytes(), 0),
        };
        // Of equals always the same one comes first: rows do not jump.
        (Reverse(key), conn.conn_id)
    });
    if view.reversed {
        found.reverse();
    }
    found
}

/// A wide screen has the local address too.
const WIDE: usize = 110;
const LOCAL: usize = 22;
/// All columns but the addresses.
const COLUMNS: usize = 57;

fn remote_width(width: usize) -> usize {
    let local = if width >= WIDE { LOCAL + 1 } else { 0 };
    width.saturating_sub(COLUMNS + local + 1).clamp(15, 47)
}

fn heads(picture: &Picture, found: usize, first: usize, rows: usize, view: &View) -> [Line; 2] {
    let order = if view.reversed { ", least first" } else { "" };
    let mut line =
        Line::of(" Connections", Style::Bold).plain(format!(" by {}{order}", view.sort.name()));
    if !view.filter.is_empty() {
        line = line.with(
            format!("   with \"{}\": {}", view.filter, grouped(found as u64)),
            Style::Warn,
        );
    }
    let last = (first + rows).min(found);
    if found > rows && rows > 0 {
        line = line.with(
            format!("   {} to {} of {}", first + 1, last, grouped(found as u64)),
            Style::Dim,
        );
    } else if found == 0 {
        let text = if picture.connections.is_empty() {
            "   none"
        } else {
            "   none of them"
        };
        line = line.with(text, Style::Dim);
    }
    let remote = remote_width(view.width);
    let local = if view.width >= WIDE {
        format!(" {:<LOCAL$}", "LOCAL")
    } else {
        String::new()
    };
    let mark = |sort: Sort, name: &str| {
        let sign = if view.sort == sort { "*" } else { "" };
        format!("{sign}{name}")
    };
    let names = format!(
        " {:<remote$}{local} {:<3} {:<11} {:>3} {:>6} {:>6} {:>7} {:>6} {:>7}",
        "REMOTE",
        "DIR",
        "STATE",
        "WRK",
        mark(Sort::Age, "AGE"),
        "IDLE",
        mark(Sort::Queue, "QUEUED"),
        "MSGS",
        mark(Sort::Traffic, "BYTES"),
    );
    [
        line,
        Line::of(names, Style::Bar).padded(view.width, Style::Bar),
    ]
}

/// An address that is too long loses its middle: its port says most.
fn squeezed(text: String, width: usize) -> String {
    let length = text.chars().count();
    if length <= width || width < 4 {
        return text.chars().take(width).collect();
    }
    let tail = (width - 1) * 2 / 3;
    let head = width - 1 - tail;
    let start = text.chars().take(head);
    let end = text.chars().skip(length - tail);
    start.chain(['~']).chain(end).collect()
}

fn row(conn: &ConnInfo, rates: Option<&Rates>, width: usize) -> Line {
    let remote = remote_width(width);
    let mut line = Line::of(
        format!(" {:<remote$}", squeezed(conn.remote.to_string(), remote)),
        Style::Plain,
    );
    if width >= WIDE {
        let local = squeezed(conn.local.to_string(), LOCAL);
        line = line.with(format!(" {local:<LOCAL$}"), Style::Dim);
    }
    let state = conn.state();
    let style = match state {
        "idle" | "free" => Style::Dim,
        "reading" => Style::Good,
        "queueing" | "slowed" | "paused" => Style::Warn,
        "closing" | "ending" | "half-closed" => Style::Bad,
        _ => Style::Plain,
    };
    let worker = match conn.worker {
        ..0 => "-".to_string(),
        number => number.to_string(),
    };
    let queued = match conn.queued_bytes {
        0 => Style::Dim,
        _ => Style::Warn,
    };
    let moved = bytes(traffic(conn, rates).max(0.0) as u64);
    let unit = if rates.is_some() { "/s" } else { "" };
    line.with(
        format!(" {:<3}", if conn.outbound { "out" } else { "in" }),
        Style::Dim,
    )
    .with(format!(" {state:<11}"), style)
    .plain(format!(
        " {worker:>3} {:>6} {:>6}",
        time(conn.age_ms),
        time(conn.idle_ms)
    ))
    .with(format!(" {:>7}", bytes(conn.queued_bytes)), queued)
    .plain(format!(
        " {:>6} {:>7}",
        count(conn.messages_in.saturating_add(conn.messages_out)),
        format!("{moved}{unit}")
    ))
}

fn keys(view: &View) -> Line {
    if view.typing {
        return Line::of(" filter by address: ", Style::Bold)
            .plain(format!("{}_", view.filter))
            .with("   Enter keeps it, Esc drops it", Style::Dim);
    }
    if !view.notice.is_empty() {
        return Line::of(format!(" {}", view.notice), Style::Bad);
    }
    let mut line = Line::default();
    let every = format!("every {}", time(view.delay_ms));
    for (key, does) in [
        ("q", "quit"),
        ("s", "sort"),
        ("r", "reverse"),
        ("/", "filter"),
        ("+-", every.as_str()),
        ("p", if view.paused { "go on" } else { "pause" }),
        ("?", if view.help { "back" } else { "help" }),
    ] {
        line = line
            .with(format!(" {key}"), Style::Bold)
            .with(format!(" {does} "), Style::Dim);
    }
    line
}

fn help() -> Vec<Line> {
    let text = "
 s         sort connections by queue, age, traffic; the column has a *
 r         the least first
 /         show connections whose address has what you type; Esc drops it
 up, down  move through the connections; also j, k, PgUp, PgDn, Home, End
 p, space  stop looking, and go on
 + -       look more often, less often
 q         quit, also Esc and Ctrl-C; Ctrl-Z suspends

 HELD      connections that a worker reads now
 BUSY      how long it has been in the callback that runs
 HANDED    connections it was given, ever
 STATE     idle: with the supervisor   held, reading: with a worker
           queueing: output waits      slowed, paused: not read
 QUEUED    output that waits in the library, without what the kernel holds
 BYTES     both ways, by the second
 Refused   connections not taken: limits, networks, rates, PROXY
 not sent  messages refused at once, or reported by on_send_failed";
    text.lines()
        .map(|line| Line::of(line, Style::Plain))
        .collect()
}

#[cfg(test)]
mod tests;
