use super::*;
use proptest::prelude::*;

fn v4(text: &str) -> Addr {
    Addr::parse(text).unwrap()
}

fn pair(source: &str, destination: &str) -> Option<Pair> {
    Some(Pair {
        source: v4(source),
        destination: v4(destination),
    })
}

fn header(length: usize, pair: Option<Pair>) -> Parsed {
    Parsed::Header { length, pair }
}

/// A header of version 2 with what follows the fixed part.
fn v2(command: u8, family: u8, after: &[u8]) -> Vec<u8> {
    let length = (after.len() as u16).to_be_bytes();
    [V2, &[command, family], &length, after].concat()
}

fn tcp4(extensions: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 9, 0x12, 0x34, 0x13, 0xc4];
    v2(0x21, 0x11, &[&addresses, extensions].concat())
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

const BOTH: (&str, &str) = ("192.0.2.7:4660", "198.51.100.9:5060");

#[test]
fn lines_of_version_1() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.9 4660 5060\r\n",
            pair(BOTH.0, BOTH.1),
        ),
        (
            "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            pair("255.255.255.255:65535", "0.0.0.0:0"),
        ),
        (
            "PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 1 2\r\n",
            pair("[2001:db8::1]:1", "[2001:db8::2]:2"),
        ),
        // Mapped: the IPv4 address.
        (
            "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.9 4660 5060\r\n",
            pair(BOTH.0, BOTH.1),
        ),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN \0any\r thing\r\n", None),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            None,
        ),
    ] {
        assert_eq!(
            parse(line.as_bytes()),
            header(line.len(), expected),
            "{line}"
        );
    }
}

#[test]
fn bad_lines_of_version_1() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.7 198.51.100.9 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.9 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.9 1 2\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.9 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1 2 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1 2 3\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 01 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 +1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 -1 2\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.9 1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.9 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.9 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1 2\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1 2\r\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 1 \u{ff}\r\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Parsed::Bad(_)), "{line:?}");
    }
}

#[test]
fn a_line_has_107_bytes_at_most() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(parse(line(107).as_bytes()), header(107, None));
    for bytes in [&line(108)[..], &line(108)[..107], &line(5000)[..]] {
        assert_eq!(
            parse(bytes.as_bytes()),
            Parsed::Bad("its line is longer than 107 bytes")
        );
    }
    assert_eq!(parse(&line(108).as_bytes()[..106]), BEGUN);
}

#[test]
fn version_2() {
    let both = pair(BOTH.0, BOTH.1);
    assert_eq!(parse(&tcp4(&[])), header(28, both));
    let mut mapped = [0_u8; 36];
    mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
    mapped[26..32].copy_from_slice(&[0xff, 0xff, 198, 51, 100, 9]);
    mapped[32..].copy_from_slice(&[0x12, 0x34, 0x13, 0xc4]);
    assert_eq!(parse(&v2(0x21, 0x21, &mapped)), header(52, both));
    mapped[10] = 1;
    let Parsed::Header {
        pair: Some(found), ..
    } = parse(&v2(0x21, 0x21, &mapped))
    else {
        panic!("not read")
    };
    assert_eq!((found.source.family, found.source.port), (FAMILY_V6, 4660));
    // LOCAL, and what is no TCP over IP.
    for (command, family, after) in [
        (0x20, 0x00, &[][..]),
        (0x20, 0x11, &[1, 2, 3]),
        (0x20, 0xff, &[1, 2, 3]),
        (0x21, 0x00, &[]),
        (0x21, 0x00, &[9; 20]),
        (0x21, 0x12, &[9; 12]),
        (0x21, 0x22, &[9; 36]),
        (0x21, 0x31, &[9; 216]),
        (0x21, 0x32, &[9; 216]),
    ] {
        let bytes = v2(command, family, after);
        assert_eq!(parse(&bytes), header(bytes.len(), None), "{family:x}");
    }
}

