//! Values that a database can store exactly, and the form of values that it cannot.

use std::borrow::Cow;
use std::time::Duration;

use crate::record::{LONGEST_ID, TaskRecord};

/// Most bytes of arguments, result and error together. A database limits the size of one value.
const LARGEST: usize = 64 * 1024 * 1024;

/// Deepest nesting of JSON. Databases limit the depth of their parser, so a deeper document is
/// stored as text.
const DEEPEST_JSON: usize = 256;

/// Most digits of an exponent. A `numeric` cannot hold more, so such a document is stored as text.
const LONGEST_EXPONENT: usize = 3;

/// Longest run of digits.
///
/// A `numeric` holds fewer than 16,384 digits after the point, with any exponent that is accepted.
/// A document with more is stored as text.
const LONGEST_RUN: usize = 10_000;

/// Returns the reason why no store can hold this record, if there is one.
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

/// Returns the text with U+FFFD in place of U+0000, which Postgres cannot store.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Returns seconds with microseconds, the resolution of both databases.
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

/// A document, in one of two columns.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Document<'a> {
    /// The document for the JSON column.
    pub(crate) json: Option<&'a str>,
    /// The exact text, if a JSON column cannot hold it.
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

/// Returns `true` if a binary JSON column can hold this document.
///
/// It accepts JSON as Python writes it. It refuses the escapes of U+0000 and of half surrogate
/// pairs, deep nesting, very large numbers, `NaN` and `Infinity`.
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

/// Returns the closing quote of the string that starts at `at`. Returns `None` if the string has an
/// escape that the column cannot hold.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Some(at),
            Some(b'\\') if bytes.get(at + 1) == Some(&b'u') => at = end_of_escape(bytes, at)?,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            // Not JSON. The database reports that with a better message.
            None => return Some(at),
        }
    }
}

/// Returns the position after the `\uXXXX` at `at`, or after the pair of them.
fn end_of_escape(bytes: &[u8], at: usize) -> Option<usize> {
    match unit(bytes, at)? {
        0 => None,
        0xd800..=0xdbff => matches!(unit(bytes, at + 6)?, 0xdc00..=0xdfff).then_some(at + 12),
        0xdc00..=0xdfff => None,
        _ => Some(at + 6),
    }
}

/// Returns the UTF-16 unit of the escape at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Returns `true` if an exponent of many digits follows the digit at `at`.
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
