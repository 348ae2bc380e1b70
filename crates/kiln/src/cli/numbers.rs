//! Numbers: as users type them, and as they read them.

use std::str::FromStr;
use std::time::Duration;

/// Parses a count, zero included: whether zero makes sense is for the library to say.
pub(crate) fn whole_number(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "expected a whole number")
}

/// Parses a number, of which the library says whether it makes sense.
pub(crate) fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "expected a number")
}

/// Parses a count or a number in a row that starts with 1.
pub(crate) fn at_least_one<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, &'static str> {
    let number: Option<T> = text.parse().ok();
    number.filter(|number| *number >= T::from(1)).ok_or("expected a whole number, 1 or more")
}

/// `1 document`, `2 documents`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Rounded to a microsecond, which no clock here is better than.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `1.59 s`, or `42.10 ms` of what is shorter than a tenth of a second: two digits, at least, that say something.
pub(crate) fn waited(duration: Duration) -> String {
    if duration < Duration::from_millis(100) {
        format!("{:.2} ms", milliseconds(duration))
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

/// `138,357,544`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2345`, `12.345`, `1.2e-5`: a measured number in six characters, with which lines stand below each other.
pub(crate) fn brief(number: f64) -> String {
    let size = number.abs();
    let text = if size > 0.0 && !(1e-3..1e5).contains(&size) {
        format!("{number:.1e}")
    } else {
        let before = if size < 1.0 { 0 } else { size.log10() as usize };
        format!("{number:.*}", 4_usize.saturating_sub(before))
    };
    format!("{text:>6}")
}

/// `15.47 G`: four digits of a number that may be large.
pub(crate) fn scaled(number: u64) -> String {
    const UNITS: [&str; 5] = ["k", "M", "G", "T", "P"];
    if number < 1000 {
        return number.to_string();
    }
    let mut scaled = number as f64;
    let mut unit = "";
    for name in UNITS {
        // What would round to a thousand belongs to the next unit.
        if scaled < 999.95 {
            break;
        }
        (scaled, unit) = (scaled / 1000.0, name);
    }
    let decimals = if scaled < 99.995 { 2 } else { 1 };
    format!("{scaled:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brief_numbers_have_one_width() {
        for (number, text) in [
            (0.0, "0.0000"),
            (0.05, "0.0500"),
            (2.71234, "2.7123"),
            (12.3456, "12.346"),
            (54321.9, " 54322"),
            (3.21e-5, "3.2e-5"),
            (1e9, " 1.0e9"),
        ] {
            assert_eq!(brief(number), text);
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([999, 1000, 138_357_544].map(grouped), ["999", "1,000", "138,357,544"]);
        assert_eq!([999, 125_400, 999_999].map(scaled), ["999", "125.4 k", "1.00 M"]);
        assert_eq!([86_704_128, 15_470_264_320].map(scaled), ["86.70 M", "15.47 G"]);
        assert_eq!([0, 1, 2].map(|n| counted(n, "run")), ["0 runs", "1 run", "2 runs"]);
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)), 1.235);
        let waits = [0, 40, 4_200, 99_990, 100_000, 1_594_000].map(Duration::from_micros);
        assert_eq!(waits.map(waited), ["0.00 ms", "0.04 ms", "4.20 ms", "99.99 ms", "0.10 s", "1.59 s"]);
    }

    #[test]
    fn counts_are_whole_and_positive() {
        assert_eq!((at_least_one::<u32>("1"), whole_number("0")), (Ok(1), Ok(0)));
        for wrong in ["0", "-1", "1.5", "", "x", "4294967296"] {
            assert!(at_least_one::<u32>(wrong).is_err(), "{wrong}");
        }
        assert!(whole_number("-1").is_err());
    }
}
