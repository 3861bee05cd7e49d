//! How many accepted connections each remote host has, for `max_connections_per_ip`. All addresses that
//! begin with the same bits, as many as the settings say, are one host.
//!
//! Every call looks up one host: what accepting costs does not grow with the number of connections
//! or hosts. There is an entry for each host that has a connection, and for no other.

use super::addr::{Addr, FAMILY_V4};
use std::collections::HashMap;

#[derive(Debug)]
pub struct Hosts {
    /// By address without port. Hashed with a key of this process: peers choose their addresses.
    connections: HashMap<Addr, u32>,
    prefix4: u32,
    prefix6: u32,
}

impl Default for Hosts {
    fn default() -> Hosts {
        Hosts {
            connections: HashMap::new(),
            prefix4: 32,
            prefix6: 64,
        }
    }
}

impl Hosts {
    /// Room for all at once: growing would move every entry within one accept. (Rarely, after many
    /// hosts have come and gone, the map still cleans up within one.)
    pub fn with_room(hosts: usize) -> Result<Hosts, std::collections::TryReserveError> {
        let mut empty = Hosts::default();
        empty.connections.try_reserve(hosts)?;
        Ok(empty)
    }

    /// Bits of an address that make a host. True: they are others than before, and nothing is counted any
    /// more.
    pub fn set_prefixes(&mut self, prefix4: u32, prefix6: u32) -> bool {
        let changed = (self.prefix4, self.prefix6) != (prefix4, prefix6);
        if changed {
            (self.prefix4, self.prefix6) = (prefix4, prefix6);
            self.connections.clear();
        }
        changed
    }

    /// The address that stands for the host: the bits beyond its prefix are zero.
    pub fn host_of(&self, remote: &Addr) -> Addr {
        let prefix = match remote.family {
            FAMILY_V4 => self.prefix4,
            _ => self.prefix6,
        };
        let mut host = remote.with_port(0);
        for (byte, from) in host.ip.iter_mut().zip((0u32..).step_by(8)) {
            let kept = prefix.saturating_sub(from).min(8);
            *byte &= !(0xFF_u32 >> kept) as u8;
        }
        host
    }

    pub fn connections(&self, remote: &Addr) -> u32 {
        let host = self.host_of(remote);
        self.connections.get(&host).map_or(0, |n| *n)
    }

    pub fn opened(&mut self, remote: &Addr) {
        let host = self.host_of(remote);
        let n = self.connections.entry(host).or_default();
        *n = n.saturating_add(1);
    }

    /// Of a host that has none: nothing.
    pub fn ended(&mut self, remote: &Addr) {
        let host = self.host_of(remote);
        if let Some(n) = self.connections.get_mut(&host) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.connections.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hosts;
    use crate::pure::addr::Addr;

    fn v4(last: u8, port: u16) -> Addr {
        Addr::v4([192, 0, 2, last], port)
    }

    #[test]
    fn the_ports_of_a_host_are_one_host() {
        let mut hosts = Hosts::default();
        for port in 1..=5 {
            hosts.opened(&v4(1, port));
        }
        hosts.opened(&v4(2, 1));
        assert_eq!(hosts.connections(&v4(1, 99)), 5);
        assert_eq!(hosts.connections(&v4(2, 99)), 1);
        assert_eq!(hosts.connections(&v4(3, 1)), 0);
    }

    #[test]
    fn a_host_without_connections_leaves_no_entry() {
        let mut hosts = Hosts::default();
        for port in 1..=1000 {
            let remote = Addr::v6([port as u8; 16], port, 0);
            hosts.opened(&remote);
            hosts.opened(&remote);
            hosts.ended(&remote);
            assert_eq!(hosts.connections(&remote), 1);
            hosts.ended(&remote);
            assert_eq!(hosts.connections(&remote), 0);
        }
        assert!(hosts.connections.is_empty());
    }

    #[test]
    fn an_end_that_was_never_opened_counts_nothing() {
        let mut hosts = Hosts::default();
        hosts.ended(&v4(1, 1));
        hosts.opened(&v4(1, 1));
        hosts.ended(&v4(1, 1));
        hosts.ended(&v4(1, 1));
        hosts.opened(&v4(1, 1));
        assert_eq!(hosts.connections(&v4(1, 1)), 1);
    }

    #[test]
    fn addresses_that_begin_alike_are_one_host() {
        let mut hosts = Hosts::default();
        let v6 = |subnet: u8, last: u8| {
            let mut ip = [0x20, 1, 0xd, 0xb8, 0, 0, 0, subnet, 0, 0, 0, 0, 0, 0, 0, 0];
            ip[15] = last;
            Addr::v6(ip, 5_060, 0)
        };
        hosts.opened(&v6(1, 1));
        hosts.opened(&v6(1, 2));
        hosts.opened(&v6(2, 1));
        assert_eq!(hosts.connections(&v6(1, 9)), 2);
        hosts.ended(&v6(1, 7));
        assert_eq!(hosts.connections(&v6(1, 1)), 1);
        for (prefix4, prefix6, alike4, alike6) in [
            (32, 128, false, false),
            (31, 127, true, true),
            (25, 120, true, true),
            (1, 1, true, true),
        ] {
            assert!(hosts.set_prefixes(prefix4, prefix6));
            assert_eq!(hosts.connections(&v6(1, 2)), 0);
            hosts.opened(&v6(1, 2));
            hosts.opened(&v4(2, 1));
            assert_eq!(hosts.connections(&v6(1, 3)) == 1, alike6, "{prefix6}");
            assert_eq!(hosts.connections(&v4(3, 1)) == 1, alike4, "{prefix4}");
            assert_eq!(hosts.connections(&v6(1, 2)), 1);
        }
        assert!(!hosts.set_prefixes(1, 1));
        assert_eq!(hosts.connections(&v4(2, 1)), 1);
    }
}
