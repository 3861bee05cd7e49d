//! The texts of numbers, durations, sizes and words, and the nearest word to a misspelt one.
//!
//! Every reader is total: text from a config file of any length gives a value or nothing, and a
//! number too large to hold saturates, so that the range check refuses it by name.

pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const K: i64 = 1 << 10;
pub(super) const M: i64 = 1 << 20;
pub(super) const G: i64 = 1 << 30;

/// A whole number, decimal or "0x..." as traffic classes are often written.
pub(super) fn parse_count(text: &str) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    let number = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) => saturating_number(hex, 16)?,
        None => saturating_number(digits, 10)?,
    };
    Some(if negative {
        number.saturating_neg()
    } else {
        number
    })
}

/// A duration in milliseconds: "10s", "250ms", "2m", "1h", "0.5"; without a unit seconds, as the
/// ancestor's parameters are. `None` also for what is finer than a millisecond: rounding would
/// change what was asked for.
pub(super) fn parse_duration_ms(text: &str) -> Option<i64> {
    let (negative, text) = split_sign(text);
    let (number, unit) = split_unit(text);
    let unit_ms = match unit.to_ascii_lowercase().as_str() {
        "ms" => 1,
        "" | "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole_ms = saturating_number(whole, 10)?.saturating_mul(unit_ms);
    let total_ms = whole_ms.saturating_add(fraction_of(fraction, unit_ms)?);
    Some(if negative {
        total_ms.saturating_neg()
    } else {
        total_ms
    })
}

/// A size in bytes: "64k", "10m", "1g" (powers of 1024), or bare bytes.
pub(super) fn parse_size(text: &str) -> Option<i64> {
    let (negative, text) = split_sign(text);
    let (number, unit) = split_unit(text);
    let unit_bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => K,
        "m" => M,
        "g" => G,
        _ => return None,
    };
    let bytes = saturating_number(number, 10)?.saturating_mul(unit_bytes);
    Some(if negative {
        bytes.saturating_neg()
    } else {
        bytes
    })
}

/// Whole hours, else whole seconds, else milliseconds: minutes are left out because the field
/// writes "120s".
pub(super) fn format_duration_ms(ms: i64) -> String {
    if ms != 0 && ms % HOUR == 0 {
        format!("{}h", ms / HOUR)
    } else if ms % SECOND == 0 {
        format!("{}s", ms / SECOND)
    } else {
        format!("{ms}ms")
    }
}

/// The largest unit that is exact.
pub(super) fn format_size(bytes: i64) -> String {
    for (unit_bytes, letter) in [(G, "g"), (M, "m"), (K, "k")] {
        if bytes != 0 && bytes % unit_bytes == 0 {
            return format!("{}{letter}", bytes / unit_bytes);
        }
    }
    bytes.to_string()
}

/// The candidate that takes the fewest slips of the keyboard to become `word`; the first of equals.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer than any key by far: the rest cannot change which is nearest, only cost time.
    let word: Vec<char> = word.chars().take(64).collect();
    candidates
        .into_iter()
        .min_by_key(|candidate| distance(&word, candidate))
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

/// "10 ms" to ("10", "ms").
fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number, unit.trim_start())
}

fn saturating_number(digits: &str, radix: u32) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_i64, |number, digit| {
        let digit = digit.to_digit(radix)?;
        Some(
            number
                .saturating_mul(i64::from(radix))
                .saturating_add(i64::from(digit)),
        )
    })
}

/// `unit` times 0.`digits`, when that is whole.
fn fraction_of(digits: &str, unit: i64) -> Option<i64> {
    // Nine places hold every whole millisecond of an hour; more are finer, unless they are zeros.
    let digits = match digits.trim_end_matches('0') {
        "" => digits.get(..1)?,
        significant => significant,
    };
    let places = u32::try_from(digits.len())
        .ok()
        .filter(|&places| places <= 9)?;
    let scaled = saturating_number(digits, 10)?.checked_mul(unit)?;
    let scale = 10_i64.checked_pow(places)?;
    (scaled % scale == 0).then_some(scaled / scale)
}

