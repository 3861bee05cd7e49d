#![allow(clippy::expect_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

const REQUEST: &str = "INVITE sip:b@example.com SIP/2.0\r\n\
    Via: SIP/2.0/TCP host.example.com:5060;branch=z9hG4bK1\r\n\
    Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK0\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:a@example.com>;tag=a1\r\n\
    To: <sip:b@example.com>;tag=b1\r\n\
    Call-ID: c1@example.com\r\n\
    CSeq: 7 INVITE\r\n\
    Content-Length: -5\r\n\r\n";

fn answer_from(headers: &[u8], source: Option<(&str, u16)>) -> Option<String> {
    let mut out = b"left over".to_vec();
    let built = error_answer(headers, 400, "Bad Content-Length", source, &mut out);
    assert_eq!(built, !out.is_empty());
    built.then(|| String::from_utf8(out).expect("text"))
}

fn answer(headers: &str) -> Option<String> {
    answer_from(headers.as_bytes(), None)
}

/// A request with this header instead of the one of the same name.
fn request_with(name: &str, line: &str) -> String {
    let mut text: String = REQUEST
        .split_inclusive("\r\n")
        .filter(|old| !old.starts_with(&format!("{name}:")))
        .collect();
    text.insert_str(text.len() - 2, line);
    text
}

fn line_of<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer
        .split("\r\n")
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn top_via(via: &str, source: (&str, u16)) -> String {
    let request = request_with("Via", &format!("Via: {via}\r\n"));
    let answer = answer_from(request.as_bytes(), Some(source)).expect("an answer");
    line_of(&answer, "Via").expect("a Via").to_owned()
}

fn to_of(line: &str) -> String {
    let answer = answer(&request_with("To", line)).expect("an answer");
    line_of(&answer, "To").expect("a To").to_owned()
}

// ---------------------------------------------------------------- kind

#[test]
fn first_lines_tell_the_kind() {
    let request = Kind::Request { ack: false };
    for (line, expected) in [
        ("INVITE sip:a SIP/2.0\r\n", request),
        ("INVITE sip:a SIP/2.0", request),
        ("INVITE sip:a sip/2.0  \nVia: x", request),
        ("INVITE sip:a", request),
        ("ACK sip:a SIP/2.0\r\n", Kind::Request { ack: true }),
        ("ACKS sip:a SIP/2.0\r\n", request),
        ("SIP/2.0 200 OK\r\n", Kind::Response { status: 200 }),
        ("sip/2.0 487 Gone\n", Kind::Response { status: 487 }),
        ("SIP/2.0 100", Kind::Response { status: 100 }),
        ("SIP/2.0 699 \r\n", Kind::Response { status: 699 }),
        ("SIP/2.0 099 x\r\n", Kind::Other),
        ("SIP/2.0 700 x\r\n", Kind::Other),
        ("SIP/2.0 2000 x\r\n", Kind::Other),
        ("SIP/2.0 20\r\n", Kind::Other),
        ("SIP/2.0 abc x\r\n", Kind::Other),
        ("SIP/2.0", Kind::Other),
        ("GET / HTTP/1.1\r\n", Kind::Other),
        ("HTTP/1.1 200 OK\r\n", Kind::Other),
        ("INVITE\r\n", Kind::Other),
        (" INVITE sip:a SIP/2.0\r\n", Kind::Other),
        ("\r\n\r\n", Kind::Other),
        ("\r\n", Kind::Other),
        ("", Kind::Other),
        ("\x16\x03\x01 x", Kind::Other),
    ] {
        assert_eq!(kind(line.as_bytes()), expected, "{line:?}");
    }
}

// ---------------------------------------------------------------- error_answer

#[test]
fn an_answer_repeats_what_a_response_must() {
    assert_eq!(
        answer(REQUEST).as_deref(),
        Some(
            "SIP/2.0 400 Bad Content-Length\r\n\
             Via: SIP/2.0/TCP host.example.com:5060;branch=z9hG4bK1\r\n\
             Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK0\r\n\
             From: <sip:a@example.com>;tag=a1\r\n\
             To: <sip:b@example.com>;tag=b1\r\n\
             Call-ID: c1@example.com\r\n\
             CSeq: 7 INVITE\r\n\
             Content-Length: 0\r\n\r\n"
        )
    );
}