#[test]
fn bad_headers_of_version_2() {
    for bytes in [
        v2(0x22, 0x11, &[0; 12]),
        v2(0x2f, 0x11, &[0; 12]),
        v2(0x11, 0x11, &[0; 12]),
        v2(0x01, 0x11, &[0; 12]),
        v2(0x21, 0x10, &[0; 12]),
        v2(0x21, 0x13, &[0; 12]),
        v2(0x21, 0x41, &[0; 12]),
        v2(0x21, 0x01, &[0; 12]),
        v2(0x21, 0x11, &[0; 11]),
        v2(0x21, 0x21, &[0; 35]),
    ] {
        assert!(matches!(parse(&bytes), Parsed::Bad(_)), "{bytes:x?}");
    }
    let most = v2(0x20, 0, &[0; LONGEST - 16]);
    assert_eq!(parse(&most), header(LONGEST, None));
    let long = v2(0x20, 0, &[0; LONGEST - 15]);
    // Known to be too long as soon as its length is there.
    assert_eq!(parse(&long), Parsed::Bad("it is longer than 4096 bytes"));
    assert_eq!(parse(&long[..16]), parse(&long));
}

#[test]
fn extensions_are_skipped_and_a_checksum_is_checked() {
    let both = pair(BOTH.0, BOTH.1);
    for extensions in [
        extension(0x04, &[]),
        extension(0x01, b"sip"),
        [extension(0xea, &[0; 300]), extension(0x02, b"host")].concat(),
    ] {
        let bytes = tcp4(&extensions);
        assert_eq!(parse(&bytes), header(bytes.len(), both));
    }
    for extensions in [
        &[0x04][..],
        &[0x04, 0],
        &[0x04, 0, 1],
        &[0x04, 0xff, 0xff, 1],
        &extension(0x03, &[0; 3]),
        &extension(0x03, &[0; 4]),
    ] {
        let bytes = tcp4(extensions);
        assert!(matches!(parse(&bytes), Parsed::Bad(_)), "{extensions:x?}");
    }
    let mut bytes = tcp4(&[extension(0x03, &[0; 4]), extension(0x02, b"host")].concat());
    let sum = crc32c(&[&bytes]);
    bytes[31..35].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(parse(&bytes), header(bytes.len(), both));
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(parse(&bytes), Parsed::Bad("the checksum does not fit"));
    let twice = [
        extension(0x03, &sum.to_be_bytes()),
        extension(0x03, &[0; 4]),
    ]
    .concat();
    assert!(matches!(parse(&tcp4(&twice)), Parsed::Bad(_)));
    // RFC 3720 appendix B.4.
    assert_eq!(crc32c(&[&[0; 32]]), 0x8A91_36AA);
    assert_eq!(crc32c(&[b"1234", b"56789"]), 0xE306_9283);
}

#[test]
fn what_is_no_header() {
    for bytes in [
        &b"REGISTER sip:a SIP/2.0\r\n"[..],
        b"PUBLISH sip:a SIP/2.0\r\n",
        b"PROXYING",
        b"proxy TCP4",
        b"\r\n\r\nOPTIONS",
        b"\r\nX",
        b"\0",
    ] {
        assert_eq!(parse(bytes), Parsed::Absent);
    }
    for bytes in [&b""[..], b"P", b"PROXY", b"\r\n", b"\r\n\r\n", &V2[..11]] {
        assert_eq!(parse(bytes), Parsed::More { begun: false });
    }
    for bytes in [&b"PROXY "[..], b"PROXY nonsense", V2, &tcp4(&[])[..27]] {
        assert_eq!(parse(bytes), BEGUN);
    }
}

