//! The PROXY protocol (its specification, versions 1 and 2, is HAProxy's doc/proxy-protocol.txt): the
//! header by which a load balancer says for whom a connection was made. What stands in it, how one is
//! written, and what a listener does with who has or has not sent one.
//!
//! Invariant: PROXY-1 a decision about some bytes is the decision about all that begin with them, so
//! that it does not matter in which pieces they come. Total: any bytes give an answer. Nothing is
//! allocated for a header that comes in.

use super::addr::{Addr, FAMILY_V4, FAMILY_V6};
use super::networks::Networks;
use super::settings::{ProxyOut, ProxyProtocol};
use std::net::{Ipv4Addr, Ipv6Addr};

const V1: &[u8] = b"PROXY ";
/// Chosen so that no text protocol begins with it. SIP's may begin with its first four bytes: a ping.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Section 2.1: the longest line, with its CRLF.
const V1_MAX: usize = 107;
/// Signature, version and command, family and protocol, length.
const V2_FIXED: usize = 16;
/// The longest header that is read. Version 2 has room for 64 KB, of which senders use some hundred
/// bytes; a peer may not make us keep more.
pub const LONGEST: usize = 4096;
/// The longest header that we write.
pub const LONGEST_OWN: usize = V1_MAX;

/// The two ends of a connection, as seen from here: who is the client, and whom it called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    pub source: Addr,
    pub destination: Addr,
}

/// What the beginning of a stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// Not decided yet. `begun`: it is a header, the rest of it is still to come.
    More { begun: bool },
    /// A header of so many bytes. No pair (LOCAL, UNKNOWN, what is not TCP over IP): the addresses of
    /// the socket are the ones that count.
    Header { length: usize, pair: Option<Pair> },
    /// Something else.
    Absent,
    /// A header that the specification says to refuse.
    Bad(&'static str),
}

const BEGUN: Parsed = Parsed::More { begun: true };

/// Reads the beginning of a stream.
pub fn parse(bytes: &[u8]) -> Parsed {
    if bytes.starts_with(V1) {
        parse_v1(bytes)
    } else if bytes.starts_with(V2) {
        parse_v2(bytes).unwrap_or(BEGUN)
    } else if V1.starts_with(bytes) || V2.starts_with(bytes) {
        Parsed::More { begun: false }
    } else {
        Parsed::Absent
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let most = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', most) else {
        return match bytes.len() < V1_MAX {
            true => BEGUN,
            false => Parsed::Bad("its line is longer than 107 bytes"),
        };
    };
    let line = most.get(V1.len()..end).unwrap_or_default();
    let Some(line) = line.strip_suffix(b"\r") else {
        return Parsed::Bad("its line does not end with CRLF");
    };
    let length = end + 1;
    let mut words = line.split(|&byte| byte == b' ');
    let pair = match words.next() {
        // "The receiver must ignore anything presented before the CRLF": also what is no address.
        Some(b"UNKNOWN") => return Parsed::Header { length, pair: None },
        Some(b"TCP4") => v1_pair(words, |text| {
            text.parse::<Ipv4Addr>()
                .map(|ip| Addr::v4(ip.octets(), 0))
                .ok()
        }),
        Some(b"TCP6") => v1_pair(words, |text| {
            text.parse::<Ipv6Addr>()
                .map(|ip| Addr::v6(ip.octets(), 0, 0))
                .ok()
        }),
        _ => return Parsed::Bad("neither TCP4, TCP6 nor UNKNOWN"),
    };
    match pair {
        Some(_) => Parsed::Header { length, pair },
        None => Parsed::Bad("not two addresses and two ports"),
    }
}

fn v1_pair<'a>(
    mut words: impl Iterator<Item = &'a [u8]>,
    address: impl Fn(&str) -> Option<Addr>,
) -> Option<Pair> {
    let mut next = || words.next().and_then(|word| std::str::from_utf8(word).ok());
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let pair = Pair {
        source: source.with_port(v1_port(next()?)?),
        destination: destination.with_port(v1_port(next()?)?),
    };
    next().is_none().then_some(pair)
}