#[test]
fn compact_folded_and_lf_only_headers_are_understood() {
    let request = "OPTIONS sip:b SIP/2.0\n\
        TO :\n sip:b ;\n\ttag = 9\n\
        f\t: \"a,\r\n  b\" <sip:a>;tag=1\n\
        CSEQ:\r\n\t0009\n  OPTIONS\n\
        v:\n SIP / 2.0\n / TCP h;\n branch = z1 ,\n  SIP/2.0/TCP g\n\
        no colon here\n\
        i : x\n\n";
    assert_eq!(
        answer(request).as_deref(),
        Some(
            "SIP/2.0 400 Bad Content-Length\r\n\
             Via: SIP / 2.0 / TCP h; branch = z1 , SIP/2.0/TCP g\r\n\
             From: \"a, b\" <sip:a>;tag=1\r\n\
             To: sip:b ; tag = 9\r\n\
             Call-ID: x\r\n\
             CSeq: 0009 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        )
    );
}

#[test]
fn a_folded_line_is_no_header_of_its_own() {
    let request = request_with("To", "Subject: x\r\n To: <sip:fake>\r\n");
    assert_eq!(answer(&request), None);
}

#[test]
fn a_request_without_a_needed_header_is_not_answered() {
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        assert_eq!(answer(&request_with(name, "")), None, "{name}");
        let empty = format!("{name}: \r\n \r\n");
        assert_eq!(answer(&request_with(name, &empty)), None, "{name}");
    }
    assert!(answer(&request_with("Max-Forwards", "")).is_some());
}

#[test]
fn only_requests_that_expect_an_answer_get_one() {
    assert_eq!(answer(&REQUEST.replacen("INVITE", "ACK", 1)), None);
    let response = REQUEST.replacen("INVITE sip:b@example.com SIP/2.0", "SIP/2.0 200 OK", 1);
    assert_eq!(answer(&response), None);
    assert_eq!(answer(&REQUEST.replacen("SIP/2.0", "HTTP/1.1", 1)), None);
    assert_eq!(answer(""), None);
}

#[test]
fn a_status_that_is_none_is_refused() {
    for status in [0, 99, 700, u16::MAX] {
        let mut out = Vec::new();
        assert!(!error_answer(
            REQUEST.as_bytes(),
            status,
            "x",
            None,
            &mut out
        ));
        assert!(out.is_empty());
    }
}

#[test]
fn headers_behind_the_empty_line_do_not_count() {
    let request = request_with("To", "") + "To: <sip:body>\r\n";
    assert_eq!(answer(&request), None);
    let request = request_with("To", "") + " x\r\nTo: <sip:body>\r\n";
    assert_eq!(answer(&request), None);
}

#[test]
fn headers_without_their_empty_line_are_enough() {
    let cut = REQUEST.trim_end();
    assert_eq!(answer(cut), answer(REQUEST));
}

#[test]
fn the_first_of_two_headers_is_repeated() {
    let request = REQUEST.replace("CSeq: 7", "To: <sip:second>\r\nCSeq: 7");
    assert_eq!(answer(&request), answer(REQUEST));
}

#[test]
fn a_bare_cr_cannot_begin_a_line_of_the_answer() {
    let request = request_with("Call-ID", "Call-ID: a\rX: b\r\r\n");
    let answer = answer(&request).expect("an answer");
    assert_eq!(line_of(&answer, "Call-ID"), Some("a X: b"));
}

#[test]
fn values_too_long_to_copy_are_not_answered() {
    let fits = format!("To: <sip:{}>\r\n", "x".repeat(16_000));
    assert!(answer(&request_with("To", &fits)).is_some());
    let long = format!("To: <sip:{}>\r\n", "x".repeat(17_000));
    assert_eq!(answer(&request_with("To", &long)), None);
    let foreign = format!("Subject: {}\r\n", "x".repeat(100_000));
    assert!(answer(&request_with("Subject", &foreign)).is_some());
    let vias = "Via: SIP/2.0/TCP h;branch=z9hG4bK0123456789\r\n".repeat(2000);
    assert_eq!(answer(&request_with("Via", &vias)), None);
}

