//! Times as Celery writes them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// ISO 8601 with the offset spelt out, which every Python reads.
pub(crate) fn to_iso(time: Timestamp) -> String {
    time.display_with_offset(Offset::UTC).to_string()
}

/// Reads ISO 8601; a time without offset is UTC, as in Celery.
pub(crate) fn from_iso(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    TimeZone::UTC.to_timestamp(naive(text)?).ok()
}

/// A time that says nothing of its offset.
pub(crate) fn naive(text: &str) -> Option<DateTime> {
    let says_offset = text.parse::<Timestamp>().is_ok();
    if says_offset { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_celery_writes_them() {
        let expected: Timestamp = "2026-11-20T09:40:17Z".parse().unwrap();
        for text in
            ["2026-11-20T09:40:17+00:00", "2026-11-20T10:40:17+01:00", "2026-11-20T09:40:17", "2026-11-20 09:40:17Z"]
        {
            assert_eq!(from_iso(text), Some(expected), "{text}");
        }
        assert_eq!(from_iso("tomorrow"), None);
    }
}
