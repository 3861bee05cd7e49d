//! What a SIP message is, and the answers that the transport gives itself.
//!
//! The host's parser never sees a request that cannot be framed, so nobody but the transport can
//! tell its sender why the connection closes (RFC 3261 18.3: 400 SHOULD be returned). The answer
//! repeats what came in, whatever the host's parser would think of it.
//!
//! Invariants: no input panics; work and answer are bounded; an answer holds no line end that its
//! request smuggled in, since every copied value becomes one line.
//!
//! Called by workers: [`kind`] for each message in or out, [`error_answer`] before closing a
//! connection whose stream is lost.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::IpAddr;

use memchr::memchr;

use super::framing::{is_token, is_version};

/// What a message is by its first line, which is enough to count the answers owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Request {
        /// ACK is never answered.
        ack: bool,
    },
    Response {
        status: u16,
    },
    /// No SIP message, such as a keep-alive.
    Other,
}

/// No field's value is nearly as long; one that is shall not make us copy it.
const VALUE_MAX_BYTES: usize = 16 * 1024;
/// A request of Via headers only would be answered with its own size.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Needs the first line, or as much of it as there is, at the beginning of `first_bytes`.
pub fn kind(first_bytes: &[u8]) -> Kind {
    let (line, whole) = match memchr(b'\n', first_bytes) {
        Some(end) => (first_bytes.get(..end).unwrap_or_default(), true),
        None => (first_bytes, false),
    };
    let line = line.trim_ascii_end();
    let Some((word, rest)) = split_at_byte(line, b' ') else {
        return Kind::Other;
    };
    if is_version(word) {
        return match rest.trim_ascii_start() {
            [
                h @ b'1'..=b'6',
                t @ b'0'..=b'9',
                u @ b'0'..=b'9',
                after @ ..,
            ] if after.first().is_none_or(|byte| *byte == b' ') => {
                let digits = [h, t, u].map(|digit| u16::from(digit - b'0'));
                Kind::Response {
                    status: digits.iter().fold(0, |status, digit| status * 10 + digit),
                }
            }
            _ => Kind::Other,
        };
    }
    let version = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if word.is_empty() || !word.iter().copied().all(is_token) || whole && !is_version(version) {
        return Kind::Other;
    }
    Kind::Request {
        ack: word.eq_ignore_ascii_case(b"ACK"),
    }
}

/// Writes a whole response to the request with these `headers` into `out`. `source` is where the
/// request came from, for the top Via. False, with `out` empty: not a request that can be
/// answered, because it is an ACK or lacks one of the headers that a response repeats.
pub fn error_answer(
    headers: &[u8],
    status: u16,
    phrase: &str,
    source: Option<(&str, u16)>,
    out: &mut Vec<u8>,
) -> bool {
    out.clear();
    let built = build(headers, status, phrase, source, out).is_some();
    if !built {
        out.clear();
    }
    built
}

fn build(
    headers: &[u8],
    status: u16,
    phrase: &str,
    source: Option<(&str, u16)>,
    out: &mut Vec<u8>,
) -> Option<()> {
    if kind(headers) != (Kind::Request { ack: false }) || !(100..700).contains(&status) {
        return None;
    }
    // Writing to a Vec cannot fail; `?` is only the shortest way to say so.
    write!(out, "SIP/2.0 {status} {phrase}\r\n").ok()?;

    let (mut vias, mut from, mut to, mut call_id, mut cseq) = (0, None, None, None, None);
    for (name, value) in Fields::of(headers) {
        // A second From or To is an error that the first one answers as well as any.
        let first = match Name::of(name) {
            Some(Name::Via) if value.trim_ascii().is_empty() => continue,
            Some(Name::Via) => {
                let via = one_line(value)?;
                out.extend_from_slice(b"Via: ");
                match source {
                    Some(source) if vias == 0 => push_top_via(&via, source, out),
                    _ => out.extend_from_slice(&via),
                }
                out.extend_from_slice(b"\r\n");
                if out.len() > ANSWER_MAX_BYTES {
                    return None;
                }
                vias += 1;
                continue;
            }
            Some(Name::From) => &mut from,
            Some(Name::To) => &mut to,
            Some(Name::CallId) => &mut call_id,
            Some(Name::CSeq) => &mut cseq,
            None => continue,
        };
        if first.is_none() {
            *first = Some(one_line(value)?);
        }
    }
    let (from, to, call_id, cseq) = (from?, to?, call_id?, cseq?);
    if vias == 0 {
        return None;
    }

    push_field(out, "From", &from);
    out.extend_from_slice(b"To: ");
    out.extend_from_slice(&to);
    // RFC 3261 8.2.6.2: every answer but 100 has a tag; the same request must get the same one.
    if status > 100 && !has_tag(&to) {
        let tag = hash(&[out.as_slice(), &call_id, &cseq]);
        write!(out, ";tag={tag:016x}").ok()?;
    }
    out.extend_from_slice(b"\r\n");
    push_field(out, "Call-ID", &call_id);
    push_field(out, "CSeq", &cseq);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    (out.len() <= ANSWER_MAX_BYTES).then_some(())
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// FNV-1a, 64 bit. A tag must only differ between requests, and the connection ends with it.
fn hash(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

// ---------------------------------------------------------------- header fields

enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
}

impl Name {
    fn of(name: &[u8]) -> Option<Name> {
        let is = |long: &str, compact: &str| {
            name.eq_ignore_ascii_case(long.as_bytes())
                || name.eq_ignore_ascii_case(compact.as_bytes())
        };
        match name {
            _ if is("Via", "v") => Some(Name::Via),
            _ if is("From", "f") => Some(Name::From),
            _ if is("To", "t") => Some(Name::To),
            _ if is("Call-ID", "i") => Some(Name::CallId),
            // It has no compact form.
            _ if is("CSeq", "CSeq") => Some(Name::CSeq),
            _ => None,
        }
    }
}

/// The header fields behind the first line, each a name and a value that may be folded.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(headers: &'a [u8]) -> Fields<'a> {
        let mut fields = Fields { rest: headers };
        fields.next_line();
        fields
    }

    /// The next line with the folded lines behind it; `None` at the empty line.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let mut end = line_length(self.rest);
        if matches!(self.rest.get(..end)?, b"" | b"\n" | b"\r\n") {
            return None;
        }
        while let Some(folded @ [b' ' | b'\t', ..]) = self.rest.get(end..) {
            end += line_length(folded);
        }
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(line)
    }
}

