//! The first line of a message: a SIP status line, or a request line that ends in ` SIP/2.0`. Another
//! version of SIP is framed all the same, so that the host can answer 505 (RFC 4475 `badvers`).
//!
//! Invariant: a foreign protocol is refused at the first byte that no SIP message has there, so a
//! TLS ClientHello on a TCP port costs one byte and HTTP one line (RFC 3261 7.1, 7.2).

use memchr::memchr;

use super::{Framer, NEXT_LINE, Phase, Scan, from};

/// A first line without end would hide a foreign protocol until the message limit.
pub(super) const START_LINE_MAX_BYTES: u32 = 8192;

/// A `0` stands for any digit.
const STATUS_LINE_BEGIN: &[u8; 8] = b"SIP/0.0 ";
const REQUEST_LINE_END: &[u8; 8] = b" SIP/0.0";

/// `FirstWord`: the word differs from `SIP/2.0`, so it must be a method.
pub(super) const A_METHOD: u8 = 8;
/// `SIP` can still become a method; behind the slash, which no method contains, it cannot.
const BEHIND_SLASH: u8 = 4;

/// `RequestLine`: the version just ended, or only blanks came since; the last two differ in
/// whether the next byte could continue another ` SIP/2.0`.
const VERSION_ENDED: u8 = 8;
const VERSION_THEN_SPACE: u8 = 9;
pub(super) const VERSION_THEN_BLANK: u8 = 10;

impl Framer {
    pub(super) fn in_start_line(&self) -> bool {
        matches!(
            self.phase,
            Phase::FirstWord { .. } | Phase::StatusLine | Phase::RequestLine { .. }
        )
    }

    /// Scans `part` for the end of the first line; says how many of its bytes were used.
    pub(super) fn start_line(&mut self, part: &[u8]) -> (Scan, usize) {
        let mut rest = part;
        while let Phase::FirstWord { matched } = self.phase {
            if matched == A_METHOD {
                let method = rest.iter().take_while(|&&byte| is_token(byte)).count();
                rest = from(rest, method);
            }
            let Some((&byte, behind)) = rest.split_first() else {
                return (Scan::Open, part.len());
            };
            rest = behind;
            match first_word(matched, byte) {
                Some(phase) => self.phase = phase,
                None => return (Scan::NotSip, part.len() - rest.len()),
            }
        }
        let line_end = memchr(b'\n', rest);
        if let Phase::RequestLine { matched } = self.phase {
            let matched = version_at_end(matched, line_end.map_or(rest, |end| to(rest, end)));
            self.phase = Phase::RequestLine { matched };
            if line_end.is_some() && matched < VERSION_ENDED {
                return (Scan::NotSip, used_by(part, rest, line_end));
            }
        }
        if line_end.is_none() {
            return (Scan::Open, part.len());
        }
        self.phase = NEXT_LINE;
        (Scan::Complete, used_by(part, rest, line_end))
    }
}

/// What a byte of the first word leads to; `None`: no SIP message begins like this.
fn first_word(matched: u8, byte: u8) -> Option<Phase> {
    if fits(STATUS_LINE_BEGIN, matched, byte) {
        let matched = matched + 1;
        return Some(if usize::from(matched) == STATUS_LINE_BEGIN.len() {
            Phase::StatusLine
        } else {
            Phase::FirstWord { matched }
        });
    }
    match byte {
        _ if (BEHIND_SLASH..A_METHOD).contains(&matched) => None,
        b' ' => Some(Phase::RequestLine { matched: 1 }),
        _ if is_token(byte) => Some(Phase::FirstWord { matched: A_METHOD }),
        _ => None,
    }
}

/// Whether `byte` continues a version of which `matched` bytes are there.
fn fits(version: &[u8; 8], matched: u8, byte: u8) -> bool {
    match version.get(usize::from(matched)) {
        Some(b'0') => byte.is_ascii_digit(),
        Some(expected) => *expected == byte.to_ascii_uppercase(),
        None => false,
    }
}

/// Whether the whole of `word` is `SIP/2.0`, or another version with one digit before and behind the dot.
pub(in crate::pure) fn is_version(word: &[u8]) -> bool {
    word.len() + 1 == STATUS_LINE_BEGIN.len()
        && (0..)
            .zip(word)
            .all(|(matched, &byte)| fits(STATUS_LINE_BEGIN, matched, byte))
}

/// Carries the match of ` SIP/2.0` with a line's end over `text`. Blanks behind the version are
/// allowed: RFC 4475 (`trws`) leaves them to the parser, which can answer.
fn version_at_end(matched: u8, text: &[u8]) -> u8 {
    if text.ends_with(b" SIP/2.0\r") {
        return VERSION_THEN_BLANK; // nearly all
    }
    // The eight bytes before the blanks decide alone: no match that began earlier is still open.
    let ended = text.trim_ascii_end().len();
    let decisive = ended.saturating_sub(REQUEST_LINE_END.len());
    from(text, decisive).iter().fold(matched, |matched, &byte| {
        let continues = match matched {
            VERSION_ENDED.. if byte == b' ' => return VERSION_THEN_SPACE,
            VERSION_ENDED.. if matches!(byte, b'\t' | b'\r') => return VERSION_THEN_BLANK,
            VERSION_ENDED | VERSION_THEN_BLANK => 0,
            VERSION_THEN_SPACE => 1,
            _ => matched,
        };
        if fits(REQUEST_LINE_END, continues, byte) {
            continues + 1
        } else {
            u8::from(byte == b' ')
        }
    })
}

/// RFC 3261 25.1 `token`.
pub(in crate::pure) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)) == Some(&true)
}

/// One look for each byte of a method; the same bytes are asked by classes too slowly.
#[allow(clippy::indexing_slicing)] // at compile time
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < token.len() {
        token[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(
                byte as u8,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    token
};

fn used_by(part: &[u8], rest: &[u8], line_end: Option<usize>) -> usize {
    part.len() - rest.len() + line_end.map_or(rest.len(), |end| end + 1)
}

fn to(bytes: &[u8], offset: usize) -> &[u8] {
    bytes.get(..offset).unwrap_or_default()
}
