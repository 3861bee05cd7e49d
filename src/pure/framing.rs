//! Finds SIP messages and keep-alive pings in a TCP byte stream (RFC 3261 18.3, RFC 5626 4.4.1).
//!
//! A [`Framer`] is one connection's place in its stream. It is a true streaming machine: it never
//! looks at a byte twice and needs no earlier byte, so a connection can be parked in the middle of
//! a message as five words and go on in another process. Any split of a stream gives the same
//! messages, pings and errors at the same bytes.
//!
//! Invariants: a framer that reported `Bad` reports it for ever, because a byte stream whose
//! message boundary is lost cannot be trusted again; between messages nothing is held but up to
//! three bytes of a ping and their time. Only the header `Content-Length` of the message itself
//! frames: neither a folded line that looks like one nor a second, different one does, since a
//! message that the framer and the host's parser delimit differently smuggles a request.
//!
//! Called by the worker that owns the connection's read side. Whether headers make sense is the
//! host's parser's business; here only the first line and `Content-Length` are judged.

mod content_length;
mod start_line;
mod words;

#[cfg(test)]
mod tests;

use start_line::START_LINE_MAX_BYTES;
pub(super) use start_line::{is_token, is_version};

/// What may come in; read at every call, so that a live setting reaches messages under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Header block and body together.
    pub max_message_bytes: u32,
    /// A message without `Content-Length` ends at its empty line instead of being an error.
    pub accept_no_content_length: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The first line is no SIP request or status line.
    NotSip,
    LengthMissing,
    /// A `Content-Length` that is no plain number of at most 32 bits.
    LengthInvalid,
    /// Two values of `Content-Length` that differ.
    LengthConflict,
    /// Header block and announced body pass the limit.
    TooLarge,
    /// The header block alone passes the limit.
    HeaderTooLarge,
}

/// Offsets are relative to the input of the call. `start` is 0 when the message began in an
/// earlier input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// All input is consumed. From `start` on it belongs to the unfinished message; `start` is the
    /// input's length when there is none.
    More { start: usize },
    /// `start..end` is the last part of a message, or all of it. The two lengths count the whole
    /// message with its earlier parts; the empty line belongs to the header.
    Message {
        start: usize,
        end: usize,
        header_length: u32,
        body_length: u32,
    },
    /// A double CRLF between messages ended at `end`: it is owed one CRLF.
    Ping { end: usize },
    /// What is at `end` shows that the CRLF before it is no part of a ping: a pong, if one is awaited.
    /// A CRLF that is the last of the input may still become a ping, see `take_crlf`.
    Crlf { end: usize },
    /// The stream is lost; `end` bytes of input were consumed. With `header_length` the header
    /// block ends exactly there and is good enough to build an answer from.
    Bad {
        start: usize,
        end: usize,
        error: FrameError,
        header_length: Option<u32>,
    },
}

/// Older parts of a ping are forgotten: a peer's answers to our pings are lone CRLFs, and two of
/// them minutes apart are no ping (RFC 5626 4.4.1). A ping that TCP split arrives well within it.
const RESIDUE_MAX_MS: u32 = 1000;

const PING: &[u8; 4] = b"\r\n\r\n";
/// Bytes of a ping that are a whole CRLF.
const CRLF: u8 = 2;

const NEXT_LINE: Phase = Phase::LineStart {
    value: Value::Foreign,
};

