//! Who may connect: the one place that decides it, from the settings and from who came before.

use super::addr::Addr;
use super::hosts::Hosts;
use super::rate::{Bucket, HostRates};
use super::settings::Settings;
use std::fmt;

/// Why a connection is not accepted. `Display` is the rest of a log line "refused a connection from X: ".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Denied,
    NotAllowed,
    MaxConnections,
    PerIp,
    RatePerIp,
    Rate,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Denied => "it is in deny_networks",
            Refused::NotAllowed => "it is not in allow_networks",
            Refused::MaxConnections => "max_connections reached",
            Refused::PerIp => "max_connections_per_ip reached",
            Refused::RatePerIp => "accept_rate_per_ip reached",
            Refused::Rate => "accept_rate reached",
        })
    }
}

/// What came before.
#[derive(Debug, Default)]
pub struct Door {
    /// Accepted connections by host.
    pub hosts: Hosts,
    rate: Bucket,
    host_rates: HostRates,
}

impl Door {
    pub fn new(hosts: Hosts) -> Door {
        Door {
            hosts,
            ..Door::default()
        }
    }

    /// Whether one more connection may come from there; it then counts for the rates. Those that are refused
    /// use up nobody's rate.
    pub fn admit(
        &mut self,
        remote: &Addr,
        settings: &Settings,
        now_ms: u64,
    ) -> Result<(), Refused> {
        if settings.deny_networks.contains(remote) {
            return Err(Refused::Denied);
        }
        let allowed = &settings.allow_networks;
        if !allowed.is_empty() && !allowed.contains(remote) {
            return Err(Refused::NotAllowed);
        }
        if settings.trusted_networks.contains(remote) {
            return Ok(());
        }
        let most = settings.max_connections_per_ip;
        if most > 0 && self.hosts.connections(remote) >= most {
            return Err(Refused::PerIp);
        }
        let (rate, per_ip) = (settings.accept_rate, settings.accept_rate_per_ip);
        if rate > 0 && !self.rate.has_one(rate, now_ms) {
            return Err(Refused::Rate);
        }
        if per_ip > 0 {
            let host = self.hosts.host_of(remote);
            if !self.host_rates.take(&host, per_ip, now_ms) {
                return Err(Refused::RatePerIp);
            }
        }
        if rate > 0 {
            self.rate.take(rate, now_ms);
        }
        Ok(())
    }

    /// Settings have changed. True: other addresses than before are one host, and `hosts`, which is
    /// empty now, has to be counted anew.
    pub fn follow(&mut self, settings: &Settings) -> bool {
        if settings.accept_rate_per_ip == 0 {
            self.host_rates.forget();
        }
        let prefixes = (settings.per_ip_prefix4, settings.per_ip_prefix6);
        self.hosts.set_prefixes(prefixes.0, prefixes.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new(1);
        for (key, value) in pairs {
            settings.set(key, value).unwrap();
        }
        settings
    }

    fn ip(text: &str) -> Addr {
        Addr::parse_ip(text).unwrap().with_port(4_000)
    }

    #[test]
    fn without_settings_everybody_may_come() {
        let mut door = Door::default();
        for i in 0..1_000 {
            door.hosts.opened(&ip("192.0.2.1"));
            assert_eq!(door.admit(&ip("192.0.2.1"), &settings(&[]), i), Ok(()));
        }
    }

    #[test]
    fn denied_before_allowed_before_trusted() {
        let lists = settings(&[
            ("allow_networks", "192.0.2.0/24, 2001:db8::/32"),
            ("deny_networks", "192.0.2.128/25"),
            (
                "trusted_networks",
                "192.0.2.128/25, 198.51.100.0/24, 192.0.2.0/28",
            ),
            ("max_connections_per_ip", "1"),
        ]);
        let mut door = Door::default();
        for (addr, verdict) in [
            ("192.0.2.1", Ok(())),
            ("192.0.2.77", Err(Refused::PerIp)),
            ("2001:db8::1", Err(Refused::PerIp)),
            ("192.0.2.200", Err(Refused::Denied)),
            ("198.51.100.1", Err(Refused::NotAllowed)),
            ("2001:db9::1", Err(Refused::NotAllowed)),
        ] {
            door.hosts.opened(&ip(addr));
            assert_eq!(door.admit(&ip(addr), &lists, 0), verdict, "{addr}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_host() {
        let mut limits = settings(&[("max_connections_per_ip", "2")]);
        let mut door = Door::default();
        assert!(!door.follow(&limits), "the defaults of both");
        door.hosts.opened(&ip("2001:db8::1"));
        door.hosts.opened(&ip("2001:db8::2"));
        assert_eq!(
            door.admit(&ip("2001:db8::3"), &limits, 0),
            Err(Refused::PerIp)
        );
        assert_eq!(door.admit(&ip("2001:db8:0:1::3"), &limits, 0), Ok(()));
        limits.set("per_ip_prefix6", "128").unwrap();
        assert!(door.follow(&limits));
        door.hosts.opened(&ip("2001:db8::1"));
        door.hosts.opened(&ip("2001:db8::1"));
        assert_eq!(
            door.admit(&ip("2001:db8::1"), &limits, 0),
            Err(Refused::PerIp)
        );
        assert_eq!(door.admit(&ip("2001:db8::2"), &limits, 0), Ok(()));
    }

    #[test]
    fn who_is_refused_uses_up_nobodys_rate() {
        let rates = settings(&[
            ("accept_rate", "3"),
            ("accept_rate_per_ip", "2"),
            ("deny_networks", "192.0.2.9"),
            ("trusted_networks", "192.0.2.8"),
        ]);
        let mut door = Door::default();
        let now_ms = 100_000;
        let mut admit = |addr: &str| door.admit(&ip(addr), &rates, now_ms);
        for _ in 0..10 {
            assert_eq!(admit("192.0.2.9"), Err(Refused::Denied));
            assert_eq!(admit("192.0.2.8"), Ok(()));
        }
        assert_eq!(admit("192.0.2.1"), Ok(()));
        assert_eq!(admit("192.0.2.1"), Ok(()));
        assert_eq!(admit("192.0.2.1"), Err(Refused::RatePerIp));
        assert_eq!(admit("192.0.2.2"), Ok(()));
        assert_eq!(admit("192.0.2.2"), Err(Refused::Rate));
        assert_eq!(door.admit(&ip("192.0.2.2"), &rates, now_ms + 334), Ok(()));
    }
}
