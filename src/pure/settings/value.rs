//! Between the typed fields of `Settings` and the one form in which the table checks, shows and
//! packs them all.

use crate::pure::addr::Addr;
use crate::pure::networks::Networks;

/// The value of any setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Unset,
    /// Milliseconds, seconds, bytes, a count, or the number of a word: see `Unit`.
    Number(i64),
    Address(Addr),
    /// Never an empty list, which is `Unset`.
    Networks(Networks),
}

/// A type that a field of `Settings` can have.
///
/// `put` leaves the field as it is when the value does not fit the type. It is called only with
/// values that the field's descriptor admits; tests prove that those fit.
pub(super) trait Field {
    fn value(&self) -> Value;
    fn put(&mut self, value: Value);
}

macro_rules! number_fields {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn value(&self) -> Value {
                Value::Number(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn put(&mut self, value: Value) {
                if let Value::Number(number) = value
                    && let Ok(number) = <$type>::try_from(number)
                {
                    *self = number;
                }
            }
        }
    )*};
}
number_fields!(u8, u32, u64, i32);

impl Field for bool {
    fn value(&self) -> Value {
        Value::Number(i64::from(*self))
    }
    fn put(&mut self, value: Value) {
        if let Value::Number(number) = value {
            *self = number != 0;
        }
    }
}

impl Field for Addr {
    fn value(&self) -> Value {
        Value::Address(*self)
    }
    fn put(&mut self, value: Value) {
        if let Value::Address(addr) = value {
            *self = addr;
        }
    }
}

impl Field for Networks {
    fn value(&self) -> Value {
        if self.is_empty() {
            Value::Unset
        } else {
            Value::Networks(self.clone())
        }
    }
    fn put(&mut self, value: Value) {
        match value {
            Value::Unset => *self = Networks::default(),
            Value::Networks(networks) => *self = networks,
            _ => {}
        }
    }
}

impl<T: Field + Default> Field for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Unset, Field::value)
    }
    fn put(&mut self, value: Value) {
        match value {
            Value::Unset => *self = None,
            _ => self.get_or_insert_default().put(value),
        }
    }
}

/// Words of a setting, each with its number; of several for one number the first is the one shown.
pub(super) type Words = &'static [(&'static str, i64)];

/// An enum whose values are chosen by word: the words, the numbers and the type in one place.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $number:literal [$($word:literal),+]),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(i32)]
        pub enum $name { $($(#[$item_doc])* $item = $number),* }

        impl $name {
            pub(super) const WORDS: Words = &[$($(($word, $number)),+),*];
        }

        impl Field for $name {
            fn value(&self) -> Value {
                Value::Number(i64::from(*self as i32))
            }
            fn put(&mut self, value: Value) {
                match value {
                    $(Value::Number($number) => *self = $name::$item,)*
                    _ => {}
                }
            }
        }
    };
}

word_enum! {
    /// What a send meets that would pass a queue limit (`queue_full`).
    QueueFull {
        /// The connection is closed and its destination blacklisted.
        Close = 0 ["close"],
        /// Only the new message is refused.
        Reject = 1 ["reject"],
    }
}

word_enum! {
    /// To which worker the supervisor hands a connection (`handoff`).
    Handoff {
        /// To each in turn.
        RoundRobin = 0 ["round_robin"],
        /// To the one that had it last, or keeps its descriptor.
        Sticky = 1 ["sticky"],
    }
}

word_enum! {
    /// Whether a PROXY header may or must come before the first message (`proxy_protocol`).
    ProxyProtocol {
        /// It is not looked for.
        Off = 0 ["off", "no", "false", "0"],
        /// It may come: what the ancestor's switch means.
        Optional = 1 ["optional", "yes", "on", "true", "1"],
        /// Who sends none is refused.
        Required = 2 ["required"],
    }
}

word_enum! {
    /// The header that a dialled connection begins with (`proxy_protocol_out`).
    ProxyOut {
        /// None.
        Off = 0 ["off", "no", "false", "0"],
        /// A line of text.
        V1 = 1 ["v1", "1"],
        /// The binary form.
        V2 = 2 ["v2", "2"],
    }
}

word_enum! {
    /// The least urgent records that are logged (`log_level`); the numbers of `SIPWIRE_LOG_*`.
    LogLevel {
        /// Something is lost or does not work.
        Error = 1 ["error"],
        /// Something may soon not work.
        Warning = 2 ["warning"],
        /// Rare and worth knowing.
        Notice = 3 ["notice"],
        /// What happens to connections.
        Info = 4 ["info"],
        /// Every step.
        Debug = 5 ["debug"],
    }
}
