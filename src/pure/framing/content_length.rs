//! The header lines of a message: where its header block ends and what `Content-Length` says
//! (RFC 3261 7.3.1, 20.14).
//!
//! Invariants: a header name counts only at the beginning of a line that is not folded; a number
//! counts only when its whole value, folded lines included, is nothing else. `5, 5` is what became of
//! two headers that somebody joined (RFC 9110 5.3), and is taken like them: equal ones are one.

use memchr::memchr_iter;

use super::{FrameError, Framer, LengthFault, Limits, NEXT_LINE, Phase, Scan, Value, from};

pub(super) const CONTENT_LENGTH: &[u8; 14] = b"content-length";

impl Framer {
    /// Scans `part` for the empty line; says how many of its bytes were used.
    pub(super) fn header_lines(&mut self, part: &[u8]) -> (Scan, usize) {
        let mut rest = part;
        loop {
            // Nearly all bytes of a header block are skipped here; the machine below sees only
            // the beginnings of lines and what belongs to Content-Length.
            if self.phase == Phase::OtherLine {
                let Some(line_start) = skip_other_lines(rest) else {
                    return (Scan::Open, part.len());
                };
                rest = from(rest, line_start);
                self.phase = NEXT_LINE;
                if let Some(behind) = behind_name(rest) {
                    rest = behind;
                    self.phase = Phase::Colon;
                }
            }
            let Some((&byte, behind)) = rest.split_first() else {
                return (Scan::Open, part.len());
            };
            rest = behind;
            if byte == b'\n' && self.ends_header_block() {
                return (Scan::Complete, part.len() - rest.len());
            }
            self.phase = self.header_byte(byte);
        }
    }

    /// Whether an LF here makes the empty line.
    fn ends_header_block(&mut self) -> bool {
        if let Phase::LineStart { value } = self.phase {
            self.settle(value);
            return true;
        }
        self.phase == Phase::EmptyLine
    }

    /// One byte of the header block that does not end it.
    fn header_byte(&mut self, byte: u8) -> Phase {
        let blank = matches!(byte, b' ' | b'\t');
        match self.phase {
            // A folded line belongs to the header before it, whatever it looks like.
            Phase::LineStart { value } if blank && value != Value::Foreign => {
                Phase::InValue { value }
            }
            Phase::LineStart { .. } if blank => Phase::OtherLine,
            Phase::LineStart { value } => {
                self.settle(value);
                match byte {
                    b'\r' => Phase::EmptyLine,
                    b'l' | b'L' => Phase::Colon,
                    b'c' | b'C' => Phase::Name { matched: 1 },
                    _ => Phase::OtherLine,
                }
            }
            Phase::Name { matched }
                if CONTENT_LENGTH.get(usize::from(matched)) == Some(&byte.to_ascii_lowercase()) =>
            {
                if usize::from(matched) + 1 == CONTENT_LENGTH.len() {
                    Phase::Colon
                } else {
                    Phase::Name {
                        matched: matched + 1,
                    }
                }
            }
            Phase::Colon if blank => Phase::Colon,
            Phase::Colon if byte == b':' => {
                self.number = 0;
                Phase::InValue {
                    value: Value::Blank,
                }
            }
            Phase::InValue { value } => self.value_byte(value, byte),
            Phase::ValueEnd { value } if byte == b'\n' => Phase::LineStart { value },
            Phase::ValueEnd { .. } => self.invalid_value(byte),
            _ => other_line(byte),
        }
    }

    fn value_byte(&mut self, value: Value, byte: u8) -> Phase {
        let behind = match value {
            Value::Digits => Value::Done,
            _ => value,
        };
        match byte {
            b'\n' => Phase::LineStart { value: behind },
            b'\r' => Phase::ValueEnd { value: behind },
            b' ' | b'\t' => Phase::InValue { value: behind },
            b',' if matches!(behind, Value::Done) => {
                self.settle(behind);
                Phase::InValue {
                    value: Value::Blank,
                }
            }
            b'0'..=b'9' if value != Value::Done => {
                let shifted = self.number.checked_mul(10);
                match shifted.and_then(|number| number.checked_add(u32::from(byte - b'0'))) {
                    Some(number) => {
                        self.number = number;
                        Phase::InValue {
                            value: Value::Digits,
                        }
                    }
                    None => self.invalid_value(byte),
                }
            }
            _ => self.invalid_value(byte),
        }
    }

    fn invalid_value(&mut self, byte: u8) -> Phase {
        self.fault = LengthFault::Invalid;
        other_line(byte)
    }

    /// The header before this line is over: counts it if it was a `Content-Length`.
    fn settle(&mut self, value: Value) {
        match (value, self.length) {
            (Value::Foreign, _) => {}
            (Value::Blank, _) => self.fault = LengthFault::Invalid,
            (_, Some(length)) if length != self.number => {
                self.fault = self.fault.max(LengthFault::Conflict);
            }
            _ => self.length = Some(self.number),
        }
        self.number = 0;
    }

    pub(super) fn body_length(&self, limits: &Limits) -> Result<u32, FrameError> {
        match (self.fault, self.length) {
            (LengthFault::Invalid, _) => Err(FrameError::LengthInvalid),
            (LengthFault::Conflict, _) => Err(FrameError::LengthConflict),
            (LengthFault::None, None) if limits.accept_no_content_length => Ok(0),
            (LengthFault::None, None) => Err(FrameError::LengthMissing),
            (LengthFault::None, Some(length)) => {
                let total = u64::from(self.header_bytes) + u64::from(length);
                if total > u64::from(limits.max_message_bytes) {
                    Err(FrameError::TooLarge)
                } else {
                    Ok(length)
                }
            }
        }
    }
}

/// The next line that may be the empty one or a `Content-Length`; the next line at all if too little of it
/// is here to tell.
fn skip_other_lines(rest: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', rest)
        .map(|line_end| line_end + 1)
        .find(|&line_start| match rest.get(line_start) {
            None | Some(b'\r' | b'\n' | b'l' | b'L') => true,
            Some(b'c' | b'C') => {
                let line = from(rest, line_start);
                line.len() < CONTENT_LENGTH.len() || behind_name(line).is_some()
            }
            Some(_) => false,
        })
}

/// What follows the whole name `Content-Length`.
fn behind_name(line: &[u8]) -> Option<&[u8]> {
    let (name, behind) = line.split_first_chunk::<{ CONTENT_LENGTH.len() }>()?;
    let same = name
        .iter()
        .zip(CONTENT_LENGTH)
        .all(|(byte, expected)| byte.to_ascii_lowercase() == *expected);
    same.then_some(behind)
}

fn other_line(byte: u8) -> Phase {
    match byte {
        b'\n' => NEXT_LINE,
        _ => Phase::OtherLine,
    }
}