/// Edit distance that counts a wrong, missing, extra or swapped pair of letters as one slip.
fn distance(word: &[char], candidate: &str) -> usize {
    // Three rows of the usual table: the one being filled and the two above it.
    let mut above: Vec<usize> = vec![0; word.len() + 1];
    let mut last: Vec<usize> = (0..=word.len()).collect();
    let mut last_letter = None;
    for (row, letter) in candidate.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut left = row + 1;
        let mut previous = None;
        for (column, &here) in word.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let wrong = at(&last, column) + usize::from(here != letter);
            left = wrong.min(left + 1).min(at(&last, column + 1) + 1);
            if previous == Some(letter) && last_letter == Some(here) {
                left = left.min(at(&above, column - 1) + 1);
            }
            current.push(left);
            previous = Some(here);
        }
        above = std::mem::replace(&mut last, current);
        last_letter = Some(letter);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("10s", 10_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("5", 5_000),
            ("0.5", 500),
            ("1.5s", 1_500),
            ("0.25m", 15_000),
            ("0.000125h", 450),
            ("1.000000000000", 1_000),
            ("10 S", 10_000),
            ("-1", -1_000),
            ("0", 0),
            ("99999999999999999999h", i64::MAX),
        ] {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "", "s", "abc", "10x", "1s2", "1.2.3", ".5", "5.", "--1", "0.0001", "0.5ms", "1e3",
            "+5",
        ] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64k", 65_536),
            ("10M", 10_485_760),
            ("1g", 1 << 30),
            ("17", 17),
            ("-1", -1),
            ("99999999999g", i64::MAX),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "k", "64kb", "1.5m", "0x10", "64 k 1"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn counts() {
        for (text, count) in [
            ("0", 0),
            ("16384", 16_384),
            ("-20", -20),
            ("0xb8", 0xb8),
            ("0XB8", 0xb8),
        ] {
            assert_eq!(parse_count(text), Some(count), "{text}");
        }
        for text in ["", "-", "0x", "1.0", "1k", "+1", "ten"] {
            assert_eq!(parse_count(text), None, "{text}");
        }
        assert_eq!(parse_count(&"9".repeat(10_000)), Some(i64::MAX));
    }

    #[test]
    fn canonical_texts() {
        for (ms, text) in [
            (0, "0s"),
            (50, "50ms"),
            (10_000, "10s"),
            (120_000, "120s"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(format_duration_ms(ms), text);
        }
        for (bytes, text) in [
            (0, "0"),
            (65_536, "64k"),
            (65_537, "65537"),
            (10 * M, "10m"),
            (G, "1g"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
    }

    #[test]
    fn distance_counts_slips() {
        let slips = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(slips("", ""), 0);
        assert_eq!(slips("", "abc"), 3);
        assert_eq!(slips("abc", ""), 3);
        assert_eq!(slips("linger", "linger"), 0);
        assert_eq!(slips("lingr", "linger"), 1);
        assert_eq!(slips("lingger", "linger"), 1);
        assert_eq!(slips("linker", "linger"), 1);
        assert_eq!(slips("ilnger", "linger"), 1);
        assert_eq!(slips("kitten", "sitting"), 3);
    }

    proptest! {
        #[test]
        fn canonical_texts_read_back(number in 0_i64..i64::MAX / HOUR) {
            prop_assert_eq!(parse_duration_ms(&format_duration_ms(number)), Some(number));
            prop_assert_eq!(parse_size(&format_size(number)), Some(number));
        }

        #[test]
        fn reading_never_panics(text in ".{0,40}", digits in "-?[0-9.]{0,40}(ms|s|m|h|k|g)?") {
            for text in [&text, &digits] {
                let _ = (parse_count(text), parse_duration_ms(text), parse_size(text));
                let _ = nearest(text, ["linger", "tos"]);
            }
        }

        #[test]
        fn distance_is_symmetric(a in "[a-d_]{0,8}", b in "[a-d_]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(distance(&chars(&a), &b), distance(&chars(&b), &a));
        }
    }
}
