//! Durations as people write them: `10s`, `5ms`, `1m 30s`, `7d`.
//!
//! For a field of type [`Duration`]: `#[serde(with = "duration")]`; for an optional one:
//! `#[serde(with = "duration::option")]`. A number without a unit is refused, and so are months and years.

use std::fmt;
use std::time::Duration;

use serde::Serializer;
use serde::de::{self, Deserializer, Visitor};

use crate::fault::quoted;

/// Reads a duration.
///
/// # Errors
/// When it is not written as a number with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// Writes a duration, in the form that is read.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// A duration in the form that is read: `1m 30s`.
pub fn format(duration: Duration) -> String {
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

/// Reads `1m 30s`. For arguments of a command line.
///
/// # Errors
/// A sentence that says how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(without_unit(text));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if !units(text).any(has_no_length) => Ok(duration),
        _ => Err(format!("should be a duration such as 10s or 1m 30s, found {}{}", quoted(text), meant(text))),
    }
}

/// Months and years are not equally long, and whoever writes `5M` means minutes.
fn has_no_length(unit: &str) -> bool {
    matches!(unit, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years")
}

fn units(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphabetic()).filter(|unit| !unit.is_empty())
}

/// What was probably meant: the same in lower case, or days.
fn meant(text: &str) -> String {
    let lower = text.to_lowercase();
    if units(&lower).any(has_no_length) {
        return ", write months and years as days, such as 30d".to_owned();
    }
    match humantime::parse_duration(&lower) {
        Ok(_) if lower != text => format!(", did you mean {lower}?"),
        _ => String::new(),
    }
}

fn without_unit(number: impl fmt::Display) -> String {
    format!("should be a duration with a unit such as {number}s or {number}ms, found `{number}`")
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration such as 10s or 1m 30s")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        Err(E::custom(without_unit(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        Err(E::custom(without_unit(number)))
    }
}

/// The same for a field of type `Option<Duration>`; none is written `null`.
pub mod option {
    use super::*;

    /// Reads a duration or `null`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_option(OptionVisitor)
    }

    /// Writes a duration or `null`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    struct OptionVisitor;

    impl<'de> Visitor<'de> for OptionVisitor {
        type Value = Option<Duration>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            DurationVisitor.expecting(formatter)
        }

        fn visit_none<E: de::Error>(self) -> Result<Option<Duration>, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Option<Duration>, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Duration>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_people_do() {
        for (text, duration, written) in [
            ("0s", Duration::ZERO, "0s"),
            ("5ms", Duration::from_millis(5), "5ms"),
            ("10s", Duration::from_secs(10), "10s"),
            ("90s", Duration::from_secs(90), "1m 30s"),
            ("1m 30s", Duration::from_secs(90), "1m 30s"),
            ("7d", Duration::from_secs(7 * 86_400), "7d"),
            ("26h", Duration::from_secs(26 * 3_600), "1d 2h"),
            ("1ms 2us 3ns", Duration::from_nanos(1_002_003), "1ms 2us 3ns"),
        ] {
            assert_eq!(parse(text), Ok(duration), "{text}");
            assert_eq!(format(duration), written, "{text}");
            assert_eq!(parse(written), Ok(duration), "{text}");
        }
    }

    #[test]
    fn a_number_wants_a_unit() {
        for (text, message) in [
            ("10", "should be a duration with a unit such as 10s or 10ms, found `10`"),
            ("1.5", "should be a duration with a unit such as 1.5s or 1.5ms, found `1.5`"),
            ("soon", "should be a duration such as 10s or 1m 30s, found `soon`"),
            ("", "should be a duration such as 10s or 1m 30s, found ``"),
            ("-1s", "should be a duration such as 10s or 1m 30s, found `-1s`"),
            ("5M", "should be a duration such as 10s or 1m 30s, found `5M`, did you mean 5m?"),
            ("1H 5M", "should be a duration such as 10s or 1m 30s, found `1H 5M`, did you mean 1h 5m?"),
            (
                "1y",
                "should be a duration such as 10s or 1m 30s, found `1y`, write months and years as days, such as 30d",
            ),
            (
                "2months",
                "should be a duration such as 10s or 1m 30s, found `2months`, write months and years as days, such as 30d",
            ),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()));
        }
    }
}
