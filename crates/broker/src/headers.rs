//! Limits for the headers of a message.
//!
//! RabbitMQ divides bodies into frames, but not headers: a consumer gets all headers of a message
//! in one frame. A frame larger than the negotiated 131,072 bytes closes the connection of every
//! consumer. So each sender leaves room for headers that are added later. A call keeps to
//! [`MAX_OF_CALL`]. A worker adds dead-letter headers and traces, and keeps to [`MAX`]. RabbitMQ
//! adds an entry of `x-death` for each delay level.

use std::collections::HashSet;

use celeriac_protocol::headers::names;
use celeriac_protocol::{HeaderMap, Value};

use crate::error::{Error, Result};

/// Most bytes in the headers of a new call.
pub const MAX_OF_CALL: usize = 64 << 10;

/// Most bytes in the headers of any published message.
pub const MAX: usize = 96 << 10;

/// Checks the headers of a message before it is published.
///
/// # Errors
/// Returns an error if the broker would not accept them.
pub(crate) fn check_published(headers: &HeaderMap) -> Result<()> {
    check(headers, MAX)?;
    check_copies(headers)
}

/// Checks that headers have at most `limit` bytes.
///
/// # Errors
/// Returns [`Error::HeadersTooLarge`] if they have more.
pub fn check(headers: &HeaderMap, limit: usize) -> Result<()> {
    let size = size(headers);
    if size <= limit {
        return Ok(());
    }
    let entries = headers.iter().map(|(name, value)| (entry_size(name, value), name));
    let (largest, name) = entries.max_by_key(|(size, _)| *size).unwrap_or_default();
    Err(Error::HeadersTooLarge { size, limit, name: name.to_owned(), largest })
}

/// Leaves out headers until the others have at most `limit` bytes: the largest first, and those of
/// the framework last. Returns what was left out, in words.
pub fn leave_out_largest(headers: &mut HeaderMap, limit: usize) -> Vec<String> {
    let mut size = size(headers);
    if size <= limit {
        return Vec::new();
    }
    let mut entries: Vec<_> = headers
        .iter()
        .map(|(name, value)| (!names::is_reserved(name), entry_size(name, value), name.to_owned()))
        .collect();
    entries.sort_unstable();
    let mut removed = Vec::new();
    while size > limit
        && let Some((_, bytes, name)) = entries.pop()
    {
        size -= bytes;
        removed.push((name, bytes));
    }
    let names: HashSet<_> = removed.iter().map(|(name, _)| name.as_str()).collect();
    headers.retain(|name| !names.contains(name));
    removed.iter().map(|(name, bytes)| left_out(name, *bytes)).collect()
}

/// Says that a header was left out.
pub(crate) fn left_out(name: &str, bytes: usize) -> String {
    format!("header `{name}` is too large and was left out: {bytes} bytes")
}

/// Checks the headers `CC` and `BCC`, the routing keys of further copies.
///
/// RabbitMQ closes the channel if one of them is not a list of texts. Other messages on the channel
/// lose their confirms.
///
/// # Errors
/// Returns [`Error::Invalid`] if one is not a list of texts.
fn check_copies(headers: &HeaderMap) -> Result<()> {
    for name in [names::CC, names::BCC] {
        let is_valid = match headers.get(name) {
            None => true,
            Some(Value::List(keys)) => keys.iter().all(|key| key.as_str().is_some()),
            Some(_) => false,
        };
        if !is_valid {
            return Err(Error::Invalid {
                key: format!("header {name}"),
                reason: "not a list of routing keys".to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns the size of headers in AMQP.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| entry_size(name, value)).sum()
}

fn entry_size(name: &str, value: &Value) -> usize {
    1 + name.len() + value_size(value)
}

fn value_size(value: &Value) -> usize {
    const TAG: usize = 1;
    const LENGTH: usize = 4;
    match value {
        Value::Null => TAG,
        Value::Bool(_) => TAG + 1,
        Value::Int(_) | Value::Float(_) => TAG + 8,
        Value::UInt(_) => TAG + LENGTH + 20,
        Value::BigInt(number) => TAG + LENGTH + number.as_str().len(),
        Value::Text(text) => TAG + LENGTH + text.len(),
        Value::Bytes(bytes) => TAG + LENGTH + bytes.len(),
        Value::List(items) => TAG + LENGTH + items.iter().map(value_size).sum::<usize>(),
        Value::Map(entries) => {
            TAG + LENGTH + entries.iter().map(|(name, value)| entry_size(name, value)).sum::<usize>()
        }
        Value::Kombu(typed) => TAG + LENGTH + typed.text().len(),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Map;

    use super::*;

    #[test]
    fn copies_are_routing_keys() {
        let keys = |value: Value| -> HeaderMap { [("CC", value)].into_iter().collect() };
        check_copies(&keys(Value::List(vec!["a".into(), "b".into()]))).unwrap();
        for wrong in ["x".into(), Value::Null, Value::List(vec![1_i64.into()])] {
            let error = check_copies(&keys(wrong)).unwrap_err();
            assert_eq!(error.to_string(), "header CC: not a list of routing keys");
        }
    }

    #[test]
    fn headers_over_the_bound_are_refused_with_the_name_of_the_largest() {
        let headers = |size: usize| -> HeaderMap {
            [("id", Value::from("1")), ("pad", Value::from("x".repeat(size))), ("task", Value::from("t"))]
                .into_iter()
                .collect()
        };
        // Three names with their lengths; for each text a tag, a length and its content.
        let rest = (1 + 2 + 5 + 1) + (1 + 3 + 5) + (1 + 4 + 5 + 1);
        check(&headers(1_000 - rest), 1_000).unwrap();
        let error = check(&headers(1_001 - rest), 1_000).unwrap_err();
        let pad = 1_001 - rest + 9;
        assert_eq!(
            error.to_string(),
            format!("headers too large: 1001 bytes, the limit is 1000; the largest is `pad` with {pad}")
        );
        assert!(!error.is_retryable());
    }

    #[test]
    fn the_largest_headers_are_left_out_and_those_of_the_framework_last() {
        let mut headers: HeaderMap = [
            ("id", Value::from("1")),
            ("large", Value::from("x".repeat(500))),
            ("small", Value::from("x")),
            ("argsrepr", Value::from("x".repeat(900))),
        ]
        .into_iter()
        .collect();
        assert_eq!(leave_out_largest(&mut headers.clone(), 2_000), [""; 0]);
        let left_out = leave_out_largest(&mut headers, 1_000);
        assert_eq!(left_out, ["header `large` is too large and was left out: 511 bytes"]);
        assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["id", "small", "argsrepr"]);
        let left_out = leave_out_largest(&mut headers, 100);
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["id"]);
    }

    #[test]
    fn the_size_of_headers_is_what_the_wire_takes() {
        let map: Map = [("a".to_owned(), Value::Int(-5)), ("b".to_owned(), Value::Null)].into_iter().collect();
        let nested = Value::List(vec![Value::Float(1.5), Value::Null, Value::Map(map), Value::List(vec![])]);
        let headers: HeaderMap = [("nested", nested), ("id", Value::from("1"))].into_iter().collect();
        // 1 + 6 + A(5 + d(9) + V(1) + F(5 + 2 + I(5) + 2 + V(1)) + A(5)). An integer counts as the
        // longer type.
        assert_eq!(size(&headers), 7 + 5 + 9 + 1 + (5 + 2 + 9 + 2 + 1) + 5 + 3 + 6);
    }
}