#[test]
fn a_tag_is_added_only_where_there_is_none() {
    for line in [
        "To: <sip:b>;tag=1\r\n",
        "To: sip:b;tag=1\r\n",
        "t: \"B\" <sip:b>;x=\"<;\" ; TAG = 1\r\n",
        "To: <sip:b>;x;tag\r\n",
    ] {
        let to = to_of(line);
        assert_eq!(to.to_ascii_lowercase().matches("tag").count(), 1, "{to}");
    }
    for line in [
        "To: <sip:b>\r\n",
        "To: sip:b\r\n",
        "To: sip:b;tagged=1\r\n",
        "To: \"x;tag=1\" <sip:b>\r\n",
        "To: \"x\\\";tag=1\" <sip:b;tag=2>\r\n",
        "To: <sip:b>;x=\";tag=1\"\r\n",
    ] {
        let to = to_of(line);
        let (before, tag) = to.rsplit_once(";tag=").expect("a tag");
        let original = line.strip_prefix("To: ").map(str::trim_end);
        assert_eq!(Some(before), original);
        assert_eq!(tag.len(), 16, "{to}");
        assert!(tag.bytes().all(|byte| byte.is_ascii_hexdigit()), "{to}");
    }
}

#[test]
fn the_same_request_gets_the_same_tag_and_another_one_another() {
    let plain = request_with("To", "To: <sip:b>\r\n");
    assert_eq!(answer(&plain), answer(&plain));
    let to = |text: &str| {
        let answer = answer(text).expect("an answer");
        line_of(&answer, "To").map(str::to_owned)
    };
    for (old, new) in [("c1@", "c2@"), ("7 INVITE", "8 INVITE"), ("bK1", "bK2")] {
        assert_ne!(to(&plain), to(&plain.replace(old, new)), "{new}");
    }
}

#[test]
fn a_100_gets_no_tag() {
    let mut out = Vec::new();
    let request = request_with("To", "To: <sip:b>\r\n");
    assert!(error_answer(
        request.as_bytes(),
        100,
        "Trying",
        None,
        &mut out
    ));
    let text = String::from_utf8(out).expect("text");
    assert_eq!(line_of(&text, "To"), Some("<sip:b>"));
}

// ---------------------------------------------------------------- top Via

#[test]
fn the_address_is_added_where_the_sent_by_differs() {
    let source = ("192.0.2.1", 4711);
    for (via, expected) in [
        ("SIP/2.0/TCP 192.0.2.1", "SIP/2.0/TCP 192.0.2.1"),
        (
            "SIP / 2.0 / TCP  192.0.2.1 : 5060 ;branch=z",
            "SIP / 2.0 / TCP  192.0.2.1 : 5060;branch=z",
        ),
        (
            "SIP/2.0/TCP h.example;branch=z",
            "SIP/2.0/TCP h.example;branch=z;received=192.0.2.1",
        ),
        (
            "SIP/2.0/TCP 192.0.2.10:5060",
            "SIP/2.0/TCP 192.0.2.10:5060;received=192.0.2.1",
        ),
        (
            "SIP/2.0/TCP h;Received=10.0.0.1;branch=z",
            "SIP/2.0/TCP h;branch=z;received=192.0.2.1",
        ),
        (
            "SIP/2.0/TCP h;x=\"a,b;rport\", SIP/2.0/TCP g;rport",
            "SIP/2.0/TCP h;x=\"a,b;rport\";received=192.0.2.1, SIP/2.0/TCP g;rport",
        ),
        ("nonsense", "nonsense;received=192.0.2.1"),
    ] {
        assert_eq!(top_via(via, source), expected);
    }
}

