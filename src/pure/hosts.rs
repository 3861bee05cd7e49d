//! How many accepted connections each remote host has, for `max_connections_per_ip`.
//!
//! Every call looks up one host: what accepting costs does not grow with the number of connections
//! or hosts. There is an entry for each host that has a connection, and for no other.

use super::addr::Addr;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Hosts {
    /// By address without port. Hashed with a key of this process: peers choose their addresses.
    connections: HashMap<Addr, u32>,
}

impl Hosts {
    /// Room for all at once: growing would move every entry within one accept. (Rarely, after many
    /// hosts have come and gone, the map still cleans up within one.)
    pub fn with_room(hosts: usize) -> Result<Hosts, std::collections::TryReserveError> {
        let mut connections = HashMap::new();
        connections.try_reserve(hosts)?;
        Ok(Hosts { connections })
    }

    pub fn connections(&self, remote: &Addr) -> u32 {
        self.connections.get(&remote.with_port(0)).map_or(0, |n| *n)
    }

    pub fn opened(&mut self, remote: &Addr) {
        let n = self.connections.entry(remote.with_port(0)).or_default();
        *n = n.saturating_add(1);
    }

    /// Of a host that has none: nothing.
    pub fn ended(&mut self, remote: &Addr) {
        let host = remote.with_port(0);
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
}
