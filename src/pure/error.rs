//! The errors of the C API: one enum, its numbers, its texts. Numbers are never reused.

use std::fmt;

macro_rules! errors {
    ($($name:ident = $number:literal, $symbol:literal, $text:literal;)*) => {
        /// Why a call failed. With `System` errno says why, as `std::io::Error::last_os_error` shows it.
        #[deny(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum Error { $(#[doc = $text] $name = $number),* }

        #[deny(missing_docs)]
        impl Error {
            /// Every error that there is.
            pub const ALL: &'static [Error] = &[$(Error::$name),*];
            /// Its number in the C API.
            pub fn code(self) -> i32 { self as i32 }
            /// Its name in the C API.
            pub fn symbol(self) -> &'static str { match self { $(Error::$name => $symbol),* } }
            /// For people.
            pub fn text(self) -> &'static str { match self { $(Error::$name => $text),* } }
            /// Static NUL-terminated text for any code, including success codes.
            pub fn c_text(code: i32) -> &'static str {
                match code {
                    $($number => concat!($text, "\0"),)*
                    0 => "ok\0",
                    1 => "sent\0",
                    2 => "queued\0",
                    _ => "unknown error\0",
                }
            }
        }
    };
}

errors! {
    Argument = -2001, "SIPWIRE_E_ARGUMENT", "invalid argument";
    Setting = -2002, "SIPWIRE_E_SETTING", "invalid setting";
    Version = -2003, "SIPWIRE_E_VERSION", "structure of another version";
    Reentrant = -2004, "SIPWIRE_E_REENTRANT", "not allowed inside a callback";
    Role = -2005, "SIPWIRE_E_ROLE", "not allowed in this role or phase";
    NotAttached = -2006, "SIPWIRE_E_NOT_ATTACHED", "this process is not attached";
    NotLive = -2007, "SIPWIRE_E_NOT_LIVE", "setting cannot change while running";
    NoConnection = -2100, "SIPWIRE_E_NO_CONNECTION", "no such connection";
    Blacklisted = -2101, "SIPWIRE_E_BLACKLISTED", "destination is blacklisted";
    ConnQueueFull = -2102, "SIPWIRE_E_CONN_QUEUE_FULL", "connection queue full";
    TotalQueueFull = -2103, "SIPWIRE_E_TOTAL_QUEUE_FULL", "total queue full";
    TooLarge = -2104, "SIPWIRE_E_TOO_LARGE", "message too large";
    ShuttingDown = -2105, "SIPWIRE_E_SHUTTING_DOWN", "shutting down";
    AliasTaken = -2110, "SIPWIRE_E_ALIAS_TAKEN", "another connection has this address";
    AliasesOff = -2111, "SIPWIRE_E_ALIASES_OFF", "setting accept_aliases is off";
    BadToken = -2112, "SIPWIRE_E_BAD_TOKEN", "no flow token of ours";
    NoParticipant = -2200, "SIPWIRE_E_NO_PARTICIPANT", "too many participants";
    NoMemory = -2201, "SIPWIRE_E_NO_MEMORY", "out of memory";
    Listen = -2202, "SIPWIRE_E_LISTEN", "cannot listen";
    System = -2300, "SIPWIRE_E_SYSTEM", "system call failed";
    Panic = -2400, "SIPWIRE_E_PANIC", "internal error";
    SupervisorGone = -2901, "SIPWIRE_E_SUPERVISOR_GONE", "supervisor is gone";
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

/// What calls return.
pub type Result<T> = core::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_negative_unique_and_has_its_text() {
        for (i, error) in Error::ALL.iter().enumerate() {
            assert!(error.code() < 0);
            assert_eq!(
                Error::c_text(error.code()).trim_end_matches('\0'),
                error.text()
            );
            assert!(
                Error::ALL
                    .iter()
                    .skip(i + 1)
                    .all(|other| other.code() != error.code())
            );
            assert!(error.symbol().starts_with("SIPWIRE_E_"));
        }
        assert_eq!(Error::c_text(-1), "unknown error\0");
    }
}
