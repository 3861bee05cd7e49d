use super::*;
use proptest::prelude::*;

type MakeAddr = fn(u32) -> Addr;

fn parsed(text: &str) -> Addr {
    Addr::parse(text).expect(text)
}

fn any_addr() -> impl Strategy<Value = Addr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Addr::v4(ip, port)),
        (any::<[u8; 16]>(), any::<u16>(), any::<u32>())
            .prop_map(|(ip, port, scope)| Addr::v6(ip, port, scope)),
        (any::<[u8; 14]>(), any::<u16>(), any::<u32>()).prop_map(|(tail, port, scope)| {
            let mut ip = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            ip[2..].copy_from_slice(&tail);
            Addr::v6(ip, port, scope)
        }),
    ]
}

#[test]
fn layout_is_that_of_the_c_header() {
    assert_eq!(std::mem::size_of::<Addr>(), 24);
    assert_eq!(std::mem::offset_of!(Addr, port), 2);
    assert_eq!(std::mem::offset_of!(Addr, scope_id), 4);
    assert_eq!(std::mem::offset_of!(Addr, ip), 8);
}

#[test]
fn reads_the_documented_forms() {
    let v4 = Addr::v4([1, 2, 3, 4], 5060);
    assert_eq!(parsed("1.2.3.4:5060"), v4);
    assert_eq!(parsed("tcp:1.2.3.4:5060"), v4);
    assert_eq!(parsed("UDP:1.2.3.4:5060"), v4);
    let mut loopback = [0; 16];
    loopback[15] = 1;
    assert_eq!(parsed("[::1]:5060"), Addr::v6(loopback, 5060, 0));
    assert_eq!(parsed("tcp:[::1]:0"), Addr::v6(loopback, 0, 0));
    let link_local = parsed("[fe80::1%3]:5060");
    assert_eq!((link_local.family, link_local.scope_id), (6, 3));
}

#[test]
fn refuses_what_is_not_an_address_with_port() {
    for text in [
        "",
        ":",
        "1.2.3.4",
        "::1",
        "::1:5060",
        "[::1]",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3:5060",
        "01.2.3.4:5060",
        "example.org:5060",
        "tls:1.2.3.4:5060",
        "tcp:udp:1.2.3.4:5060",
        " 1.2.3.4:5060",
        "1.2.3.4:5060 ",
        "[fe80::1%eth0]:5060",
        "\u{e9}\u{e9}\u{e9}",
    ] {
        assert_eq!(Addr::parse(text), None, "{text}");
    }
}

#[test]
fn ipv4_mapped_becomes_ipv4_by_every_way_in() {
    let v4 = Addr::v4([192, 0, 2, 7], 5060);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
    let raw = Addr {
        family: 6,
        reserved: 9,
        port: 5060,
        scope_id: 2,
        ip: mapped,
    };
    assert_eq!(Addr::v6(mapped, 5060, 2), v4);
    assert_eq!(raw.normalised(), v4);
    assert_eq!(Addr::from_words(raw.to_words()), v4);
    assert_eq!(parsed("[::ffff:192.0.2.7]:5060"), v4);
    assert_eq!(
        Addr::from_std("[::ffff:192.0.2.7]:5060".parse().unwrap()),
        v4
    );
    assert_eq!(Addr::parse_ip("::ffff:192.0.2.7"), Some(v4.with_port(0)));
    assert_eq!(parse_listen("tcp:[::ffff:192.0.2.7]:5060"), Ok(v4));
}

