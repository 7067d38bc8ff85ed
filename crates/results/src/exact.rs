//! Values that a database can hold as they are, and other forms for the rest.

use std::borrow::Cow;
use std::time::Duration;

use crate::record::{LONGEST_ID, TaskRecord};

/// The most bytes of arguments, result and error together: a database bounds what it takes in one piece.
const LARGEST: usize = 64 * 1024 * 1024;

/// Deeper nesting is kept as text: databases bound the depth of what they parse.
const DEEPEST_JSON: usize = 256;

/// Numbers with more digits of exponent are kept as text: a `numeric` does not hold them.
const LONGEST_EXPONENT: usize = 3;

/// Longer runs of digits are kept as text: with any exponent that is let through, a `numeric` holds fewer than 16 384
/// digits after the point.
const LONGEST_RUN: usize = 10_000;

/// Returns why no store takes this record, if none does.
pub(crate) fn refusal(record: &TaskRecord) -> Option<&'static str> {
    if record.id.is_empty() {
        Some("its id is empty")
    } else if record.id.len() > LONGEST_ID {
        Some("its id is longer than 255 bytes")
    } else if record.id.contains('\0') {
        Some("its id contains the character U+0000")
    } else if record.size() > LARGEST {
        Some("its arguments and its result are larger than 64 MiB together")
    } else {
        None
    }
}

/// Text without U+0000, which Postgres has no place for: U+FFFD stands for it.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Microseconds, the resolution of both databases.
pub(crate) fn seconds(duration: Duration) -> f64 {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)).as_secs_f64()
}

/// The inverse of [`seconds`].
pub(crate) fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((seconds * 1e6).round() / 1e6).ok().map(round_to_micros)
}

fn round_to_micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from((duration.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX))
}

/// A document, in the one of two columns that holds it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Document<'a> {
    /// For the JSON column.
    pub(crate) json: Option<&'a str>,
    /// To the letter, where a JSON column cannot hold it.
    pub(crate) text: Option<&'a str>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(document: Option<&'a str>) -> Self {
        match document {
            Some(document) if fits(document) => Self { json: Some(document), text: None },
            text => Self { json: None, text },
        }
    }
}

/// Reports whether a binary JSON column holds this document.
///
/// Only for documents that are JSON as Python writes it. Of them it refuses the escapes of U+0000 and of half surrogate
/// pairs, deep nesting, vast numbers, `NaN` and `Infinity`.
fn fits(document: &str) -> bool {
    let bytes = document.as_bytes();
    let mut depth = 0_usize;
    let mut digits = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => match end_of_string(bytes, at + 1) {
                Some(end) => at = end,
                None => return false,
            },
            b'[' | b'{' => {
                depth += 1;
                if depth > DEEPEST_JSON {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'0'..=b'9' if digits > LONGEST_RUN || has_vast_exponent(bytes, at) => return false,
            b'N' | b'I' if bytes[at..].starts_with(b"NaN") || bytes[at..].starts_with(b"Infinity") => return false,
            _ => {}
        }
        at += 1;
    }
    true
}

/// The closing quote of the string that begins at `at`. `None` when it holds an escape that a column does not.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Some(at),
            Some(b'\\') if bytes.get(at + 1) == Some(&b'u') => at = end_of_escape(bytes, at)?,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            // Not JSON: the database says so better.
            None => return Some(at),
        }
    }
}

/// Returns the place behind the `\uXXXX` at `at`, or behind the pair of them.
fn end_of_escape(bytes: &[u8], at: usize) -> Option<usize> {
    match unit(bytes, at)? {
        0 => None,
        0xd800..=0xdbff => matches!(unit(bytes, at + 6)?, 0xdc00..=0xdfff).then_some(at + 12),
        0xdc00..=0xdfff => None,
        _ => Some(at + 6),
    }
}

/// The UTF-16 unit that the escape at `at` stands for.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Reports whether the digit at `at` is followed by an exponent of many digits.
fn has_vast_exponent(bytes: &[u8], at: usize) -> bool {
    if !matches!(bytes.get(at + 1), Some(b'e' | b'E')) {
        return false;
    }
    let exponent = bytes[at + 2..].iter().skip_while(|byte| matches!(byte, b'+' | b'-'));
    exponent.take_while(|byte| byte.is_ascii_digit()).count() > LONGEST_EXPONENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_documents_fit() {
        for document in [
            "null",
            r#"{"a":[1,2.5,-1e10,1E-308],"b":"\"\\u0000 is only written here"}"#,
            r#"{"NaN":"Infinity","b":[true,false,null]}"#,
            &"9".repeat(10_000),
            r#""\ud83d\ude00 as Python writes it""#,
            r#""€ \n \/ \u20ac""#,
            &format!("{}{}", "[".repeat(256), "]".repeat(256)),
        ] {
            assert!(fits(document), "{document}");
        }
    }

    #[test]
    fn what_a_column_cannot_hold_is_found() {
        for document in [
            r#""\u0000""#,
            r#"{"a\u0000":1}"#,
            r#""\ud83d""#,
            r#""\ud83d\u0041""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d x""#,
            "1e4000",
            "[1.5E+123456]",
            "NaN",
            "[1,-Infinity]",
            r#"{"a":Infinity}"#,
            &"9".repeat(10_001),
            &format!("[0.{}]", "1".repeat(10_001)),
            &"[".repeat(257),
        ] {
            assert!(!fits(document), "{document}");
        }
    }

    #[test]
    fn durations_survive_to_the_microsecond() {
        for micros in [0, 1, 999_999, 1_000_001, 86_400_000_001, 123_456_789_012_345] {
            let exact = Duration::from_micros(micros);
            assert_eq!(duration(seconds(exact)), Some(exact));
        }
        assert_eq!(duration(-1.0), None);
    }

    #[test]
    fn text_without_nul_is_borrowed() {
        assert!(matches!(text("a"), Cow::Borrowed("a")));
        assert_eq!(text("a\0b"), "a\u{fffd}b");
    }
}