#[test]
fn rport_is_filled_in_with_the_address() {
    let source = ("192.0.2.1", 4711);
    for (via, expected) in [
        (
            "SIP/2.0/TCP 192.0.2.1;RPORT;branch=z",
            "SIP/2.0/TCP 192.0.2.1;RPORT=4711;branch=z;received=192.0.2.1",
        ),
        (
            "SIP/2.0/TCP h ; rport",
            "SIP/2.0/TCP h;rport=4711;received=192.0.2.1",
        ),
        (
            "SIP/2.0/TCP 192.0.2.1;rport=5",
            "SIP/2.0/TCP 192.0.2.1;rport=5",
        ),
    ] {
        assert_eq!(top_via(via, source), expected);
    }
}

#[test]
fn ipv6_sources_are_compared_as_addresses() {
    let via = "SIP/2.0/TCP [2001:DB8:0::1]:5060;branch=z";
    assert_eq!(top_via(via, ("2001:db8::1", 1)), via);
    assert_eq!(top_via(via, ("[2001:db8::1]", 1)), via);
    assert_eq!(
        top_via(via, ("2001:db8::2", 1)),
        format!("{via};received=2001:db8::2")
    );
    let mapped = "SIP/2.0/TCP 192.0.2.1";
    assert_eq!(top_via(mapped, ("::ffff:192.0.2.1", 1)), mapped);
    assert_eq!(
        top_via("SIP/2.0/TCP h", ("::ffff:192.0.2.1", 1)),
        "SIP/2.0/TCP h;received=192.0.2.1"
    );
}

#[test]
fn only_the_first_via_is_changed_and_only_by_an_address() {
    let answer = answer_from(REQUEST.as_bytes(), Some(("192.0.2.1", 9))).expect("an answer");
    let vias: Vec<&str> = answer
        .split("\r\n")
        .filter(|line| line.starts_with("Via"))
        .collect();
    assert_eq!(
        vias,
        [
            "Via: SIP/2.0/TCP host.example.com:5060;branch=z9hG4bK1;received=192.0.2.1",
            "Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK0"
        ]
    );
    assert_eq!(
        top_via("SIP/2.0/TCP h;rport", ("x\r\nEvil: y", 9)),
        "SIP/2.0/TCP h;rport"
    );
}

// ---------------------------------------------------------------- anything

#[test]
fn a_via_without_a_value_is_left_out() {
    for empty in ["V:", "Via:\r\n \r\n", "v : \t\r\n"] {
        let headers = format!("{}\r\n{empty}", REQUEST.trim_end());
        assert_eq!(
            answer_from(headers.as_bytes(), None),
            answer_from(REQUEST.as_bytes(), None)
        );
    }
}

fn scrap() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "INVITE sip:a SIP/2.0\r\n",
        "Via: SIP/2.0/TCP h;rport\r\n",
        "v: SIP/2.0/TCP [::1]",
        "From: a\r\n",
        "To: \"<",
        "t:b;tag\r\n",
        "i: c\r\n",
        "CSeq: 1 X\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ";",
        ",",
        "\"",
        "\\",
        "<",
        ">",
        "=",
        ":",
        "/",
        "rport",
        "received",
    ]);
    prop_oneof![
        9 => text.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}

proptest! {
    #[test]
    fn every_answer_is_a_framed_response(
        known in any::<bool>(),
        scraps in prop::collection::vec(scrap(), 0..20),
    ) {
        use crate::pure::framing::{Framer, Limits, Step};

        let start = if known { REQUEST.trim_end().as_bytes() } else { b"" };
        let headers = [start, b"\r\n", &scraps.concat()].concat();
        let headers = if known { headers } else { headers[2..].to_vec() };
        let mut out = Vec::new();
        let built = error_answer(&headers, 400, "Bad", Some(("192.0.2.1", 9)), &mut out);
        prop_assert!(built || out.is_empty());
        if known {
            prop_assert!(built);
        }
        if built {
            prop_assert_eq!(kind(&out), Kind::Response { status: 400 });
            let limits = Limits { max_message_bytes: u32::MAX, accept_no_content_length: false };
            let step = Framer::default().feed(&out, 0, &limits);
            let whole = Step::Message {
                start: 0,
                end: out.len(),
                header_length: out.len() as u32,
                body_length: 0,
            };
            prop_assert_eq!(step, whole);
        }
    }
}