#[test]
fn verdicts() {
    use Moment::*;
    use ProxyProtocol::{Optional, Required};
    let line = b"PROXY UNKNOWN\r\nOPTIONS";
    let serve = |header| Verdict::Serve { header, pair: None };
    for (mode, bytes, moment, expected) in [
        (Required, &line[..], Open, Some(serve(15))),
        (Optional, line, Late, Some(serve(15))),
        (Required, b"", Open, Some(Verdict::Wait)),
        (Optional, b"\r\n\r\n", Open, Some(Verdict::Wait)),
        (Required, b"", Ended, Some(Verdict::Gone)),
        (Required, b"", Late, None),
        (Required, b"PRO", Ended, None),
        (Required, b"OPTIONS", Open, None),
        (Required, b"PROXY \r\n", Open, None),
        (Optional, b"", Late, Some(PLAIN)),
        (Optional, b"", Ended, Some(PLAIN)),
        (Optional, b"\r\n\r\n", Late, Some(PLAIN)),
        (Optional, b"OPTIONS", Open, Some(PLAIN)),
        // It has begun: what follows cannot be SIP.
        (Optional, b"PROXY TC", Late, None),
        (Optional, b"PROXY TC", Ended, None),
        (Optional, b"PROXY \r\n", Open, None),
    ] {
        let verdict = on_bytes(mode, bytes, moment);
        match expected {
            Some(expected) => assert_eq!(verdict, expected, "{bytes:?} {moment:?}"),
            None => assert!(
                matches!(verdict, Verdict::Refuse(_)),
                "{bytes:?} {moment:?}"
            ),
        }
    }
    let (all, some) = (
        Networks::default(),
        Networks::parse("192.0.2.0/24").unwrap(),
    );
    let (inside, outside) = (v4("192.0.2.1:1"), v4("198.51.100.1:1"));
    assert_eq!(on_accept(ProxyProtocol::Off, &all, &inside), Some(PLAIN));
    assert_eq!(on_accept(Required, &all, &outside), None);
    assert_eq!(on_accept(Required, &some, &inside), None);
    assert_eq!(on_accept(Optional, &some, &inside), None);
    assert_eq!(on_accept(Optional, &some, &outside), Some(PLAIN));
    assert!(matches!(
        on_accept(Required, &some, &outside),
        Some(Verdict::Refuse(_))
    ));
    assert_eq!(version_for(ProxyOut::Off, &all, &inside), None);
    assert_eq!(version_for(ProxyOut::V1, &all, &inside), Some(Version::V1));
    assert_eq!(version_for(ProxyOut::V2, &some, &inside), Some(Version::V2));
    assert_eq!(version_for(ProxyOut::V2, &some, &outside), None);
}

fn any_addr() -> impl Strategy<Value = Addr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Addr::v4(ip, port)),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Addr::v6(ip, port, 0)),
    ]
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let begins = prop_oneof![
        Just(V1.to_vec()),
        Just(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 ".to_vec()),
        Just(V2.to_vec()),
        Just(tcp4(&[1, 0, 3, 7])),
        Just(Vec::new()),
    ];
    (begins, prop::collection::vec(any::<u8>(), 0..150))
        .prop_map(|(begin, rest)| [&begin[..], &rest].concat())
}

proptest! {
    #[test]
    fn what_we_write_we_read(source in any_addr(), destination in any_addr()) {
        let pair = Pair { source, destination };
        for version in [Version::V1, Version::V2] {
            let bytes = write(version, Some(&pair));
            prop_assert!(bytes.len() <= LONGEST_OWN);
            prop_assert_eq!(parse(&bytes), header(bytes.len(), Some(pair)));
            let bytes = write(version, None);
            prop_assert_eq!(parse(&bytes), header(bytes.len(), None));
            let half = Pair { source, destination: Addr::none() };
            prop_assert_eq!(write(version, Some(&half)), bytes);
        }
    }

    #[test]
    fn the_first_decision_stays(stream in any_stream()) {
        let whole = parse(&stream);
        let mut decided = false;
        for end in 0..=stream.len() {
            let now = parse(&stream[..end]);
            prop_assert!(!decided || now == whole);
            decided = !matches!(now, Parsed::More { .. });
            if let Parsed::Header { length, .. } = now {
                prop_assert!(length <= end && length <= LONGEST);
            }
        }
    }
}
