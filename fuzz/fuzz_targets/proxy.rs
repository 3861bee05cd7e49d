//! The PROXY header: in whatever pieces a stream comes, its header is the same one or refused for the same
//! reason; what a header says, written anew in either version, is read as the same.
//!
//! Input: one byte of mode and moment, one that chooses the pieces, then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipwire::pure::addr::Addr;
use sipwire::pure::networks::Networks;
use sipwire::pure::proxy::{self, LONGEST, LONGEST_OWN, Moment, Pair, Parsed, Verdict, Version};
use sipwire::pure::settings::ProxyProtocol;

/// The first decision on a stream that comes in pieces of so many bytes; it looks at all that has come.
fn in_pieces(stream: &[u8], piece: usize) -> Parsed {
    let mut end = 0;
    loop {
        let parsed = proxy::parse(&stream[..end]);
        if !matches!(parsed, Parsed::More { .. }) || end == stream.len() {
            return parsed;
        }
        end = (end + piece).min(stream.len());
    }
}

fn check_written(pair: Option<&Pair>) {
    for version in [Version::V1, Version::V2] {
        let header = proxy::write(version, pair);
        assert!(header.len() <= LONGEST_OWN);
        let expected = Parsed::Header {
            length: header.len(),
            pair: pair.copied(),
        };
        assert_eq!(proxy::parse(&header), expected, "{pair:?}");
        // As the first bytes of a stream.
        assert_eq!(proxy::parse(&[&header[..], b"OPTIONS"].concat()), expected);
    }
}

fn check_verdict(mode: ProxyProtocol, bytes: &[u8], moment: Moment) {
    let verdict = proxy::on_bytes(mode, bytes, moment);
    match (proxy::parse(bytes), verdict) {
        (Parsed::Header { length, pair }, verdict) => {
            assert_eq!(
                verdict,
                Verdict::Serve {
                    header: length,
                    pair
                }
            );
        }
        // No byte is taken of what is no header.
        (_, Verdict::Serve { header, pair }) => {
            assert!(header == 0 && pair.is_none() && mode == ProxyProtocol::Optional);
        }
        // Nobody waits for ever.
        (_, Verdict::Wait) => assert_eq!(moment, Moment::Open),
        (_, Verdict::Gone) => assert!(bytes.is_empty()),
        (_, Verdict::Refuse(why)) => assert!(!why.is_empty()),
    }
}

/// A text that is a list of networks has the first address of each of them.
fn check_networks(text: &str) {
    if let Ok(networks) = Networks::parse(text) {
        let shown = networks.to_string();
        assert_eq!(Networks::parse(&shown), Ok(networks.clone()), "{shown}");
        for item in shown.split(", ").filter(|item| !item.is_empty()) {
            let (host, _) = item.split_once('/').unwrap_or((item, ""));
            assert!(networks.contains(&Addr::parse_ip(host).unwrap()), "{item}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [how, pieces, stream @ ..] = data else {
        return;
    };
    let whole = proxy::parse(stream);
    for piece in [1, 1 + usize::from(*pieces), LONGEST] {
        assert_eq!(in_pieces(stream, piece), whole);
    }
    match whole {
        Parsed::Header { length, pair } => {
            assert!(length <= stream.len() && length <= LONGEST);
            // Nothing behind it says anything, and nothing of it can be missing.
            assert_eq!(proxy::parse(&stream[..length]), whole);
            let missing = proxy::parse(&stream[..length - 1]);
            assert_eq!(missing, Parsed::More { begun: true });
            check_written(pair.as_ref());
        }
        Parsed::More { .. } => assert!(stream.len() < LONGEST),
        Parsed::Absent | Parsed::Bad(_) => {}
    }
    let mode = match how & 1 {
        0 => ProxyProtocol::Optional,
        _ => ProxyProtocol::Required,
    };
    let moment = match how >> 1 & 3 {
        0 => Moment::Open,
        1 => Moment::Ended,
        _ => Moment::Late,
    };
    check_verdict(mode, stream, moment);
    if let Ok(text) = std::str::from_utf8(stream) {
        check_networks(text);
    }
});