#[test]
fn normalising_clears_what_the_family_does_not_use() {
    let dirty = Addr {
        family: 4,
        reserved: 1,
        port: 5060,
        scope_id: 3,
        ip: [7; 16],
    };
    assert_eq!(dirty.normalised(), Addr::v4([7; 4], 5060));
    assert_eq!(Addr { family: 5, ..dirty }.normalised(), Addr::none());
    assert_eq!(Addr { family: 0, ..dirty }.normalised(), Addr::none());
    // A scope means something for link-local addresses only.
    assert_eq!(parsed("[2001:db8::1%3]:5060"), parsed("[2001:db8::1]:5060"));
    assert_ne!(parsed("[fe80::1%3]:5060"), parsed("[fe80::1%4]:5060"));
    // fe80::/10 ends at febf.
    assert_ne!(parsed("[febf::1%3]:5060"), parsed("[febf::1]:5060"));
    assert_eq!(parsed("[fec0::1%3]:5060"), parsed("[fec0::1]:5060"));
}

#[test]
fn same_host_looks_at_everything_but_the_port() {
    let a = parsed("1.2.3.4:5060");
    assert!(a.same_host(&parsed("1.2.3.4:9")));
    assert!(!a.same_host(&parsed("1.2.3.5:5060")));
    assert!(!parsed("[fe80::1%3]:1").same_host(&parsed("[fe80::1%4]:1")));
    assert!(!Addr::none().same_host(&Addr::none()));
    assert!(!a.same_host(&Addr::none()));
}

#[test]
fn unspecified_is_any_of_either_family_and_not_none() {
    assert!(parsed("0.0.0.0:5060").is_unspecified());
    assert!(parsed("[::]:5060").is_unspecified());
    assert!(!parsed("127.0.0.1:0").is_unspecified());
    assert!(!Addr::none().is_unspecified());
}

#[test]
fn shows_the_text_of_the_field() {
    assert_eq!(parsed("1.2.3.4:5060").to_string(), "1.2.3.4:5060");
    assert_eq!(parsed("[::1]:5060").to_string(), "[::1]:5060");
    assert_eq!(parsed("[fe80::1%3]:5060").to_string(), "[fe80::1%3]:5060");
    assert_eq!(Addr::none().to_string(), "none");
    assert_eq!(IpText(&parsed("1.2.3.4:5060")).to_string(), "1.2.3.4");
    assert_eq!(
        IpText(&parsed("[2001:DB8:0::1]:5060")).to_string(),
        "2001:db8::1"
    );
    assert_eq!(IpText(&parsed("[fe80::1%3]:5060")).to_string(), "fe80::1%3");
    assert_eq!(IpText(&Addr::none()).to_string(), "none");
}

#[test]
fn reads_an_address_without_port() {
    assert_eq!(
        Addr::parse_ip("192.0.2.1"),
        Some(Addr::v4([192, 0, 2, 1], 0))
    );
    assert_eq!(Addr::parse_ip("::1"), Addr::parse("[::1]:0"));
    assert_eq!(Addr::parse_ip("[::1]"), Addr::parse("[::1]:0"));
    assert_eq!(Addr::parse_ip("fe80::1%3"), Addr::parse("[fe80::1%3]:0"));
    for text in [
        "",
        "192.0.2.1:5060",
        "[::1]:5060",
        "::1]:1",
        "[192.0.2.1]",
        "name",
        "::1]:5060/[",
    ] {
        assert_eq!(Addr::parse_ip(text), None, "{text}");
    }
}

#[test]
fn listen_takes_tcp_only_and_says_why() {
    assert_eq!(
        parse_listen("tcp:127.0.0.1:5060"),
        Ok(Addr::v4([127, 0, 0, 1], 5060))
    );
    assert_eq!(parse_listen("127.0.0.1:0"), Ok(Addr::v4([127, 0, 0, 1], 0)));
    assert_eq!(parse_listen("TCP:[::]:5060"), Ok(parsed("[::]:5060")));
    for (text, part) in [
        ("udp:127.0.0.1:5060", "only tcp: can be listened on here"),
        ("tls:127.0.0.1:5061", "only tcp: can be listened on here"),
        ("tcp:127.0.0.1", "the port is missing"),
        ("tcp:[::1]", "the port is missing"),
        ("tcp:2001:db8::1", "needs brackets"),
        ("tcp:sip.example.org:5060", "names are not looked up"),
        ("tcp:127.0.0.1:99999", "not an IP address and port"),
        ("", "not an IP address and port"),
        ("tcp:a\nb", "\"tcp:a\\nb\""),
    ] {
        let error = parse_listen(text).unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains('\n'));
    }
    assert!(parse_listen(&"x".repeat(100_000)).unwrap_err().len() < 300);
}

