//! Durations as people write them: `10s`, `5ms`, `1m 30s`, `7d`.

use std::time::Duration;

use crate::error::Error;

/// The expected form, with examples.
const FORM: &str = "a duration such as 10s or 1m 30s";

/// Units: names, beginning with the written one, and length in nanoseconds. Months and years have
/// no fixed length and are not units.
const UNITS: [(&[&str], u64); 8] = [
    (&["w", "wk", "wks", "week", "weeks"], 7 * DAY),
    (&["d", "day", "days"], DAY),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * SECOND),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["ms", "msec", "millis"], 1_000_000),
    (&["us", "µs", "usec"], 1_000),
    (&["ns", "nsec", "nanos"], 1),
];

const SECOND: u64 = 1_000_000_000;

const DAY: u64 = 86_400 * SECOND;

/// Writes a duration in the form that is read: `1m 30s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = u64::from(duration.subsec_nanos());
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanos / 1_000_000, "ms"),
        (nanos / 1_000 % 1_000, "us"),
        (nanos % 1_000, "ns"),
    ];
    let written: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if written.is_empty() { "0s".to_owned() } else { written.join(" ") }
}

/// Writes a duration as people say it: `22.9ms`, `1.2s`, `3m 5s`.
///
/// Below a minute it has three significant digits, above it the two largest units. Log lines, the
/// banner of a worker and the command line print measured times in this form; [`format_duration`]
/// prints settings, exactly.
pub fn approximate_duration(duration: Duration) -> String {
    const MINUTE: u128 = 60 * SECOND as u128;
    let nanos = duration.as_nanos();
    let rounded = round_to(nanos, 10_u128.pow(nanos.checked_ilog10().unwrap_or_default().saturating_sub(2)));
    if rounded < MINUTE {
        return with_fraction(rounded);
    }
    let step = match nanos {
        nanos if nanos < 60 * MINUTE => SECOND,
        nanos if nanos < u128::from(DAY) => 60 * SECOND,
        _ => 3_600 * SECOND,
    };
    let seconds = round_to(nanos, u128::from(step)) / u128::from(SECOND);
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let written: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).take(2).map(|(count, unit)| format!("{count}{unit}")).collect();
    written.join(" ")
}

fn round_to(nanos: u128, step: u128) -> u128 {
    (nanos + step / 2) / step * step
}

/// Writes less than a minute in its largest unit: `22.9ms`.
fn with_fraction(nanos: u128) -> String {
    let units = [(u128::from(SECOND), 9, "s"), (1_000_000, 6, "ms"), (1_000, 3, "us")];
    match units.into_iter().find(|(length, ..)| nanos >= *length) {
        Some((length, places, unit)) => {
            let decimal = format!("{}.{:0places$}", nanos / length, nanos % length);
            format!("{}{unit}", decimal.trim_end_matches('0').trim_end_matches('.'))
        }
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{nanos}ns"),
    }
}

/// Reads `1m 30s`: a sum of numbers with units.
///
/// # Errors
/// Returns an error for a number without a unit, for months and years, and for other text.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let text = text.trim();
    read(text).map_err(|refused| match refused {
        Refused::NoUnit(number) => without_unit(number, text),
        Refused::TooLong => Error::new(FORM, text).with_advice(", which is too long"),
        Refused::Unreadable => Error::new(FORM, text),
        Refused::UnknownUnit => {
            let lower = text.to_lowercase();
            if unit_names(&lower).any(has_no_length) {
                Error::new(FORM, text).with_advice(", write months and years as days, such as 30d")
            } else if read(&lower).is_ok() {
                Error::new(FORM, text).with_suggestion(lower)
            } else {
                Error::new(FORM, text).with_advice(", the units are w, d, h, m, s, ms, us and ns")
            }
        }
    })
}

/// The reason why a text is not a duration.
enum Refused<'a> {
    NoUnit(&'a str),
    UnknownUnit,
    TooLong,
    Unreadable,
}

fn read(text: &str) -> Result<Duration, Refused<'_>> {
    let mut rest = text;
    let mut sum: u128 = 0;
    loop {
        let (number, after) = split_where(rest, |letter| !letter.is_ascii_digit() && letter != '.');
        let (unit, after) = split_where(after.trim_start(), |letter| !letter.is_alphabetic());
        if !number.starts_with(|digit: char| digit.is_ascii_digit()) {
            return Err(Refused::Unreadable);
        }
        if unit.is_empty() {
            return Err(if after.is_empty() { Refused::NoUnit(number) } else { Refused::Unreadable });
        }
        let length = UNITS.iter().find(|(names, _)| names.contains(&unit)).map(|(_, length)| *length);
        let part = times(number, length.ok_or(Refused::UnknownUnit)?)?;
        sum = sum.checked_add(part).ok_or(Refused::TooLong)?;
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
    }
    let seconds = u64::try_from(sum / u128::from(SECOND)).map_err(|_| Refused::TooLong)?;
    let nanos = u32::try_from(sum % u128::from(SECOND)).map_err(|_| Refused::TooLong)?;
    Ok(Duration::new(seconds, nanos))
}

