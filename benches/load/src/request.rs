//! The bytes of requests, and where an answer ends.

/// A request with room for a number that makes its branch and Call-ID its own.
pub struct Template {
    bytes: Vec<u8>,
    numbers: [usize; 2],
}

const DIGITS: usize = 10;
const HOLE: &str = "##########";

impl Template {
    /// About `bytes` long: a header of filling makes up what is missing.
    pub fn new(server: &str, transport: &str, bytes: usize) -> Template {
        let head = format!(
            "OPTIONS sip:bench@{server};transport={transport} SIP/2.0\r\n\
             Via: SIP/2.0/{} 127.0.0.1:5099;rport;branch=z9hG4bK{HOLE}\r\n\
             From: \"load\" <sip:load@127.0.0.1>;tag=3f7a\r\n\
             To: <sip:bench@{server}>\r\n\
             Call-ID: {HOLE}@127.0.0.1\r\n\
             CSeq: 1 OPTIONS\r\n\
             Contact: <sip:load@127.0.0.1:5099;transport={transport}>\r\n\
             Max-Forwards: 70\r\n\
             User-Agent: load\r\n\
             Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY\r\n\
             Supported: path, outbound, gruu\r\n",
            transport.to_uppercase()
        );
        let tail = "Content-Length: 0\r\n\r\n";
        let missing = bytes.saturating_sub(head.len() + tail.len() + "X-Fill: \r\n".len());
        let text = format!("{head}X-Fill: {}\r\n{tail}", "x".repeat(missing));
        let mut holes = text.match_indices(HOLE).map(|(at, _)| at);
        let numbers = [holes.next().unwrap_or(0), holes.next().unwrap_or(0)];
        Template {
            bytes: text.into_bytes(),
            numbers,
        }
    }

    /// Appends one request.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for hole in self.numbers {
            let mut rest = number;
            for digit in out[start + hole..start + hole + DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The length of the answer at the start of `bytes`, none while it is not complete.
pub fn answer_end(bytes: &[u8]) -> Option<usize> {
    let headers = find(bytes, b"\r\n\r\n")? + 4;
    let body = find(&bytes[..headers], b"\r\nContent-Length:").map_or(0, |at| {
        let digits = bytes[at + 17..headers].iter().skip_while(|b| **b == b' ');
        digits
            .take_while(|b| b.is_ascii_digit())
            .fold(0, |n, b| n * 10 + usize::from(b - b'0'))
    });
    (bytes.len() >= headers + body).then_some(headers + body)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
