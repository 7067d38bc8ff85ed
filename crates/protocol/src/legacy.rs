//! Tasks of protocol 1, which have their headers in the body.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::body::Body;
use crate::codec_error::DecodeError;
use crate::headers::{HeaderError, HeaderMap, TaskHeaders, names};
use crate::time;
use crate::value::Value;

/// The reason why a body is not a task of protocol 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// The body is something else.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The body is a task with an invalid header.
    #[error("body of protocol 1 is not valid: {0}")]
    Header(#[from] HeaderError),
}

/// Reads a decoded body as a task of protocol 1. Times without an offset are in `zone` if the
/// sender does not use UTC.
///
/// # Errors
/// Returns an error if the body is not such a task.
pub fn read(value: Value, zone: &TimeZone) -> Result<(TaskHeaders, Body), LegacyError> {
    let is_task = matches!(&value, Value::Map(entries) if entries.contains_key(names::TASK));
    if !is_task {
        return Err(DecodeError::NotATask { found: value.kind().to_owned() }.into());
    }
    let local = match &value {
        Value::Map(entries) => entries.get("utc") == Some(&Value::Bool(false)),
        _ => false,
    };
    let mut headers = HeaderMap::new();
    if let Value::Map(entries) = &value {
        let same = [names::TASK, names::ID, names::RETRIES, names::GROUP, names::GROUP_INDEX, names::TIMELIMIT];
        for name in same {
            headers.insert(name, entries.get(name).cloned().unwrap_or_default());
        }
        if let Some(group) = entries.get("taskset").filter(|group| !group.is_null()) {
            headers.insert(names::GROUP, group.clone());
        }
        for name in [names::ETA, names::EXPIRES] {
            let written = entries.get(name).cloned().unwrap_or_default();
            headers.insert(name, if local { in_zone(written, zone) } else { written });
        }
    }
    Ok((TaskHeaders::read(&headers)?, Body::from_value(value)?))
}

/// Adds the offset of the zone to a time without one. Leaves anything else unchanged.
fn in_zone(written: Value, zone: &TimeZone) -> Value {
    let naive: Option<DateTime> = written.as_str().and_then(time::naive);
    match naive.and_then(|naive| zone.to_timestamp(naive).ok()) {
        Some(time) => Value::Text(time::to_iso(time)),
        None => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(TaskHeaders, Body), LegacyError> {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        read(serde_json::from_str(text).unwrap(), &zone)
    }

    #[test]
    fn a_task_of_protocol_1_is_read_whole() {
        let (headers, body) = parse(
            r#"{"task":"t.add","id":"1","args":[1],"kwargs":{"y":2},"taskset":"g","retries":2,
                "eta":"2026-11-20T09:40:17","expires":null,"utc":true,"timelimit":[9,null],
                "callbacks":[{"task":"t.b"}],"errbacks":null,"chord":null}"#,
        )
        .unwrap();
        assert_eq!((headers.task.as_str(), headers.id.as_str(), headers.retries), ("t.add", "1", 2));
        assert_eq!(headers.group.as_deref(), Some("g"));
        assert_eq!(headers.eta, Some("2026-11-20T09:40:17Z".parse().unwrap()));
        assert_eq!((body.args, body.kwargs["y"].clone()), (vec![Value::Int(1)], Value::Int(2)));
        assert_eq!(crate::Embed::read(&body.embed).unwrap().callbacks[0].task, "t.b");
    }

    #[test]
    fn times_that_are_not_in_utc_are_in_the_zone_of_the_reader() {
        let (headers, _) = parse(r#"{"task":"t","id":"1","eta":"2026-11-20T09:40:17","utc":false}"#).unwrap();
        assert_eq!(headers.eta, Some("2026-11-20T07:40:17Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_task_of_protocol_1_is_said_so() {
        let cases = [
            ("[]", "the body should be [arguments, named arguments, embedded], got a list"),
            (r#"{"a":1}"#, "the body should be [arguments, named arguments, embedded], got an object"),
            (r#"{"task":"t"}"#, "body of protocol 1 is not valid: header `id` should be a string, got null"),
            (
                r#"{"task":"t","id":"1","args":7}"#,
                "the body should be [arguments, named arguments, embedded], got an object whose args are an integer",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }
}
