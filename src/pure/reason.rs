//! Why a connection ended or a message failed: one list for close reports, failure reports,
//! counters and logs. The numbers are part of the C API and never change meaning.

macro_rules! reasons {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// Why a connection ended or a message failed.
        #[deny(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $text] $name = $number),* }

        #[deny(missing_docs)]
        impl Reason {
            /// Total: an unknown number (a scribbled word) reads as `Corrupt`.
            pub fn from_number(number: u32) -> Reason {
                match number { $($number => Reason::$name,)* _ => Reason::Corrupt }
            }
            /// For people.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$name => $text),* }
            }
            /// The same text for C, NUL-terminated.
            pub fn c_text(number: i32) -> &'static str {
                match number { $($number => concat!($text, "\0"),)* _ => "unknown reason\0" }
            }
        }
    };
}

reasons! {
    None = 0, "none";
    Host = 1, "closed by the host";
    PeerClosed = 2, "closed by the peer";
    PeerReset = 3, "reset by the peer";
    Lifetime = 4, "lifetime over";
    SendTimeout = 5, "send timeout";
    ConnectTimeout = 6, "connect timeout";
    ConnectFailed = 7, "connect failed";
    ConnQueueFull = 8, "connection queue full";
    TotalQueueFull = 9, "total queue full";
    CloseAfterSend = 10, "closed after send";
    NotSip = 11, "not SIP";
    BadLength = 12, "bad Content-Length";
    TooLarge = 13, "message too large";
    EofInMessage = 14, "end of stream inside a message";
    MessageTimeout = 15, "message timeout";
    FirstMessageTimeout = 16, "first message timeout";
    HalfCloseTimeout = 17, "half-close timeout";
    WorkerDied = 18, "worker died";
    SenderDied = 19, "sender died";
    SupervisorGone = 20, "supervisor gone";
    Shutdown = 21, "shutdown";
    IoError = 22, "I/O error";
    Blacklisted = 23, "blacklisted";
    Resource = 24, "out of resources";
    Corrupt = 25, "segment corrupt";
    NoConnection = 26, "no connection";
    FlowFailed = 27, "flow failed";
    Proxy = 28, "bad or late PROXY header";
    FlowTimer = 29, "flow timer over";
}

/// Size of the by-reason counter array; leaves room for reasons to come.
pub const REASON_COUNT: usize = 32;

#[deny(missing_docs)]
impl Reason {
    /// Reasons that say the destination does not work: these blacklist a destination we may dial.
    pub fn blacklists(self) -> bool {
        matches!(
            self,
            Reason::SendTimeout
                | Reason::ConnectTimeout
                | Reason::ConnectFailed
                | Reason::ConnQueueFull
                | Reason::TotalQueueFull
        )
    }

    /// Reasons after which the stream is worth nothing any more: reset it instead of finishing it.
    pub fn aborts(self) -> bool {
        matches!(
            self,
            Reason::SendTimeout
                | Reason::ConnectTimeout
                | Reason::ConnectFailed
                | Reason::ConnQueueFull
                | Reason::TotalQueueFull
                | Reason::PeerReset
                | Reason::IoError
                | Reason::WorkerDied
                | Reason::SenderDied
                | Reason::Corrupt
                | Reason::MessageTimeout
                | Reason::FirstMessageTimeout
                | Reason::FlowFailed
                | Reason::FlowTimer
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_agree() {
        for number in 0..=29u32 {
            let reason = Reason::from_number(number);
            assert_eq!(reason as u32, number);
            assert_eq!(
                Reason::c_text(number as i32).trim_end_matches('\0'),
                reason.text()
            );
        }
        assert_eq!(Reason::from_number(200), Reason::Corrupt);
        assert_eq!(Reason::c_text(-3), "unknown reason\0");
    }
}