/// Converts a decimal number of units to nanoseconds, exactly.
fn times(number: &str, length: u64) -> Result<u128, Refused<'_>> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && !fraction.contains('.') => (whole, fraction),
        Some(_) => return Err(Refused::Unreadable),
        None => (number, ""),
    };
    let digits = |digits: &str| digits.parse::<u64>().map(u128::from).map_err(|_| Refused::TooLong);
    let whole = digits(whole)? * u128::from(length);
    if fraction.is_empty() {
        return Ok(whole);
    }
    let places = u32::try_from(fraction.len()).map_err(|_| Refused::Unreadable)?;
    let parts = digits(fraction).map_err(|_| Refused::Unreadable)? * u128::from(length);
    let denominator = 10_u128.checked_pow(places).ok_or(Refused::Unreadable)?;
    if parts % denominator != 0 {
        return Err(Refused::Unreadable);
    }
    whole.checked_add(parts / denominator).ok_or(Refused::TooLong)
}

/// Returns true for months and years, which have no fixed length. `5M` is not one: it means
/// minutes.
fn has_no_length(unit: &str) -> bool {
    matches!(unit, "month" | "months" | "y" | "yr" | "yrs" | "year" | "years")
}

fn unit_names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphabetic()).filter(|unit| !unit.is_empty())
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn without_unit(number: &str, text: &str) -> Error {
    Error::new(format!("a duration with a unit such as {number}s or {number}ms"), text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_written_as_people_do() {
        for (text, duration, written) in [
            ("0s", Duration::ZERO, "0s"),
            ("5ms", Duration::from_millis(5), "5ms"),
            ("10s", Duration::from_secs(10), "10s"),
            ("90s", Duration::from_secs(90), "1m 30s"),
            ("1m 30s", Duration::from_secs(90), "1m 30s"),
            ("1m30s", Duration::from_secs(90), "1m 30s"),
            (" 2 h ", Duration::from_secs(7_200), "2h"),
            ("7d", Duration::from_secs(7 * 86_400), "7d"),
            ("2w", Duration::from_secs(14 * 86_400), "14d"),
            ("26h", Duration::from_secs(26 * 3_600), "1d 2h"),
            ("1.5h", Duration::from_secs(5_400), "1h 30m"),
            ("10 minutes 1 sec", Duration::from_secs(601), "10m 1s"),
            ("1ms 2us 3ns", Duration::from_nanos(1_002_003), "1ms 2us 3ns"),
            ("7µs", Duration::from_micros(7), "7us"),
        ] {
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(format_duration(duration), written, "{text}");
            assert_eq!(parse_duration(written), Ok(duration), "{text}");
        }
    }

    #[test]
    fn a_measured_time_has_three_digits_or_two_units() {
        for (nanos, written) in [
            (0, "0s"),
            (7, "7ns"),
            (999, "999ns"),
            (1_000, "1us"),
            (1_234, "1.23us"),
            (999_600, "1ms"),
            (22_946_036, "22.9ms"),
            (200_000_000, "200ms"),
            (999_499_999, "999ms"),
            (999_500_000, "1s"),
            (1_204_000_000, "1.2s"),
            (1_246_000_000, "1.25s"),
            (12_340_000_000, "12.3s"),
            (59_940_000_000, "59.9s"),
            (59_960_000_000, "1m"),
            (60_000_000_000, "1m"),
            (185_400_000_000, "3m 5s"),
            (3_599_600_000_000, "1h"),
            (3_600_000_000_000, "1h"),
            (3_689_000_000_000, "1h 1m"),
            (86_399_000_000_000, "1d"),
            (90_000_000_000_000, "1d 1h"),
            (864_000_000_000_000, "10d"),
        ] {
            assert_eq!(approximate_duration(Duration::from_nanos(nanos)), written, "{nanos}");
        }
    }

    #[test]
    fn every_name_of_a_unit_is_read() {
        for (names, length) in UNITS {
            for name in names {
                assert_eq!(parse_duration(&format!("3{name}")), Ok(Duration::from_nanos(3 * length)), "{name}");
            }
        }
    }

    #[test]
    fn a_number_wants_a_unit() {
        for (text, expected) in [
            ("10", "with a unit such as 10s or 10ms, found `10`"),
            ("1.5", "with a unit such as 1.5s or 1.5ms, found `1.5`"),
            ("1s 2", "with a unit such as 2s or 2ms, found `1s 2`"),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), format!("should be a duration {expected}"));
        }
    }

    #[test]
    fn anything_else_is_answered_with_the_form() {
        let units = ", the units are w, d, h, m, s, ms, us and ns";
        let days = ", write months and years as days, such as 30d";
        for (text, advice) in [
            ("", ""),
            ("soon", ""),
            ("s", ""),
            ("-1s", ""),
            ("1s, 2s", ""),
            ("1..5s", ""),
            ("1.s", ""),
            (".5s", ""),
            ("1.5ns", ""),
            ("10 fortnights", units),
            ("10x", units),
            ("5M", ", did you mean 5m?"),
            ("1H 5M", ", did you mean 1h 5m?"),
            ("1y", days),
            ("1Y", days),
            ("2months", days),
            ("99999999999999999999d", ", which is too long"),
            ("18446744073709551615d", ", which is too long"),
            ("18446744073709551615s 1s", ", which is too long"),
        ] {
            let expected = format!("should be a duration such as 10s or 1m 30s, found `{text}`{advice}");
            assert_eq!(parse_duration(text).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_duration_is_read_as_it_is_written(seconds: u64, nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_measured_time_is_read_as_nearly_the_same(seconds in 0_u64..1_000_000_000_000, nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            let read = parse_duration(&approximate_duration(duration)).unwrap();
            prop_assert!(read.abs_diff(duration) <= duration / 40, "{:?}", read);
        }

        #[test]
        fn any_text_is_answered(text in "[0-9.]{0,22} ?[a-zµA-Z]{0,8}[ 0-9a-z.µ-]{0,12}") {
            let _ = parse_duration(&text);
        }
    }
}
