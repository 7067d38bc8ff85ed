//! The types that kombu adds to JSON.

use std::borrow::Cow;

use jiff::civil;
use uuid::Uuid;

use super::error::ValueError;

/// A value of a type that JSON lacks, and that Celery writes as an object of `__type__` and
/// `__value__`.
///
/// The text is kept as it arrived, so that it is passed on unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KombuValue {
    /// A date and a time in ISO 8601, with an offset or without.
    DateTime(String),
    /// A date in ISO 8601.
    Date(String),
    /// A time of day in ISO 8601.
    Time(String),
    /// A decimal number, as Python's `Decimal` writes it.
    Decimal(String),
    /// A UUID.
    Uuid(Uuid),
}

impl KombuValue {
    /// Returns the text. A UUID has the hyphenated form.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::DateTime(text) | Self::Date(text) | Self::Time(text) | Self::Decimal(text) => Cow::Borrowed(text),
            Self::Uuid(id) => Cow::Owned(id.to_string()),
        }
    }

    /// Returns Celery's name of the type.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DateTime(_) => "datetime",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Decimal(_) => "decimal",
            Self::Uuid(_) => "uuid",
        }
    }

    /// Returns the value of the type `name`, if there is such a type.
    pub(crate) fn named(name: &str, text: String) -> Option<Result<Self, ValueError>> {
        let typed = match name {
            "datetime" => Self::DateTime(text),
            "date" => Self::Date(text),
            "time" => Self::Time(text),
            "decimal" => Self::Decimal(text),
            "uuid" => {
                // The `uuid` crate reads the same text forms as Python.
                let id = Uuid::try_parse(&text).map_err(|_| invalid("uuid", &text));
                return Some(id.map(Self::Uuid));
            }
            _ => return None,
        };
        Some(typed.check().map(|()| typed))
    }

    /// Checks that the text is valid for its type. A peer drops a message with an invalid one.
    ///
    /// # Errors
    /// Returns an error if it is invalid.
    pub fn check(&self) -> Result<(), ValueError> {
        let valid = match self {
            Self::DateTime(text) => is_date_time(text),
            Self::Date(text) => is_date(text),
            Self::Time(text) => is_time(text),
            Self::Decimal(text) => is_decimal(text),
            Self::Uuid(_) => true,
        };
        if valid { Ok(()) } else { Err(invalid(self.name(), &self.text())) }
    }
}

/// Returns `true` for the form of Python's `isoformat`. Its `fromisoformat` reads little else, and
/// only years of four digits.
fn is_date_time(text: &str) -> bool {
    match text.as_bytes().get(10) {
        None => is_date(text),
        Some(b'T' | b' ') => is_date(&text[..10]) && is_time(&text[11..]),
        Some(_) => false,
    }
}

fn is_date(text: &str) -> bool {
    let digits = |(index, byte): (usize, u8)| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10
        && text.bytes().enumerate().all(digits)
        && !text.starts_with("0000")
        && text.parse::<civil::Date>().is_ok()
}

fn is_time(text: &str) -> bool {
    if let Some(clock) = text.strip_suffix('Z') {
        return is_clock(clock);
    }
    match text.find(['+', '-']) {
        None => is_clock(text),
        Some(at) => is_clock(&text[..at]) && text[at + 1..].contains(':') && is_clock(&text[at + 1..]),
    }
}

/// Returns `true` for `HH`, `HH:MM` and `HH:MM:SS`, the last with three or six digits of fraction
/// too.
fn is_clock(text: &str) -> bool {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if whole.len() == 8 => (whole, Some(fraction)),
        Some(_) => return false,
        None => (text, None),
    };
    let within = |part: &str, below: u8| {
        part.len() == 2
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|number| number < below)
    };
    let bounds = [24, 60, 60];
    whole.len() <= 8
        && whole.split(':').zip(bounds).all(|(part, below)| within(part, below))
        && fraction
            .is_none_or(|digits| matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns `true` for the form of Python's `str(Decimal)`: digits with a point and an exponent,
/// `Infinity` or `NaN`.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return true;
    }
    let lower = unsigned.get(..4).unwrap_or(unsigned).to_ascii_lowercase();
    if lower.starts_with("nan") {
        return digits(&unsigned[3..]);
    }
    if lower == "snan" {
        return digits(&unsigned[4..]);
    }
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        // Python limits exponents to eighteen digits, less the number's own digits.
        && exponent.is_none_or(|exponent| matches!(exponent.len(), 1..=17) && digits(exponent))
}

fn invalid(name: &str, text: &str) -> ValueError {
    const SHOWN: usize = 40;
    let shown: String = text.chars().take(SHOWN).collect();
    ValueError::new(format_args!("`{shown}` is not a {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_is_valid() {
        let cases: [(&str, &[&str]); 5] = [
            (
                "datetime",
                &[
                    "2026-01-02T03:04:05",
                    "2026-01-02T03:04:05.000001",
                    "2026-01-02T03:04:05+00:00",
                    "2026-01-02T03:04:05.123456-11:30",
                    "2026-01-02T03:04:05+05:53:28",
                    "2026-01-02T03:04:05Z",
                    "2026-01-02 03:04:05",
                    "0001-01-01T00:00:00+14:00",
                    "9999-12-31T23:59:59.999999-12:00",
                    "2026-01-02T03:04:05.000006+05:53:28.000005",
                ],
            ),
            ("date", &["2026-01-02", "0001-01-01", "9999-12-31"]),
            ("time", &["01:02:00", "01:02", "23:59:59.999999", "01:02:03+01:00", "01:02:03.000004+00:00"]),
            (
                "decimal",
                &["1.10", "-0", "1E+5", "0E-10", "1.5e3", ".5", "5.", "NaN", "-sNaN", "NaN12", "Infinity", "-Inf"],
            ),
            ("uuid", &["00000000000000000000000000000001", "00000000-0000-0000-0000-000000000001"]),
        ];
        for (name, texts) in cases {
            for text in texts {
                let typed = KombuValue::named(name, (*text).to_owned()).unwrap();
                assert_eq!(typed.as_ref().map(KombuValue::name), Ok(name), "{name} {text} {typed:?}");
            }
        }
    }

    #[test]
    fn what_is_of_another_shape_is_not() {
        let cases: [(&str, &[&str]); 5] = [
            (
                "datetime",
                &[
                    "",
                    "soon",
                    "2026-13-01T00:00:00",
                    "2026-01-02T03:04:05[UTC]",
                    "2026-01-02T25:00:00",
                    // Forms that other parsers read, and Python does not.
                    "-002026-01-02T03:04:05",
                    "0000-01-02T03:04:05",
                    "2026-01-02T03:04:60",
                    "2026-01-02T03:04:05.1234567",
                    "2026-01-02T03:04:05+24:00",
                    "2026-01-02é03:04:05",
                ],
            ),
            ("date", &["", "02.01.2026", "2026-02-30"]),
            ("time", &["", "24:30:00", "noon"]),
            (
                "decimal",
                &[
                    "",
                    ".",
                    "1e",
                    "1e999999999999999999",
                    "e5",
                    "1_0",
                    "0x1",
                    "1.1.1",
                    "--1",
                    "Infinit",
                    "nanx",
                    "٣",
                    "n\u{e4}n",
                ],
            ),
            ("uuid", &["", "1", "0000000000000000000000000000000g"]),
        ];
        for (name, texts) in cases {
            for text in texts {
                assert!(KombuValue::named(name, (*text).to_owned()).unwrap().is_err(), "{name} {text}");
            }
        }
        assert!(KombuValue::named("complex", "1".to_owned()).is_none());
    }
}
