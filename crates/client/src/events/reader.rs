//! Reads events from messages, whoever sent them.

use std::fmt;

use celeriac_protocol::{Codec, DecodeLimits, Map, Message, Value, shorten};
use serde::Serialize;

/// Largest message that is read, in bytes. A message of Celeriac has 128 KiB and one event.
const LARGEST: usize = 4 << 20;

/// Most values of a message.
const VALUES: usize = 200_000;

/// Deepest nesting of a message. Celery's fields are plain, apart from lists of numbers.
const DEPTH: usize = 32;

/// Longest text of a field that is kept, in bytes.
const LONGEST: usize = 32 << 10;

/// An event of a worker, of a task or of a program's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorEvent {
    /// Its type, such as `task-received`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the worker or client that sent it.
    pub hostname: String,
    /// Time at which it was sent by the clock of the sender, in seconds since 1970.
    pub timestamp: f64,
    /// Logical time of the sender. Zero if it has none.
    pub clock: u64,
    /// Time of its arrival by the clock of this machine, in seconds since 1970.
    pub local_received: f64,
    /// All other fields.
    #[serde(flatten)]
    pub fields: Map,
}

/// A message that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnreadableEvent(String);

impl MonitorEvent {
    /// Reads all events of a message that arrived at this time, in seconds since 1970. Skips those
    /// that have no type, or no sender.
    pub(crate) fn read(message: &Message, now: f64) -> Result<Vec<Self>, UnreadableEvent> {
        let content_type = message.properties.content_type.as_deref();
        let codec = Codec::from_content_type(content_type).map_err(|error| UnreadableEvent(error.to_string()))?;
        let limits = DecodeLimits { size: LARGEST, values: VALUES, depth: DEPTH, ..DecodeLimits::default() };
        let value = codec.decode_value(&message.body, &limits).map_err(|error| UnreadableEvent(error.to_string()))?;
        let found = match value {
            Value::List(events) => events.into_iter().filter_map(|event| Self::of(event, now)).collect(),
            event => Self::of(event, now).into_iter().collect::<Vec<_>>(),
        };
        if found.is_empty() {
            return Err(UnreadableEvent("no event has a type and a hostname".to_owned()));
        }
        Ok(found)
    }

    fn of(event: Value, now: f64) -> Option<Self> {
        let Value::Map(mut fields) = event else { return None };
        let mut text = |name: &str| match fields.shift_remove(name) {
            Some(Value::Text(text)) if !text.is_empty() && text.len() <= 255 => Some(text),
            _ => None,
        };
        let (kind, hostname) = (text("type")?, text("hostname")?);
        let timestamp = fields.shift_remove("timestamp").and_then(|time| number(&time)).unwrap_or(now);
        let clock = fields.shift_remove("clock").and_then(|clock| clock.as_u64()).unwrap_or_default();
        for value in fields.values_mut() {
            if let Value::Text(text) = value
                && text.len() > LONGEST
            {
                *text = shorten(text, LONGEST).into_owned();
            }
        }
        Some(Self { kind, hostname, timestamp, clock, local_received: now, fields })
    }

    /// Returns a text field, if the event has it.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// Returns a field that is a number, if the event has it.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name).and_then(number)
    }

    /// Returns the id of the task that the event is about.
    pub fn uuid(&self) -> Option<&str> {
        self.text("uuid")
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) if number.is_finite() => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::UInt(number) => Some(*number as f64),
        _ => None,
    }
}

impl fmt::Display for UnreadableEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Properties;

    use super::*;

    fn read(body: &str) -> Result<Vec<MonitorEvent>, UnreadableEvent> {
        let properties = Properties { content_type: Some("application/json".to_owned()), ..Properties::default() };
        MonitorEvent::read(&Message { properties, body: body.to_owned().into(), ..Message::default() }, 5.0)
    }

    #[test]
    fn one_event_and_several_are_read() {
        let one = r#"{"type": "task-started", "hostname": "w1", "timestamp": 1, "clock": 7, "uuid": "a"}"#;
        let event = read(one).unwrap().remove(0);
        assert_eq!((event.kind.as_str(), event.timestamp, event.clock), ("task-started", 1.0, 7));
        assert_eq!((event.uuid(), event.local_received), (Some("a"), 5.0));
        let several = read(&format!("[{one}, 7, {{\"type\": \"task-sent\"}}, {one}]")).unwrap();
        assert_eq!(several, [event.clone(), event]);
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for body in ["", "null", "[]", "{}", "7", "{\"type\": 7, \"hostname\": \"w\"}", "[[[[", "\u{0}"] {
            assert!(read(body).is_err(), "{body}");
        }
        assert!(read(&"[".repeat(100)).is_err());
        assert!(read(&format!("[{}]", " ".repeat(LARGEST))).is_err());
    }

    #[test]
    fn strange_fields_do_no_harm() {
        let strange = r#"{"type": "worker-heartbeat", "hostname": "w1", "timestamp": "soon", "clock": -7, "freq": []}"#;
        let event = read(strange).unwrap().remove(0);
        assert_eq!((event.timestamp, event.clock, event.number("freq")), (5.0, 0, None));
    }
}