fn line_length(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // A line without colon is no field; the framer passed over it too.
            if let Some((name, value)) = split_at_byte(self.next_line()?, b':') {
                return Some((name.trim_ascii_end(), value));
            }
        }
    }
}

/// A value with its folds taken out (RFC 3261 7.3.1: a fold is one space); `None` when there is
/// nothing or too much in it. No CR or LF survives.
fn one_line(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() > VALUE_MAX_BYTES {
        return None;
    }
    let mut line = Vec::with_capacity(value.len());
    for part in value.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let part = part.trim_ascii();
        if !line.is_empty() && !part.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(part);
    }
    (!line.is_empty()).then_some(line)
}

/// Whether a From or To value has a tag: its parameters stand behind `<...>`, or without brackets
/// behind the first semicolon (RFC 3261 20.10).
fn has_tag(value: &[u8]) -> bool {
    let parameters = match split_unquoted(value, b'<') {
        (_, Some(uri)) => split_at_byte(uri, b'>').map_or(&b""[..], |(_, behind)| behind),
        (_, None) => value,
    };
    let (_, mut rest) = split_unquoted(parameters, b';');
    while let Some(parameters) = rest {
        let (parameter, behind) = split_unquoted(parameters, b';');
        if parameter_name(parameter).eq_ignore_ascii_case(b"tag") {
            return true;
        }
        rest = behind;
    }
    false
}

/// Writes the first Via value, with what RFC 3261 18.2.1 and RFC 3581 4 have a server add to its
/// first element.
fn push_top_via(via: &[u8], (address, port): (&str, u16), out: &mut Vec<u8>) {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let Ok(source) = bare.parse().map(|source: IpAddr| source.to_canonical()) else {
        out.extend_from_slice(via);
        return;
    };
    let (element, others) = split_unquoted(via, b',');
    let (sent_by, mut rest) = split_unquoted(element, b';');
    let mut parameters = Vec::new();
    while let Some(text) = rest {
        let (parameter, behind) = split_unquoted(text, b';');
        parameters.push(parameter.trim_ascii());
        rest = behind;
    }
    let rport = parameters
        .iter()
        .any(|parameter| parameter.eq_ignore_ascii_case(b"rport"));
    // With rport the address is added even when it is the same one (RFC 3581 4).
    let received = rport || sent_by_address(sent_by) != Some(source);

    out.extend_from_slice(sent_by.trim_ascii_end());
    for parameter in parameters {
        // One that the sender wrote itself would contradict ours.
        if received && parameter_name(parameter).eq_ignore_ascii_case(b"received") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(parameter);
        if parameter.eq_ignore_ascii_case(b"rport") {
            out.extend_from_slice(format!("={port}").as_bytes());
        }
    }
    if received {
        out.extend_from_slice(format!(";received={source}").as_bytes());
    }
    if let Some(others) = others {
        out.push(b',');
        out.extend_from_slice(others);
    }
}

/// The address in `SIP / 2.0 / TCP host : port`, if its host is one.
fn sent_by_address(sent_by: &[u8]) -> Option<IpAddr> {
    let (_, version) = split_at_byte(sent_by, b'/')?;
    let (_, transport) = split_at_byte(version, b'/')?;
    let transport = transport.trim_ascii_start();
    let blank = transport.iter().position(u8::is_ascii_whitespace)?;
    let host = transport.get(blank..)?.trim_ascii();
    let host = match host.strip_prefix(b"[") {
        Some(literal) => split_at_byte(literal, b']')?.0,
        None => split_at_byte(host, b':').map_or(host, |(host, _)| host.trim_ascii_end()),
    };
    let address: IpAddr = std::str::from_utf8(host).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

fn parameter_name(parameter: &[u8]) -> &[u8] {
    split_at_byte(parameter, b'=')
        .map_or(parameter, |(name, _)| name)
        .trim_ascii()
}

fn split_at_byte(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(separator, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Splits at the first `separator` outside of a quoted string, whose text may hold any byte.
fn split_unquoted(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let (mut quoted, mut escaped) = (false, false);
    let at = text.iter().position(|&byte| {
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        } else {
            return !quoted && byte == separator;
        }
        false
    });
    match at {
        Some(at) => (
            text.get(..at).unwrap_or_default(),
            Some(text.get(at + 1..).unwrap_or_default()),
        ),
        None => (text, None),
    }
}
