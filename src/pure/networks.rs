//! Lists of networks: "192.0.2.0/24, 2001:db8::/32".
//!
//! Invariant: the list is sorted and no network lies inside another one, so that the answer takes one
//! binary search however long the list is, and equal sets of networks compare equal. IPv4 and IPv6
//! never match each other ("::/0" is not "everybody"), but an IPv4-mapped IPv6 network is the IPv4 one,
//! as `Addr` has it for addresses.

use super::addr::{Addr, FAMILY_V4, FAMILY_V6, IpText, Quoted};
use std::fmt;
use std::sync::Arc;

/// One network: all addresses of a family that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Network {
    family: u8,
    /// The smallest and the largest address, as numbers.
    first: u128,
    last: u128,
}

/// A list of networks, cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Arc<[Network]>);

impl Networks {
    /// Reads networks separated by commas, white space or both; an address without "/" is a network of
    /// one. The error names the first item that is none, and what to write instead.
    pub fn parse(text: &str) -> Result<Networks, String> {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|item| !item.is_empty())
            .map(Network::parse)
            .collect::<Result<Vec<_>, _>>()
            .map(Networks::of)
    }

    fn of(mut list: Vec<Network>) -> Networks {
        // The widest of those that begin at the same address comes first and takes the others in.
        list.sort_by_key(|network| (network.family, network.first, !network.last));
        list.dedup_by(|next, kept| next.family == kept.family && next.last <= kept.last);
        Networks(list.into())
    }

    /// True when one of the networks has the address, whatever its port and scope.
    pub fn contains(&self, addr: &Addr) -> bool {
        let addr = addr.normalised();
        let number = number_of(&addr);
        let after = self
            .0
            .partition_point(|network| (network.family, network.first) <= (addr.family, number));
        after
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .is_some_and(|network| network.family == addr.family && number <= network.last)
    }

    /// True for a list that has no network.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Networks {
    /// In the form that `parse` reads, sorted, with what lies inside another network left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{network}")?;
        }
        Ok(())
    }
}

impl Network {
    fn parse(item: &str) -> Result<Network, String> {
        let (host, prefix) = match item.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (item, None),
        };
        let refuse = |why: &str, instead: &dyn fmt::Display| {
            Err(format!("{}: {why}; use \"{instead}\"", Quoted(item)))
        };
        let Some(addr) = Addr::parse_ip(host) else {
            return match Addr::parse(host) {
                Some(with_port) => refuse("a network has no port", &IpText(&with_port)),
                None => refuse("not an IP address or network", &"192.0.2.0/24"),
            };
        };
        if addr.scope_id != 0 {
            let bare = Addr::v6(addr.ip, 0, 0);
            return refuse("a network has no scope", &IpText(&bare));
        }
        let whole = Network::around(&addr, bits_of(addr.family));
        let Some(prefix) = prefix else {
            return Ok(whole);
        };
        // What is written of an IPv4-mapped address counts from the beginning of the IPv6 address.
        let written_v6 = host.contains(':');
        let mapped = if written_v6 && addr.family == FAMILY_V4 {
            96
        } else {
            0
        };
        let longest = bits_of(addr.family) + mapped;
        let Some(length) = read_length(prefix) else {
            return match mask_length(prefix).filter(|_| !written_v6) {
                Some(length) => refuse(
                    "the length of the prefix is wanted, not a mask",
                    &Network::around(&addr, length),
                ),
                None => refuse("the length of the prefix is not a number", &whole),
            };
        };
        if length > longest {
            return refuse(&format!("the longest prefix is {longest}"), &whole);
        }
        if length < mapped {
            return refuse(
                "the IPv4-mapped addresses begin with 96 bits",
                &format_args!("{}/{}", IpText(&addr), 0),
            );
        }
        let network = Network::around(&addr, length - mapped);
        if network.first != number_of(&addr) {
            return refuse("the address has bits beyond the prefix", &network);
        }
        Ok(network)
    }

    /// The network of this length that the address lies in.
    fn around(addr: &Addr, length: u32) -> Network {
        // Shifting by all 128 bits is no shift for the processor; here it must leave nothing.
        let host_bits = bits_of(addr.family).saturating_sub(length);
        let host_mask = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let number = number_of(addr);
        Network {
            family: addr.family,
            first: number & !host_mask,
            last: number | host_mask,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = bits_of(self.family);
        let length = bits - (self.first ^ self.last).count_ones();
        let addr = match self.family {
            FAMILY_V6 => Addr::v6(self.first.to_be_bytes(), 0, 0),
            _ => {
                let [.., a, b, c, d] = self.first.to_be_bytes();
                Addr::v4([a, b, c, d], 0)
            }
        };
        match length == bits {
            true => write!(f, "{}", IpText(&addr)),
            false => write!(f, "{}/{length}", IpText(&addr)),
        }
    }
}