/// Decimal, without sign or leading zeros: there is one way to write it.
fn v1_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && plain)
}

/// `None`: not whole yet. The signature is there.
fn parse_v2(bytes: &[u8]) -> Option<Parsed> {
    let &[command, family, high, low] = bytes.get(V2.len()..V2_FIXED)? else {
        return None;
    };
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Some(Parsed::Bad("unknown version or command")),
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Some(Parsed::Bad("it is longer than 4096 bytes"));
    }
    let header = bytes.get(..length)?;
    let after = header.get(V2_FIXED..).unwrap_or_default();
    // LOCAL: the sender speaks for itself, and the whole block, family included, is ignored.
    let pair = match if local { 0 } else { family } {
        // Unspecified, and what is no TCP over IP: the receiver may go on with the socket's addresses.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(None),
        0x11 => v2_pair::<4>(header, after, Addr::v4),
        0x21 => v2_pair::<16>(header, after, |ip, port| Addr::v6(ip, port, 0)),
        _ => Err("unknown family or protocol"),
    };
    Some(match pair {
        Ok(pair) => Parsed::Header { length, pair },
        Err(why) => Parsed::Bad(why),
    })
}

/// Two addresses of N bytes, two ports, then extensions.
fn v2_pair<const N: usize>(
    header: &[u8],
    after: &[u8],
    address: impl Fn([u8; N], u16) -> Addr,
) -> Result<Option<Pair>, &'static str> {
    const SHORT: &str = "too short for its addresses";
    let (source, rest) = after.split_first_chunk::<N>().ok_or(SHORT)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let (&[a, b, c, d], extensions) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    check_extensions(header, extensions)?;
    Ok(Some(Pair {
        source: address(*source, u16::from_be_bytes([a, b])),
        destination: address(*destination, u16::from_be_bytes([c, d])),
    }))
}

/// Section 2.2.1: of the extensions only the checksum says something to us, and only if it is there.
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), &'static str> {
    const CRC32C: u8 = 0x03;
    let mut checked = false;
    while let Some((&[kind, high, low], tail)) = rest.split_first_chunk::<3>() {
        let (value, tail) = tail
            .split_at_checked(usize::from(u16::from_be_bytes([high, low])))
            .ok_or("an extension is longer than the header")?;
        if kind == CRC32C {
            // Hundreds that all fit can be made, and each costs a pass over the header.
            if core::mem::replace(&mut checked, true) {
                return Err("two checksums");
            }
            let told: [u8; 4] = value
                .try_into()
                .map_err(|_| "a checksum that is not 4 bytes")?;
            // It covers the whole header, with zeros in its own place.
            let before = header.len() - tail.len() - value.len();
            let pieces = [header.get(..before).unwrap_or_default(), &[0; 4], tail];
            if crc32c(&pieces) != u32::from_be_bytes(told) {
                return Err("the checksum does not fit");
            }
        }
        rest = tail;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err("an extension is longer than the header"),
    }
}

/// The CRC of RFC 4960 appendix B, bit by bit: some hundred bytes a connection.
fn crc32c(pieces: &[&[u8]]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// The form of a header that we write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V1,
    V2,
}

