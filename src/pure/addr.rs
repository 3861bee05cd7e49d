//! Addresses: an IP address with a port, in the one form that the library compares, hashes and
//! keeps in the segment.
//!
//! Invariant: every constructor gives the canonical form, so that derived equality and the hash are
//! right. Canonical means: an IPv4-mapped IPv6 address is the IPv4 address (RFC 5118 section 4.1: a
//! dual-stack listener shows the same peer in both forms, and a connection must be found under
//! either), bytes that the family does not use are zero, and so is a scope that the kernel ignores.
//! What comes from outside (a C caller, a word of the segment) passes `normalised` or `from_words`
//! before it is compared. Anyone may call; nothing here looks up names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// `family` of no address at all.
pub const FAMILY_NONE: u8 = 0;
/// `family` of an IPv4 address.
pub const FAMILY_V4: u8 = 4;
/// `family` of an IPv6 address.
pub const FAMILY_V6: u8 = 6;

/// An IP address and port, laid out as `sipwire_addr` in the C header.
#[deny(missing_docs)]
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Addr {
    /// 0 none, 4 or 6.
    pub family: u8,
    /// Always 0.
    pub reserved: u8,
    /// Host byte order.
    pub port: u16,
    /// Interface of an IPv6 link-local address, else 0.
    pub scope_id: u32,
    /// IPv4 in the first four bytes, the others zero.
    pub ip: [u8; 16],
}

#[deny(missing_docs)]
impl Addr {
    /// No address.
    pub const fn none() -> Addr {
        Addr {
            family: FAMILY_NONE,
            reserved: 0,
            port: 0,
            scope_id: 0,
            ip: [0; 16],
        }
    }

    /// True for no address, and for a family that does not exist.
    pub const fn is_none(&self) -> bool {
        !matches!(self.family, FAMILY_V4 | FAMILY_V6)
    }

    /// An IPv4 address.
    pub const fn v4(ip: [u8; 4], port: u16) -> Addr {
        let [a, b, c, d] = ip;
        Addr {
            family: FAMILY_V4,
            reserved: 0,
            port,
            scope_id: 0,
            ip: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// An IPv6 address; an IPv4-mapped one becomes the IPv4 address.
    pub const fn v6(ip: [u8; 16], port: u16, scope_id: u32) -> Addr {
        if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] = ip {
            return Addr::v4([a, b, c, d], port);
        }
        // Linux reads the scope of link-local addresses only (fe80::/10); kept for others, it would
        // make two addresses of one peer.
        let link_local = matches!(ip, [0xfe, 0x80..=0xbf, ..]);
        Addr {
            family: FAMILY_V6,
            reserved: 0,
            port,
            scope_id: if link_local { scope_id } else { 0 },
            ip,
        }
    }

    /// The canonical form of an address that was filled in elsewhere; an unknown family gives none.
    pub const fn normalised(self) -> Addr {
        match self.family {
            FAMILY_V4 => {
                let [a, b, c, d, ..] = self.ip;
                Addr::v4([a, b, c, d], self.port)
            }
            FAMILY_V6 => Addr::v6(self.ip, self.port, self.scope_id),
            _ => Addr::none(),
        }
    }

    /// The same address with another port.
    pub const fn with_port(self, port: u16) -> Addr {
        Addr { port, ..self }.normalised()
    }

    /// The same host, whatever the ports. Nothing is the same host as none.
    pub fn same_host(&self, other: &Addr) -> bool {
        !self.is_none() && self.with_port(0) == other.with_port(0)
    }

    /// True for 0.0.0.0 and ::, which stand for "any address of this host".
    pub fn is_unspecified(&self) -> bool {
        !self.is_none() && self.normalised().ip == [0; 16]
    }

    /// From the standard library's address; the flow label is dropped.
    pub fn from_std(addr: SocketAddr) -> Addr {
        match addr {
            SocketAddr::V4(v4) => Addr::v4(v4.ip().octets(), v4.port()),
            SocketAddr::V6(v6) => Addr::v6(v6.ip().octets(), v6.port(), v6.scope_id()),
        }
    }

    /// To the standard library's address; `None` for none.
    pub fn to_std(&self) -> Option<SocketAddr> {
        let ip = self.std_ip()?;
        Some(match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, self.port),
            IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, self.port, 0, self.scope_id)),
        })
    }

    fn std_ip(&self) -> Option<IpAddr> {
        match self.family {
            FAMILY_V4 => {
                let [a, b, c, d, ..] = self.ip;
                Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            FAMILY_V6 => Some(IpAddr::V6(Ipv6Addr::from(self.ip))),
            _ => None,
        }
    }

    /// Reads "192.0.2.1:5060", "\[2001:db8::1]:5060" or "\[fe80::1%3]:5060", with or without "tcp:" or
    /// "udp:" in front. Names are not looked up: a lookup can block for seconds.
    pub fn parse(text: &str) -> Option<Addr> {
        let rest = strip_transport(text, "tcp:")
            .or_else(|| strip_transport(text, "udp:"))
            .unwrap_or(text);
        rest.parse::<SocketAddr>().ok().map(Addr::from_std)
    }

    /// Reads an address without a port: "192.0.2.1", "2001:db8::1", "\[2001:db8::1]", "fe80::1%3".
    pub fn parse_ip(text: &str) -> Option<Addr> {
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Some(Addr::v4(v4.octets(), 0));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(text);
        // Only the form with brackets and port reads a scope.
        format!("[{bare}]:0")
            .parse::<SocketAddrV6>()
            .ok()
            .map(|v6| Addr::from_std(SocketAddr::V6(v6)))
    }

    /// The address as words for the segment.
    pub fn to_words(&self) -> [u32; 6] {
        let [port_low, port_high] = self.port.to_le_bytes();
        let head = u32::from_le_bytes([self.family, self.reserved, port_low, port_high]);
        let [a, b, c, d] = self.ip_words();
        [head, self.scope_id, a, b, c, d]
    }

    /// From words of the segment. Total: whatever a stray write left there gives an address in
    /// canonical form, or none.
    pub fn from_words(words: [u32; 6]) -> Addr {
        let [head, scope_id, ip @ ..] = words;
        let [family, _, port_low, port_high] = head.to_le_bytes();
        let mut bytes = [0; 16];
        for (place, word) in bytes.chunks_exact_mut(4).zip(ip) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Addr {
            family,
            reserved: 0,
            port: u16::from_le_bytes([port_low, port_high]),
            scope_id,
            ip: bytes,
        }
        .normalised()
    }

    /// A hash over family, address, port and scope with all bits usable. Not keyed: see
    /// `hash32_keyed`.
    pub fn hash32(&self) -> u32 {
        self.hash32_keyed(0)
    }

    /// The hash for a table that strangers can fill. Who owns an IPv6 /64 chooses among 2^64
    /// addresses those that fall into one bucket, unless a random key keeps the buckets unknown.
    pub fn hash32_keyed(&self, key: u64) -> u32 {
        let [head, scope_id, a, b, c, d] = self.to_words();
        let mut hash = mix(key ^ join(head, scope_id));
        // An IPv4 address fits the first step: its other words are zero.
        hash = mix(hash ^ join(a, b));
        if c | d != 0 {
            hash = mix(hash ^ join(c, d));
        }
        (hash >> 32) as u32
    }

    fn ip_words(&self) -> [u32; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.ip.chunks_exact(4)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |word, &byte| (word << 8) | u32::from(byte));
        }
        words
    }
}