/// Keys that differ a little, as a SIP server meets them: buckets must fill evenly, by low bits and
/// by high bits.
#[test]
fn hash_spreads_neighbours() {
    const KEYS: u32 = 16_384;
    const BUCKETS: usize = 1_024;
    let families: [(&str, MakeAddr); 4] = [
        ("ports of one host", |n| Addr::v4([10, 0, 0, 1], n as u16)),
        ("IPv4 neighbours", |n| {
            Addr::v4((0x0a00_0000 | n).to_be_bytes(), 5060)
        }),
        ("addresses of an IPv6 /64", |n| {
            Addr::v6(
                (0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes(),
                5060,
                0,
            )
        }),
        ("IPv6 prefixes", |n| {
            Addr::v6(
                (0x2001_0db8_u128 << 96 | u128::from(n) << 64 | 1).to_be_bytes(),
                5060,
                0,
            )
        }),
    ];
    for (name, make) in families {
        let mut low = vec![0; BUCKETS];
        let mut high = vec![0; BUCKETS];
        for n in 0..KEYS {
            let hash = make(n).hash32() as usize;
            low[hash % BUCKETS] += 1;
            high[hash >> 22] += 1;
        }
        // 16 on average; a fair spread stays below 40 with all but 1 chance in 10^4.
        assert!(low.iter().chain(&high).all(|&count| count < 40), "{name}");
    }
}

#[test]
fn hash_depends_on_every_part_and_on_the_key() {
    let a = parsed("[fe80::1%3]:5060");
    for other in [
        "[fe80::1%4]:5060",
        "[fe80::1%3]:5061",
        "[fe80::2%3]:5060",
        "[fe81::1%3]:5060",
    ] {
        assert_ne!(a.hash32(), parsed(other).hash32(), "{other}");
    }
    assert_ne!(parsed("0.0.0.0:1").hash32(), parsed("[::]:1").hash32());
    assert_ne!(a.hash32_keyed(1), a.hash32_keyed(2));
}

proptest! {
    #[test]
    fn text_round_trip(addr in any_addr()) {
        prop_assert_eq!(Addr::parse(&addr.to_string()), Some(addr));
        prop_assert_eq!(Addr::parse_ip(&IpText(&addr).to_string()), Some(addr.with_port(0)));
    }

    #[test]
    fn word_and_std_round_trip(addr in any_addr()) {
        prop_assert_eq!(Addr::from_words(addr.to_words()), addr);
        prop_assert_eq!(addr.to_std().map(Addr::from_std), Some(addr));
        prop_assert_eq!(addr.normalised(), addr);
    }

    #[test]
    fn hostile_words_give_a_canonical_address_or_none(words: [u32; 6]) {
        let addr = Addr::from_words(words);
        prop_assert_eq!(addr.normalised(), addr);
        prop_assert_eq!(addr.is_none(), addr == Addr::none());
        prop_assert_eq!(Addr::from_words(addr.to_words()), addr);
    }

    #[test]
    fn raw_structs_normalise_once(family in 0_u8..8, reserved: u8, port: u16, scope_id: u32, ip: [u8; 16]) {
        let once = Addr { family, reserved, port, scope_id, ip }.normalised();
        prop_assert_eq!(once.normalised(), once);
        prop_assert_eq!(once.reserved, 0);
    }

    #[test]
    fn parsing_never_panics(text in ".{0,40}") {
        let _ = Addr::parse(&text);
        let _ = Addr::parse_ip(&text);
        let _ = parse_listen(&text);
    }
}
