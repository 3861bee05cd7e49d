//! A framer as five words of shared memory, where a connection waits in the middle of a message.
//!
//! Invariants: all zero is a framer between messages, so a fresh slot needs no initialisation; and
//! every framer has exactly one encoding. The second is the defence against a scribbled segment:
//! words that no framer writes are read as a lost stream, which closes that one connection.
//!
//! Word 0 is the phase: its tag, two arguments, and the state of `Content-Length`.

use super::content_length::CONTENT_LENGTH;
use super::start_line::{A_METHOD, VERSION_THEN_BLANK};
use super::{FrameError, Framer, LengthFault, PING, Phase, Value};

const LENGTH_KNOWN: u8 = 4;

impl Framer {
    pub fn to_words(self) -> [u32; 5] {
        let [tag, argument, second] = phase_bytes(self.phase);
        let known = if self.length.is_some() {
            LENGTH_KNOWN
        } else {
            0
        };
        let fault = match self.fault {
            LengthFault::None => 0,
            LengthFault::Conflict => 1,
            LengthFault::Invalid => 2,
        };
        [
            u32::from_le_bytes([tag, argument, second, known | fault]),
            self.header_bytes,
            self.length.unwrap_or(0),
            self.number,
            self.residue_ms,
        ]
    }

    /// Total: words that no framer wrote give a lost stream.
    pub fn from_words(words: [u32; 5]) -> Framer {
        match read(words) {
            // Comparing with the encoding catches every bit that `read` did not look at.
            Some(framer) if framer.to_words() == words && framer.is_consistent() => framer,
            _ => Framer::at(Phase::Lost {
                error: FrameError::NotSip,
                answerable: false,
            }),
        }
    }

    /// What a reader of the parked bytes relies on: a body that is under way is not over, and its
    /// message's length can be computed.
    fn is_consistent(&self) -> bool {
        match (self.phase, self.length) {
            (Phase::Body, Some(length)) => {
                (1..=length).contains(&self.number)
                    && self.header_bytes.checked_add(length).is_some()
            }
            (Phase::Body, None) => false,
            _ => true,
        }
    }
}

fn read(words: [u32; 5]) -> Option<Framer> {
    let [first, header_bytes, length, number, residue_ms] = words;
    let [tag, argument, second, length_state] = first.to_le_bytes();
    let fault = match length_state & !LENGTH_KNOWN {
        0 => LengthFault::None,
        1 => LengthFault::Conflict,
        2 => LengthFault::Invalid,
        _ => return None,
    };
    Some(Framer {
        phase: phase(tag, argument, second)?,
        header_bytes,
        length: (length_state & LENGTH_KNOWN != 0).then_some(length),
        fault,
        number,
        residue_ms,
    })
}

fn phase_bytes(phase: Phase) -> [u8; 3] {
    match phase {
        Phase::Between { residue } => [0, residue, 0],
        Phase::FirstWord { matched } => [1, matched, 0],
        Phase::StatusLine => [2, 0, 0],
        Phase::RequestLine { matched } => [3, matched, 0],
        Phase::LineStart { value } => [4, value_byte(value), 0],
        Phase::EmptyLine => [5, 0, 0],
        Phase::Name { matched } => [6, matched, 0],
        Phase::Colon => [7, 0, 0],
        Phase::InValue { value } => [8, value_byte(value), 0],
        Phase::ValueEnd { value } => [9, value_byte(value), 0],
        Phase::OtherLine => [10, 0, 0],
        Phase::Body => [11, 0, 0],
        Phase::Lost { error, answerable } => [12, error_byte(error), u8::from(answerable)],
    }
}

fn phase(tag: u8, argument: u8, second: u8) -> Option<Phase> {
    let matched = argument;
    Some(match tag {
        0 if usize::from(argument) < PING.len() => Phase::Between { residue: argument },
        1 if matched <= A_METHOD => Phase::FirstWord { matched },
        2 => Phase::StatusLine,
        3 if matched <= VERSION_THEN_BLANK => Phase::RequestLine { matched },
        4 => Phase::LineStart {
            value: value(argument)?,
        },
        5 => Phase::EmptyLine,
        6 if (1..CONTENT_LENGTH.len()).contains(&usize::from(matched)) => Phase::Name { matched },
        7 => Phase::Colon,
        8 => Phase::InValue {
            value: value(argument)?,
        },
        9 => Phase::ValueEnd {
            value: value(argument)?,
        },
        10 => Phase::OtherLine,
        11 => Phase::Body,
        12 => Phase::Lost {
            error: error(argument)?,
            answerable: second != 0,
        },
        _ => return None,
    })
}

fn value_byte(value: Value) -> u8 {
    match value {
        Value::Foreign => 0,
        Value::Blank => 1,
        Value::Digits => 2,
        Value::Done => 3,
    }
}

fn value(byte: u8) -> Option<Value> {
    Some(match byte {
        0 => Value::Foreign,
        1 => Value::Blank,
        2 => Value::Digits,
        3 => Value::Done,
        _ => return None,
    })
}

fn error_byte(error: FrameError) -> u8 {
    match error {
        FrameError::NotSip => 0,
        FrameError::LengthMissing => 1,
        FrameError::LengthInvalid => 2,
        FrameError::LengthConflict => 3,
        FrameError::TooLarge => 4,
        FrameError::HeaderTooLarge => 5,
    }
}

fn error(byte: u8) -> Option<FrameError> {
    Some(match byte {
        0 => FrameError::NotSip,
        1 => FrameError::LengthMissing,
        2 => FrameError::LengthInvalid,
        3 => FrameError::LengthConflict,
        4 => FrameError::TooLarge,
        5 => FrameError::HeaderTooLarge,
        _ => return None,
    })
}