/// Progress of one connection's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framer {
    phase: Phase,
    /// Bytes of this message's header block so far, its empty line included.
    header_bytes: u32,
    /// The value all `Content-Length` headers so far agree on.
    length: Option<u32>,
    fault: LengthFault,
    /// In a `Content-Length` value: the number so far. In the body: the bytes still to come.
    number: u32,
    /// When the first byte of a ping's residue came.
    residue_ms: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Between messages, after `residue` bytes (0 to 3) of a ping.
    Between {
        residue: u8,
    },
    /// In the first word, equal to `matched` bytes of `SIP/2.0 ` so far, or a method.
    FirstWord {
        matched: u8,
    },
    StatusLine,
    /// Behind the method; `matched` bytes of ` SIP/2.0` are the line's end so far.
    RequestLine {
        matched: u8,
    },
    /// At the first byte of a line; a folded one continues `value`.
    LineStart {
        value: Value,
    },
    /// After a CR that began a line: LF makes it the empty line.
    EmptyLine,
    /// In a header name equal to `matched` bytes of `content-length` so far.
    Name {
        matched: u8,
    },
    /// Behind `Content-Length` or `l`, before its colon.
    Colon,
    InValue {
        value: Value,
    },
    /// After a CR in the value, which only LF may follow.
    ValueEnd {
        value: Value,
    },
    /// In a line whose rest does not matter.
    OtherLine,
    Body,
    Lost {
        error: FrameError,
        answerable: bool,
    },
}

/// How far the value of a `Content-Length` header is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    /// The header is another one.
    Foreign,
    Blank,
    Digits,
    /// Digits, then a blank or a line end: another digit would be a second number.
    Done,
}

/// Errors of `Content-Length` wait for the end of the header block, so that they can be answered.
/// The order is precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum LengthFault {
    None,
    Conflict,
    Invalid,
}

/// What a scan of a part of the header block came to.
enum Scan {
    /// The part is used up.
    Open,
    Complete,
    NotSip,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::at(Phase::Between { residue: 0 })
    }
}

impl Framer {
    /// At least one byte of a message was consumed and the message is not complete.
    pub fn in_message(&self) -> bool {
        !matches!(self.phase, Phase::Between { .. } | Phase::Lost { .. })
    }

    /// Length of the header block of a message whose body is under way: what there is to answer from
    /// when the stream ends in it.
    pub fn header_before_body(&self) -> Option<u32> {
        (self.phase == Phase::Body).then_some(self.header_bytes)
    }

    /// Before input in which a pong is awaited: a CRLF that came before is no part of a ping any more
    /// (whoever pings once more sends four bytes at once), and half a pong does not grow old.
    pub fn await_pong(&mut self, now_ms: u32) {
        match self.phase {
            Phase::Between { residue: CRLF } => *self = Framer::default(),
            Phase::Between { residue: 1 } => self.residue_ms = now_ms,
            _ => {}
        }
    }

    /// All input there is was consumed and a pong is awaited: a single CRLF at its end is the pong and
    /// not half a ping. Two are a ping all the same, so that the peer's own pings are answered.
    pub fn take_crlf(&mut self) -> bool {
        let taken = matches!(self.phase, Phase::Between { residue: CRLF });
        if taken {
            *self = Framer::default();
        }
        taken
    }

    /// Consumes input up to the next event. After `Message`, `Ping` and `Crlf` the caller feeds the rest.
    pub fn feed(&mut self, input: &[u8], now_ms: u32, limits: &Limits) -> Step {
        let start = match self.phase {
            Phase::Lost { error, answerable } => {
                return Step::Bad {
                    start: 0,
                    end: 0,
                    error,
                    header_length: answerable.then_some(self.header_bytes),
                };
            }
            Phase::Between { residue } => match self.between(residue, input, now_ms) {
                Ok(message_start) => message_start,
                Err(step) => return step,
            },
            _ => 0,
        };
        let body_start = match self.phase {
            Phase::Body => start,
            _ => match self.header_block(input, start, limits) {
                Ok(header_end) => header_end,
                Err(step) => return step,
            },
        };
        self.body(input, start, body_start)
    }

    fn at(phase: Phase) -> Framer {
        Framer {
            phase,
            header_bytes: 0,
            length: None,
            fault: LengthFault::None,
            number: 0,
            residue_ms: 0,
        }
    }