const fn join(low: u32, high: u32) -> u64 {
    (low as u64) | ((high as u64) << 32)
}

/// Spreads every bit of `word` over all others. A bijection, so no two inputs are lost here.
const fn mix(mut word: u64) -> u64 {
    // The odd constants are the fractions of the golden ratio and of the square root of 2.
    word ^= word >> 32;
    word = word
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^= word >> 29;
    word = word.wrapping_mul(0x6a09_e667_f3bc_c909);
    word ^ (word >> 32)
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Addr {
        Addr::from_std(addr)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_std() {
            Some(addr) => write!(f, "{addr}"),
            None => f.write_str("none"),
        }
    }
}

/// Displays the address alone: no port, no brackets; the scope of a link-local address stays.
pub struct IpText<'a>(pub &'a Addr);

impl fmt::Display for IpText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.std_ip() {
            Some(ip) => write!(f, "{ip}")?,
            None => f.write_str("none")?,
        }
        if self.0.scope_id != 0 {
            write!(f, "%{}", self.0.scope_id)?;
        }
        Ok(())
    }
}

/// Reads where to listen: "tcp:192.0.2.1:5060" or "tcp:\[::]:5060"; port 0 stands for any free one.
/// The error is one line for the host's log.
pub fn parse_listen(text: &str) -> Result<Addr, String> {
    let refuse = |why: &str| Err(format!("listen {}: {why}", Quoted(text)));
    let rest = strip_transport(text, "tcp:").unwrap_or(text);
    if ["udp:", "tls:", "sctp:", "ws:", "wss:"]
        .iter()
        .any(|other| strip_transport(text, other).is_some())
    {
        return refuse("only tcp: can be listened on here");
    }
    if let Ok(addr) = rest.parse::<SocketAddr>() {
        return Ok(Addr::from_std(addr));
    }
    if Addr::parse_ip(rest).is_some() {
        return refuse(if rest.contains(':') && !rest.starts_with('[') {
            "an IPv6 address needs brackets and a port, e.g. \"tcp:[2001:db8::1]:5060\""
        } else {
            "the port is missing, e.g. \"tcp:192.0.2.1:5060\""
        });
    }
    refuse("not an IP address and port, e.g. \"tcp:192.0.2.1:5060\"; names are not looked up")
}

/// Transport names are compared without regard to case (RFC 3261 section 7.3.1).
fn strip_transport<'a>(text: &'a str, transport: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(transport.len())?;
    head.eq_ignore_ascii_case(transport).then_some(rest)
}

/// Foreign text in an error line: quoted, on one line, and cut so that it cannot flood a log.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        match self.0.char_indices().nth(LONGEST) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}...", self.0.get(..end).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
