//! The time that is left, as gRPC writes it: `grpc-timeout` of grpc/grpc
//! `doc/PROTOCOL-HTTP2.md`.

use std::time::Duration;

/// The longest that anybody is waited for, whatever was asked.
pub(crate) const MOST: Duration = Duration::from_secs(60);

/// The time a text stands for; `None` if it is none.
pub(crate) fn read(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at))?;
    let (digits, unit) = text.split_at(unit);
    let number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = number.then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A time as text, rounded up to what fits into eight digits.
pub(crate) fn write(time: Duration) -> String {
    let most = 99_999_999;
    for (nanos, unit) in [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S')] {
        let number = time.as_nanos().div_ceil(nanos);
        if number <= most {
            return format!("{number}{unit}");
        }
    }
    format!("{most}S")
}

/// No longer than anybody is waited for.
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for text in ["1H", "2M", "3S", "4m", "5u", "6n", "99999999H", "0S"] {
            assert!(read(text).is_some(), "{text}");
        }
        for text in ["", "S", "1", "-1S", "1x", "123456789S", "1 S", "ü", "1ü"] {
            assert_eq!(read(text), None, "{text}");
        }
        for millis in [0, 1, 700, 60_000, 3_600_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(read(&write(time)), Some(time));
        }
        assert_eq!(bounded(read("99999999H").unwrap()), MOST);
    }
}