    /// Skips what may precede a message and finds pings in it; `Ok` is where a message begins.
    /// Blanks are skipped too, as the field does, but are no part of a ping.
    fn between(&mut self, residue: u8, input: &[u8], now_ms: u32) -> Result<usize, Step> {
        let mut residue = residue;
        if now_ms.wrapping_sub(self.residue_ms) > RESIDUE_MAX_MS {
            residue = 0;
        }
        for (offset, &byte) in input.iter().enumerate() {
            if residue >= CRLF && PING.get(usize::from(residue)) != Some(&byte) {
                *self = Framer::default();
                return Err(Step::Crlf { end: offset });
            }
            if !matches!(byte, b'\r' | b'\n' | b' ' | b'\t') {
                *self = Framer::at(Phase::FirstWord { matched: 0 });
                return Ok(offset);
            }
            if PING.get(usize::from(residue)) == Some(&byte) {
                residue += 1;
            } else {
                residue = u8::from(byte == b'\r');
            }
            if residue == 1 {
                self.residue_ms = now_ms;
            }
            if usize::from(residue) == PING.len() {
                *self = Framer::default();
                return Err(Step::Ping { end: offset + 1 });
            }
        }
        let residue_ms = if residue == 0 { 0 } else { self.residue_ms };
        *self = Framer {
            residue_ms,
            ..Framer::at(Phase::Between { residue })
        };
        Err(Step::More { start: input.len() })
    }

    /// Scans the header block from `start`; `Ok` is its end, with the body's length settled.
    fn header_block(&mut self, input: &[u8], start: usize, limits: &Limits) -> Result<usize, Step> {
        let mut end = start;
        loop {
            let in_start_line = self.in_start_line();
            let max_bytes = if in_start_line {
                limits.max_message_bytes.min(START_LINE_MAX_BYTES)
            } else {
                limits.max_message_bytes
            };
            // The scan sees no byte past the limit, so that the error comes at the same byte
            // however the stream is split.
            let room = max_bytes.saturating_sub(self.header_bytes) as usize;
            let rest = from(input, end);
            let part = rest.get(..room).unwrap_or(rest);
            let (scan, used) = if in_start_line {
                self.start_line(part)
            } else {
                self.header_lines(part)
            };
            end += used;
            self.header_bytes = self.header_bytes.saturating_add(used as u32);
            match scan {
                Scan::Complete if in_start_line => {}
                Scan::Complete => break,
                Scan::NotSip => return Err(self.lose(start, end, FrameError::NotSip)),
                Scan::Open if self.header_bytes < max_bytes => return Err(Step::More { start }),
                Scan::Open if in_start_line && max_bytes == START_LINE_MAX_BYTES => {
                    return Err(self.lose(start, end, FrameError::NotSip));
                }
                Scan::Open => return Err(self.lose(start, end, FrameError::HeaderTooLarge)),
            }
        }
        match self.body_length(limits) {
            Ok(body_length) => {
                self.phase = Phase::Body;
                self.length = Some(body_length);
                self.number = body_length;
                Ok(end)
            }
            Err(error) => Err(self.lose(start, end, error)),
        }
    }

    fn body(&mut self, input: &[u8], start: usize, body_start: usize) -> Step {
        let available = input.len().saturating_sub(body_start);
        let missing = self.number as usize;
        if available < missing {
            self.number = (missing - available) as u32;
            return Step::More { start };
        }
        let step = Step::Message {
            start,
            end: body_start + missing,
            header_length: self.header_bytes,
            body_length: self.length.unwrap_or(0),
        };
        *self = Framer::default();
        step
    }

    fn lose(&mut self, start: usize, end: usize, error: FrameError) -> Step {
        let answerable = !matches!(error, FrameError::NotSip | FrameError::HeaderTooLarge);
        *self = Framer {
            header_bytes: if answerable { self.header_bytes } else { 0 },
            ..Framer::at(Phase::Lost { error, answerable })
        };
        Step::Bad {
            start,
            end,
            error,
            header_length: answerable.then_some(self.header_bytes),
        }
    }
}

fn from(bytes: &[u8], offset: usize) -> &[u8] {
    bytes.get(offset..).unwrap_or_default()
}