fn bits_of(family: u8) -> u32 {
    if family == FAMILY_V6 { 128 } else { 32 }
}

/// The address as a number, the first byte the most significant; equal distances mean equal numbers of
/// addresses between, in one family.
fn number_of(addr: &Addr) -> u128 {
    let number = u128::from_be_bytes(addr.ip);
    match addr.family {
        FAMILY_V6 => number,
        _ => number >> 96,
    }
}

/// Digits alone (`parse` would take a sign too); a number too large to hold is out of range anyway.
fn read_length(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// "255.255.255.0" to 24.
fn mask_length(text: &str) -> Option<u32> {
    let mask = Addr::parse_ip(text).filter(|mask| mask.family == FAMILY_V4)?;
    let mask = number_of(&mask) as u32;
    (mask.leading_ones() == mask.count_ones()).then(|| mask.leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(text: &str) -> Networks {
        Networks::parse(text).unwrap()
    }

    fn has(text: &str, addr: &str) -> bool {
        networks(text).contains(&Addr::parse_ip(addr).unwrap())
    }

    #[test]
    fn what_a_list_has() {
        for (list, addr, expected) in [
            ("", "192.0.2.1", false),
            ("192.0.2.0/24", "192.0.2.0", true),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "192.0.1.255", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("::", "0.0.0.0", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::1", true),
            ("fe80::/10", "fe80::1%3", true),
            // In either form the same IPv4 network.
            ("::ffff:192.0.2.0/120", "192.0.2.7", true),
            ("::ffff:0:0/96", "192.0.2.7", true),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            (
                "10.0.0.0/8 , 192.0.2.0/24\t2001:db8::/32,",
                "192.0.2.9",
                true,
            ),
            ("10.0.0.0/8,10.1.0.0/16", "10.200.0.1", true),
            ("10.1.0.0/16,10.3.0.0/16", "10.2.0.1", false),
        ] {
            assert_eq!(has(list, addr), expected, "{addr} in {list:?}");
        }
        assert!(!networks("0.0.0.0/0 ::/0").contains(&Addr::none()));
        assert!(has("192.0.2.1", "192.0.2.1"));
        let with_port = Addr::v4([192, 0, 2, 1], 5060);
        assert!(networks("192.0.2.1").contains(&with_port));
    }

    #[test]
    fn the_canonical_text() {
        for (given, canonical) in [
            ("", ""),
            (" , ", ""),
            ("192.0.2.1/32", "192.0.2.1"),
            ("2001:DB8::/32 10.0.0.0/8", "10.0.0.0/8, 2001:db8::/32"),
            ("10.0.0.0/8,10.1.0.0/16,10.0.0.0/9,10.0.0.0/8", "10.0.0.0/8"),
            ("::/0,0.0.0.0/0", "0.0.0.0/0, ::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(networks(given).to_string(), canonical, "{given}");
            assert_eq!(networks(canonical), networks(given));
            assert_eq!(networks(given).is_empty(), canonical.is_empty());
        }
    }

    #[test]
    fn errors_name_the_item_and_the_nearest_good_form() {
        for (list, line) in [
            (
                "192.0.2.0/24, 192.0.2.1/24",
                r#""192.0.2.1/24": the address has bits beyond the prefix; use "192.0.2.0/24""#,
            ),
            (
                "192.0.2.0/33",
                r#""192.0.2.0/33": the longest prefix is 32; use "192.0.2.0""#,
            ),
            (
                "2001:db8::/99999999999",
                r#""2001:db8::/99999999999": the longest prefix is 128; use "2001:db8::""#,
            ),
            (
                "192.0.2.0/255.255.255.0",
                r#""192.0.2.0/255.255.255.0": the length of the prefix is wanted, not a mask; use "192.0.2.0/24""#,
            ),
            (
                "192.0.2.0/255.0.255.0",
                r#""192.0.2.0/255.0.255.0": the length of the prefix is not a number; use "192.0.2.0""#,
            ),
            (
                "192.0.2.0/+8",
                r#""192.0.2.0/+8": the length of the prefix is not a number; use "192.0.2.0""#,
            ),
            (
                "192.0.2.0/",
                r#""192.0.2.0/": the length of the prefix is not a number; use "192.0.2.0""#,
            ),
            (
                "192.0.2.1:5060",
                r#""192.0.2.1:5060": a network has no port; use "192.0.2.1""#,
            ),
            (
                "fe80::1%3",
                r#""fe80::1%3": a network has no scope; use "fe80::1""#,
            ),
            (
                "::ffff:0.0.0.0/90",
                r#""::ffff:0.0.0.0/90": the IPv4-mapped addresses begin with 96 bits; use "0.0.0.0/0""#,
            ),
            (
                "localhost",
                r#""localhost": not an IP address or network; use "192.0.2.0/24""#,
            ),
            (
                "10/8",
                r#""10/8": not an IP address or network; use "192.0.2.0/24""#,
            ),
        ] {
            assert_eq!(Networks::parse(list), Err(line.to_string()));
        }
    }

    /// An address that is often near others.
    fn any_addr() -> impl Strategy<Value = Addr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| Addr::v4(ip, 0)),
            any::<u8>().prop_map(|low| Addr::v4([10, 0, 0, low], 0)),
            any::<[u8; 16]>().prop_map(|ip| Addr::v6(ip, 0, 0)),
        ]
    }

    fn any_network() -> impl Strategy<Value = Network> {
        (any_addr(), 0_u32..=128)
            .prop_map(|(addr, length)| Network::around(&addr, length.min(bits_of(addr.family))))
    }

    proptest! {
        #[test]
        fn a_list_has_what_one_of_its_networks_has(
            list in prop::collection::vec(any_network(), 0..20),
            addr in any_addr(),
        ) {
            let number = number_of(&addr);
            let one_has = list.iter().any(|network| {
                network.family == addr.family && (network.first..=network.last).contains(&number)
            });
            prop_assert_eq!(Networks::of(list).contains(&addr), one_has);
        }

        #[test]
        fn the_text_reads_back(list in prop::collection::vec(any_network(), 0..20)) {
            let list = Networks::of(list);
            prop_assert_eq!(Networks::parse(&list.to_string()), Ok(list));
        }

        #[test]
        fn reading_is_total_and_what_an_error_suggests_is_taken(
            text in prop_oneof![".{0,60}", "[0-9a-f:./, ]{0,60}", "[0-9]{1,3}\\.[0-9]\\.[0-9]\\.[0-9]/[0-9]{1,3}"],
        ) {
            if let Err(line) = Networks::parse(&text) {
                let instead = line.rsplit('"').nth(1).unwrap();
                prop_assert!(Networks::parse(instead).is_ok(), "{}", line);
            }
        }
    }
}
