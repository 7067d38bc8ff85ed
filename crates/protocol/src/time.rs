//! Times in Celery's format.

use std::fmt::Display;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use uuid::Uuid;

/// Formats a time as Python's ISO 8601: with the numeric offset, and with microseconds or no
/// fraction.
///
/// Python before 3.11 reads no other form.
pub(crate) fn to_iso(time: Timestamp) -> String {
    // Rounded down, so that it is never a time in the future.
    let micros = Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
    shown(&micros.display_with_offset(Offset::UTC), micros.subsec_nanosecond())
}

/// Shows a time with microseconds, or without a fraction if it has none.
pub(crate) fn shown(time: &impl Display, subsec_nanosecond: i32) -> String {
    if subsec_nanosecond.abs() < 1_000 { format!("{time:.0}") } else { format!("{time:.6}") }
}

/// Returns the time at which a task was sent, from its id. Celeriac's ids begin with the time, so
/// there is no header for it.
pub fn sent_at(id: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}

/// Reads ISO 8601. A time without an offset is UTC, as in Celery.
pub(crate) fn from_iso(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    TimeZone::UTC.to_timestamp(naive(text)?).ok()
}

/// Returns a time without an offset.
pub(crate) fn naive(text: &str) -> Option<DateTime> {
    let says_offset = text.parse::<Timestamp>().is_ok();
    if says_offset { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_ours_tells_when_the_task_was_sent() {
        let time = uuid::Timestamp::from_unix(uuid::NoContext, 1_795_166_829, 870_000_000);
        let id = Uuid::new_v7(time).to_string();
        assert_eq!(sent_at(&id), Some("2026-11-20T09:27:09.87Z".parse().unwrap()));
        assert_eq!(sent_at("f233c42b-36e5-447e-8f44-050328f183eb"), None, "Celery's ids tell nothing");
        assert_eq!(sent_at("order 17"), None);
    }

    #[test]
    fn times_have_microseconds_or_nothing_behind_the_seconds() {
        for (time, text) in [
            ("2026-11-20T09:40:17Z", "2026-11-20T09:40:17+00:00"),
            ("2026-11-20T09:40:17.5Z", "2026-11-20T09:40:17.500000+00:00"),
            ("2026-11-20T09:40:17.123456789Z", "2026-11-20T09:40:17.123456+00:00"),
        ] {
            assert_eq!(to_iso(time.parse().unwrap()), text);
        }
    }

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
