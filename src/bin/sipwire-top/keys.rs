//! What a terminal sends, as keys.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Char(char),
    /// With the control key.
    Control(char),
    Enter,
    Esc,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Help,
}

/// The keys of what one read brought. A sequence arrives whole, so that an escape at its end is the key.
pub fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let key = match first {
            0x1b => match rest {
                [b'[' | b'O', after @ ..] => {
                    let (key, left) = sequence(after);
                    bytes = left;
                    key
                }
                // With the alt key: nothing of ours.
                [_, after @ ..] => {
                    bytes = after;
                    None
                }
                [] => Some(Key::Esc),
            },
            b'\r' | b'\n' => Some(Key::Enter),
            0x7f | 0x08 => Some(Key::Backspace),
            1..=26 => Some(Key::Control(char::from(first - 1 + b'a'))),
            0x20..=0x7e => Some(Key::Char(char::from(*first))),
            _ => None,
        };
        keys.extend(key);
    }
    keys
}

/// Behind ESC [ or ESC O: parameters, then the letter that ends it.
fn sequence(bytes: &[u8]) -> (Option<Key>, &[u8]) {
    let ends = bytes.iter().position(|byte| (0x40..=0x7e).contains(byte));
    let Some((inside, rest)) = ends.and_then(|end| bytes.split_at_checked(end + 1)) else {
        return (None, &[]);
    };
    let key = match inside {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"H" | b"1~" | b"7~" => Some(Key::Home),
        b"F" | b"4~" | b"8~" => Some(Key::End),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        b"P" | b"11~" => Some(Key::Help),
        _ => None,
    };
    (key, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_sequences_become_keys() {
        let keys = parse(b"q\x1b[A\x1bOB\x1b[5~\x1b[1;5C/\r\x7f\x03\x1b");
        let expected = [
            Key::Char('q'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::Char('/'),
            Key::Enter,
            Key::Backspace,
            Key::Control('c'),
            Key::Esc,
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn whatever_comes_has_an_end() {
        for bytes in [&b"\x1b["[..], b"\x1b[1;", b"\x1bx", b"\xff\x80\x00", b""] {
            assert_eq!(parse(bytes), []);
        }
    }
}
