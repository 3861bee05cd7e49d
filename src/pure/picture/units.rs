//! Numbers for people: short, and of a width that columns can rely on.

/// 0, 999, 12.3k, 4.56M: at most five characters up to 10^15.
pub fn count(number: u64) -> String {
    scaled(number, 1_000, ["k", "M", "G", "T", "P", "E"])
}

/// 0, 999, 12.3K: of 1024.
pub fn bytes(number: u64) -> String {
    scaled(number, 1_024, ["K", "M", "G", "T", "P", "E"])
}

fn scaled(number: u64, base: u64, units: [&str; 6]) -> String {
    if number < 1_000 {
        return number.to_string();
    }
    let mut value = number as f64;
    let mut unit = "";
    for next in units {
        // 999.6 would be rounded to four digits.
        if value < 999.5 {
            break;
        }
        value /= base as f64;
        unit = next;
    }
    match value {
        _ if value < 9.995 => format!("{value:.2}{unit}"),
        _ if value < 99.95 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

/// 1,234,567
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: below ten with one digit behind the point.
pub fn rate(per_second: f64) -> String {
    match per_second {
        _ if !per_second.is_finite() || per_second <= 0.0 => "0".to_string(),
        _ if per_second < 9.95 => format!("{per_second:.1}"),
        _ => count(per_second.round() as u64),
    }
}

/// 0, 12ms, 3.4s, 59s, 12m34, 3h05m, 12d03h: at most six characters up to a thousand days.
pub fn time(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        _ if ms == 0 => "0".to_string(),
        _ if ms < 1_000 => format!("{ms}ms"),
        0..=9 => format!("{seconds}.{}s", ms % 1_000 / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.00k"),
            (12_345, "12.3k"),
            (999_499, "999k"),
            (999_999, "1.00M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(bytes(1_023), "1.00K");
        assert_eq!(bytes(10 << 20), "10.0M");
        assert_eq!(bytes(u64::MAX), "16.0E");
        for shift in 0..64 {
            assert!(bytes(1 << shift).len() <= 5, "{}", bytes(1 << shift));
            assert!(count((1 << shift) - 1).len() <= 5);
        }
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn times_and_rates_are_short() {
        for (ms, text) in [
            (0, "0"),
            (12, "12ms"),
            (3_450, "3.4s"),
            (59_999, "59s"),
            (754_000, "12m34"),
            (11_100_000, "3h05m"),
            (1_047_600_000, "12d03h"),
        ] {
            assert_eq!(time(ms), text);
        }
        assert_eq!(rate(0.04), "0.0");
        assert_eq!(rate(9.96), "10");
        assert_eq!(rate(12_340.0), "12.3k");
        assert_eq!(rate(f64::NAN), "0");
        assert_eq!(rate(-1.0), "0");
    }
}
