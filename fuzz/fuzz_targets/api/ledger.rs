//! What became of each connection and of each message, as the callbacks and the peers saw it.

use std::collections::HashMap;

use sipwire::pure::framing::{Framer, Limits, Step};

/// Every message that the host sends begins with one of these, which no answer of the library does.
const BEGINNINGS: [&str; 3] = [
    "SIP/2.0 200 Fuzz",
    "SIP/2.0 100 Fuzz",
    "MESSAGE sip:fuzz SIP/2.0",
];

#[derive(Default)]
struct Fate {
    length: usize,
    refused: bool,
    failed: bool,
    received: bool,
}

#[derive(Default)]
pub struct Ledger {
    /// By id; false once `on_close` came.
    connections: HashMap<u32, bool>,
    messages: HashMap<u64, Fate>,
    /// In the order of their opening, to choose from.
    pub ids: Vec<u32>,
}

impl Ledger {
    /// A new message; its number is its cookie.
    pub fn compose(&mut self, beginning: u8, body: usize) -> (u64, String) {
        let cookie = self.messages.len() as u64 + 1;
        let beginning = BEGINNINGS[beginning as usize % BEGINNINGS.len()];
        let text = format!(
            "{beginning}\r\nCall-ID: {cookie}\r\nContent-Length: {body}\r\n\r\n{}",
            "b".repeat(body)
        );
        let length = text.len();
        self.messages.insert(
            cookie,
            Fate {
                length,
                ..Fate::default()
            },
        );
        (cookie, text)
    }

    pub fn refused(&mut self, cookie: u64) {
        let fate = self.messages.get_mut(&cookie).expect("it was composed");
        assert!(
            !fate.failed && !fate.received,
            "message {cookie} was refused and is reported or received"
        );
        fate.refused = true;
    }

    pub fn failed(&mut self, cookie: u64, conn_id: u32, data: &[u8], written: usize) {
        let fate = self
            .messages
            .get_mut(&cookie)
            .expect("a failure of a message that is none of ours");
        assert!(!fate.failed, "message {cookie} is reported twice");
        assert!(
            !fate.refused && !fate.received,
            "message {cookie} was refused or received, and is reported"
        );
        assert_eq!(data.len(), fate.length);
        assert_eq!(
            sent_cookie(data),
            Some(cookie),
            "the report has another message's text"
        );
        assert!(
            written < fate.length,
            "message {cookie} was written whole and is reported"
        );
        assert_ne!(
            self.connections.get(&conn_id),
            Some(&false),
            "reported after on_close of {conn_id}"
        );
        fate.failed = true;
    }

    /// A whole message that arrived somewhere; those that are none of ours are answers of the library.
    pub fn received(&mut self, message: &[u8]) {
        let Some(cookie) = sent_cookie(message) else {
            return;
        };
        let fate = self
            .messages
            .get_mut(&cookie)
            .expect("received and never sent");
        assert!(!fate.received, "message {cookie} arrived twice");
        assert!(
            !fate.refused && !fate.failed,
            "message {cookie} was refused or reported, and arrived"
        );
        assert_eq!(message.len(), fate.length);
        fate.received = true;
    }

    pub fn opened(&mut self, conn_id: u32) {
        assert!(
            self.connections.insert(conn_id, true).is_none(),
            "{conn_id} is opened twice"
        );
        self.ids.push(conn_id);
    }

    pub fn closed(&mut self, conn_id: u32) {
        let open = self.connections.insert(conn_id, false);
        assert_eq!(open, Some(true), "on_close of {conn_id}, which is not open");
    }

    /// It may not be open yet.
    pub fn assert_not_closed(&self, conn_id: u32) {
        assert_ne!(
            self.connections.get(&conn_id),
            Some(&false),
            "a callback of {conn_id}, which is closed"
        );
    }

    pub fn assert_open(&self, conn_id: u32) {
        assert_eq!(
            self.connections.get(&conn_id),
            Some(&true),
            "a callback of {conn_id}, which is not open"
        );
    }

    pub fn assert_all_closed(&self) {
        let open: Vec<_> = self.connections.iter().filter(|(_, open)| **open).collect();
        assert!(open.is_empty(), "no on_close came for {open:?}");
    }

    /// Accepted messages of which no failure was reported.
    pub fn written(&self) -> u64 {
        self.messages
            .values()
            .filter(|fate| !fate.refused && !fate.failed)
            .count() as u64
    }
}

fn sent_cookie(message: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(message).ok()?;
    let (first, rest) = text.split_once("\r\n")?;
    let cookie = rest.strip_prefix("Call-ID: ")?.split_once('\r')?.0;
    BEGINNINGS.contains(&first).then(|| cookie.parse().ok())?
}

/// A peer's end of a connection, reading: whatever arrives are whole messages one after the other.
#[derive(Default)]
pub struct Stream {
    framer: Framer,
    unfinished: Vec<u8>,
}

impl Stream {
    pub fn take(&mut self, mut input: &[u8], ledger: &mut Ledger) {
        let limits = Limits {
            max_message_bytes: 1 << 20,
            accept_no_content_length: false,
        };
        loop {
            match self.framer.feed(input, 0, &limits) {
                Step::More { start } => {
                    self.unfinished.extend_from_slice(&input[start..]);
                    return;
                }
                Step::Message { start, end, .. } => {
                    self.unfinished.extend_from_slice(&input[start..end]);
                    ledger.received(&self.unfinished);
                    self.unfinished.clear();
                    input = &input[end..];
                }
                Step::Ping { end } | Step::Crlf { end } => input = &input[end..],
                step => panic!(
                    "{step:?} in what the library sent: {}",
                    input.escape_ascii()
                ),
            }
        }
    }
}