/// A header that `parse` reads as this pair; without one as a connection that speaks for itself (UNKNOWN,
/// LOCAL). At most `LONGEST_OWN` bytes. Of two families both are written as IPv6 (mapped).
pub fn write(version: Version, pair: Option<&Pair>) -> Vec<u8> {
    let pair = pair.filter(|pair| !pair.source.is_none() && !pair.destination.is_none());
    let ends = pair.map(|pair| [pair.source, pair.destination]);
    let v4 = ends.is_some_and(|ends| ends.iter().all(|end| end.family == FAMILY_V4));
    match version {
        Version::V1 => match ends {
            None => b"PROXY UNKNOWN\r\n".to_vec(),
            Some(ends) => {
                let family = if v4 { "TCP4" } else { "TCP6" };
                let [source, destination] = ends.map(|end| match v4 {
                    true => Ipv4Addr::from(v4_bytes(&end)).to_string(),
                    false => Ipv6Addr::from(v6_bytes(&end)).to_string(),
                });
                let [from, to] = ends.map(|end| end.port);
                format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
            }
        },
        Version::V2 => {
            let mut bytes = V2.to_vec();
            let Some(ends) = ends else {
                bytes.extend([0x20, 0x00, 0, 0]);
                return bytes;
            };
            bytes.extend(if v4 {
                [0x21, 0x11, 0, 12]
            } else {
                [0x21, 0x21, 0, 36]
            });
            for end in &ends {
                match v4 {
                    true => bytes.extend(v4_bytes(end)),
                    false => bytes.extend(v6_bytes(end)),
                }
            }
            bytes.extend(ends.iter().flat_map(|end| end.port.to_be_bytes()));
            bytes
        }
    }
}

fn v4_bytes(addr: &Addr) -> [u8; 4] {
    let [a, b, c, d, ..] = addr.ip;
    [a, b, c, d]
}

fn v6_bytes(addr: &Addr) -> [u8; 16] {
    match addr.family {
        FAMILY_V6 => addr.ip,
        _ => Ipv4Addr::from(v4_bytes(addr)).to_ipv6_mapped().octets(),
    }
}

/// The header that a connection to `destination` is to begin with.
pub fn version_for(out: ProxyOut, networks: &Networks, destination: &Addr) -> Option<Version> {
    let version = match out {
        ProxyOut::Off => return None,
        ProxyOut::V1 => Version::V1,
        ProxyOut::V2 => Version::V2,
    };
    (networks.is_empty() || networks.contains(destination)).then_some(version)
}

/// What a listener does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is served once its header is here.
    Wait,
    /// It is served; the first `header` bytes are no part of its stream, and the addresses of the
    /// socket count unless there is a pair.
    Serve { header: usize, pair: Option<Pair> },
    /// It is closed, and counted.
    Refuse(&'static str),
    /// It went away without a word, as health checks do: closed, and nothing was refused.
    Gone,
}

const PLAIN: Verdict = Verdict::Serve {
    header: 0,
    pair: None,
};

/// What is known of a connection beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// More may come.
    Open,
    /// The peer has ended its side.
    Ended,
    /// `proxy_timeout` is over.
    Late,
}

/// Whose word is taken for whom it speaks: the part of the verdict that needs no byte of the stream.
/// `None`: it depends on what they send.
pub fn on_accept(mode: ProxyProtocol, networks: &Networks, peer: &Addr) -> Option<Verdict> {
    let believed = networks.is_empty() || networks.contains(peer);
    match (mode, believed) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Optional, false) => Some(PLAIN),
        (ProxyProtocol::Required, false) => Some(Verdict::Refuse("not from proxy_networks")),
        (_, true) => None,
    }
}

/// `bytes`: all that has come, or the first `LONGEST` of it. Not for mode off.
pub fn on_bytes(mode: ProxyProtocol, bytes: &[u8], moment: Moment) -> Verdict {
    let optional = mode != ProxyProtocol::Required;
    match (parse(bytes), moment) {
        (Parsed::Header { length, pair }, _) => Verdict::Serve {
            header: length,
            pair,
        },
        (Parsed::Bad(why), _) => Verdict::Refuse(why),
        (Parsed::More { .. }, Moment::Open) => Verdict::Wait,
        // A ping, perhaps, or nothing at all: who need not send a header is served without.
        (Parsed::Absent | Parsed::More { begun: false }, _) if optional => PLAIN,
        (Parsed::Absent, _) => Verdict::Refuse("the stream does not begin with one"),
        (Parsed::More { .. }, Moment::Ended) if bytes.is_empty() => Verdict::Gone,
        (Parsed::More { .. }, Moment::Ended) => Verdict::Refuse("the stream ends within it"),
        (Parsed::More { .. }, Moment::Late) => Verdict::Refuse("not there after proxy_timeout"),
    }
}

#[cfg(test)]
mod tests;
