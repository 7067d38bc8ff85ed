//! Converts messages to AMQP and back.
//!
//! It writes only field types that Celery's AMQP client reads. It reads every field type.

use std::time::Duration;

use bytes::Bytes;
use celeriac_protocol::{HeaderMap, Map, Message, Properties, Value};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};

use crate::broker::Outgoing;
use crate::error::{Error, Result};

/// Deepest nesting of headers. No real header is deeper.
pub(super) const DEEPEST: usize = 64;

/// Longest text of a name, a key or a property.
const LONGEST_SHORT: usize = 255;

/// RabbitMQ stores the expiration of a message in 32 bits.
const LONGEST_EXPIRATION: Duration = Duration::from_millis(u32::MAX as u64);

const PERSISTENT: u8 = 2;

/// An outgoing message in AMQP's terms, without its body.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) mandatory: bool,
}

impl Envelope {
    /// Converts a message.
    ///
    /// # Errors
    /// Returns an error if a name, a key or a property is longer than AMQP allows.
    pub(super) fn new(outgoing: &Outgoing) -> Result<Self> {
        Ok(Self {
            exchange: short(&outgoing.exchange, "exchange")?,
            routing_key: short(&outgoing.routing_key, "routing key")?,
            properties: write_properties(&outgoing.message)?,
            mandatory: outgoing.mandatory,
        })
    }
}

/// Converts a text that AMQP limits to 255 bytes.
pub(super) fn short(text: &str, what: &str) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_| Error::Invalid {
        key: what.to_owned(),
        reason: format!("should be at most {LONGEST_SHORT} bytes, got {}", text.len()),
    })
}

fn write_properties(message: &Message) -> Result<BasicProperties> {
    let Properties { content_type, content_encoding, transient, priority, correlation_id, reply_to, expiration } =
        &message.properties;
    let mut properties = BasicProperties::default();
    if !message.headers.is_empty() {
        properties = properties.with_headers(write_headers(&message.headers)?);
    }
    if let Some(content_type) = content_type {
        properties = properties.with_content_type(short(content_type, "content type")?);
    }
    if let Some(content_encoding) = content_encoding {
        properties = properties.with_content_encoding(short(content_encoding, "content encoding")?);
    }
    if !transient {
        properties = properties.with_delivery_mode(PERSISTENT);
    }
    if let Some(priority) = priority {
        properties = properties.with_priority(*priority);
    }
    if let Some(correlation_id) = correlation_id {
        properties = properties.with_correlation_id(short(correlation_id, "correlation id")?);
    }
    if let Some(reply_to) = reply_to {
        properties = properties.with_reply_to(short(reply_to, "reply queue")?);
    }
    // RabbitMQ cannot count a longer time, so the message gets no expiration. The `expires` header
    // still applies.
    if let Some(expiration) = expiration.filter(|expiration| *expiration <= LONGEST_EXPIRATION) {
        properties = properties.with_expiration(short(&expiration.as_millis().to_string(), "expiration")?);
    }
    Ok(properties)
}

fn write_headers(headers: &HeaderMap) -> Result<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in headers.iter() {
        table.insert(short(name, "header name")?, write_value(value, DEEPEST)?);
    }
    Ok(table)
}

fn write_value(value: &Value, depth: usize) -> Result<AMQPValue> {
    Ok(match value {
        Value::List(_) | Value::Map(_) if depth == 0 => {
            let reason = format!("should be nested at most {DEEPEST} levels deep");
            return Err(Error::Invalid { key: "value in a header".to_owned(), reason });
        }
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(*flag),
        Value::Int(number) => i32::try_from(*number).map_or(AMQPValue::LongLongInt(*number), AMQPValue::LongInt),
        // RabbitMQ's AMQP has no unsigned 64-bit integer.
        Value::UInt(number) => AMQPValue::LongString(LongString::from(number.to_string())),
        Value::BigInt(number) => AMQPValue::LongString(LongString::from(number.as_str())),
        Value::Float(number) if number.is_finite() => AMQPValue::Double(*number),
        // RabbitMQ closes the connection at such a number.
        Value::Float(number) => {
            let reason = format!("RabbitMQ takes no number that is not finite, got {number}");
            return Err(Error::Invalid { key: "value in a header".to_owned(), reason });
        }
        Value::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Bytes(bytes) => AMQPValue::ByteArray(bytes.as_slice().into()),
        Value::List(items) => {
            let items: Result<Vec<_>> = items.iter().map(|item| write_value(item, depth - 1)).collect();
            AMQPValue::FieldArray(FieldArray::from(items?))
        }
        Value::Map(entries) => {
            let mut table = FieldTable::default();
            for (name, value) in entries {
                table.insert(short(name, "name in a header")?, write_value(value, depth - 1)?);
            }
            AMQPValue::FieldTable(table)
        }
        // RabbitMQ's AMQP has no exact type for these times, decimals and ids either.
        Value::Kombu(typed) => AMQPValue::LongString(LongString::from(typed.text().as_ref())),
    })
}

/// Returns the message of a delivery. The body is not copied.
pub(super) fn read_message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    Message {
        headers: properties.headers().as_ref().map(read_headers).unwrap_or_default(),
        properties: Properties {
            content_type: text(properties.content_type()),
            content_encoding: text(properties.content_encoding()),
            transient: *properties.delivery_mode() != Some(PERSISTENT),
            priority: *properties.priority(),
            correlation_id: text(properties.correlation_id()),
            reply_to: text(properties.reply_to()),
            expiration: properties
                .expiration()
                .as_ref()
                .and_then(|expiration| expiration.as_str().parse().ok())
                .map(Duration::from_millis),
        },
        body: Bytes::from(body),
    }
}

/// Returns `true` if `returned` is the message that was sent as `outgoing`.
pub(super) fn is_same(outgoing: &Outgoing, returned: &Delivery) -> bool {
    is_same_address(outgoing, returned)
        && outgoing.message.body == returned.data
        && write_properties(&outgoing.message).is_ok_and(|properties| properties == returned.properties)
}

/// Returns `true` if `returned` has the exchange and routing key of `outgoing`.
pub(super) fn is_same_address(outgoing: &Outgoing, returned: &Delivery) -> bool {
    outgoing.exchange == returned.exchange.as_str() && outgoing.routing_key == returned.routing_key.as_str()
}

fn read_headers(table: &FieldTable) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(table.inner().len());
    for (name, value) in table {
        headers.push(name.as_str().to_owned(), read_value(value, DEEPEST));
    }
    headers
}

fn read_value(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::Void => Value::Null,
        AMQPValue::Boolean(flag) => Value::Bool(*flag),
        AMQPValue::ShortShortInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::ShortInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::ShortUInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::LongInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::LongUInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::LongLongInt(number) => Value::Int(*number),
        AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).map_or(Value::UInt(*seconds), Value::Int),
        AMQPValue::Float(number) => Value::Float(f64::from(*number)),
        AMQPValue::Double(number) => Value::Float(*number),
        // Formatting and parsing round to the nearest number: 1.1, not 1.1000000000000001.
        AMQPValue::DecimalValue(decimal) => {
            Value::Float(format!("{}e-{}", decimal.value, decimal.scale).parse().unwrap_or_default())
        }
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => read_text(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Value::Bytes(bytes.as_slice().to_vec()),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth == 0 => Value::Null,
        AMQPValue::FieldArray(items) => {
            Value::List(items.as_slice().iter().map(|item| read_value(item, depth - 1)).collect())
        }
        AMQPValue::FieldTable(entries) => {
            let read = |(name, value): (&ShortString, _)| (name.as_str().to_owned(), read_value(value, depth - 1));
            Value::Map(entries.into_iter().map(read).collect::<Map>())
        }
    }
}

fn read_text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::Bytes(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::KombuValue;
    use lapin::types::DecimalValue;

    use super::*;

    fn outgoing(headers: HeaderMap) -> Outgoing {
        let properties = Properties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            transient: false,
            priority: Some(7),
            correlation_id: Some("id".to_owned()),
            reply_to: Some("replies".to_owned()),
            expiration: Some(Duration::from_millis(1500)),
        };
        let message = Message { headers, properties, body: Bytes::from_static(b"[[],{},{}]") };
        Outgoing { exchange: "orders".into(), routing_key: "billing".to_owned(), message, mandatory: true }
    }

    fn nested() -> Value {
        let map: Map = [("a".to_owned(), Value::Int(-5)), ("b".to_owned(), Value::Null)].into_iter().collect();
        Value::List(vec![Value::Float(1.5), Value::Null, Value::Map(map), Value::List(vec![])])
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        // Sorted by name, as a field table yields them.
        let headers: HeaderMap = [
            ("bytes", Value::Bytes(vec![0, 255])),
            ("flag", Value::Bool(true)),
            ("huge", Value::Int(i64::MIN)),
            ("id", Value::from("1")),
            ("nested", nested()),
            ("nothing", Value::Null),
            ("small", Value::Int(-1)),
        ]
        .into_iter()
        .collect();
        let outgoing = outgoing(headers);
        let envelope = Envelope::new(&outgoing).unwrap();
        let read = read_message(&envelope.properties, outgoing.message.body.to_vec());
        assert_eq!(read, outgoing.message);
    }

    #[test]
    fn only_field_types_that_every_peer_reads_are_written() {
        let cases = [
            (Value::Int(5), 'I'),
            (Value::Int(1 << 40), 'l'),
            (Value::UInt(u64::MAX), 'S'),
            (Value::from(u128::MAX), 'S'),
            (Value::Kombu(KombuValue::Decimal("1.10".to_owned())), 'S'),
            (Value::from("text"), 'S'),
            (Value::Bool(false), 't'),
            (Value::Null, 'V'),
            (Value::Float(0.5), 'd'),
            (Value::Bytes(vec![1]), 'x'),
            (Value::List(vec![]), 'A'),
            (Value::Map(Map::new()), 'F'),
        ];
        for (value, tag) in cases {
            assert_eq!(write_value(&value, DEEPEST).unwrap().get_type().get_id(), tag, "{value:?}");
        }
    }

    #[test]
    fn every_field_type_is_read() {
        let cases = [
            (AMQPValue::ShortShortInt(-1), Value::Int(-1)),
            (AMQPValue::ShortShortUInt(255), Value::Int(255)),
            (AMQPValue::ShortInt(-2), Value::Int(-2)),
            (AMQPValue::ShortUInt(2), Value::Int(2)),
            (AMQPValue::LongUInt(u32::MAX), Value::Int(i64::from(u32::MAX))),
            (AMQPValue::Timestamp(7), Value::Int(7)),
            (AMQPValue::Timestamp(u64::MAX), Value::UInt(u64::MAX)),
            (AMQPValue::Float(0.5), Value::Float(0.5)),
            (AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 11 }), Value::Float(1.1)),
            (AMQPValue::DecimalValue(DecimalValue { scale: 255, value: u32::MAX }), Value::Float(4_294_967_295e-255)),
            (AMQPValue::ShortString("s".into()), Value::from("s")),
            (AMQPValue::LongString(vec![0xff].into()), Value::Bytes(vec![0xff])),
        ];
        for (value, read) in cases {
            assert_eq!(read_value(&value, DEEPEST), read, "{value:?}");
        }
    }

    #[test]
    fn nesting_without_end_is_cut_off() {
        let deep = (0..10_000).fold(AMQPValue::Void, |inner, _| AMQPValue::FieldArray(vec![inner].into()));
        let mut value = &read_value(&deep, DEEPEST);
        let mut depth = 0;
        while let Value::List(items) = value {
            (value, depth) = (&items[0], depth + 1);
        }
        assert_eq!((value, depth), (&Value::Null, DEEPEST));
        // Not dropped, because a drop this deep would overflow a small stack.
        std::mem::forget(deep);
    }

    #[test]
    fn what_amqp_cannot_hold_is_refused_by_name() {
        let long = "x".repeat(256);
        let header: HeaderMap = [(long.clone(), Value::Null)].into_iter().collect();
        assert_eq!(
            Envelope::new(&outgoing(header)).unwrap_err().to_string(),
            "header name: should be at most 255 bytes, got 256"
        );
        let endless: HeaderMap = [("x", Value::List(vec![Value::Float(f64::NAN)]))].into_iter().collect();
        assert_eq!(
            Envelope::new(&outgoing(endless)).unwrap_err().to_string(),
            "value in a header: RabbitMQ takes no number that is not finite, got NaN"
        );
        let nested = |levels| (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        let deep: HeaderMap = [("x", nested(DEEPEST + 1))].into_iter().collect();
        assert_eq!(
            Envelope::new(&outgoing(deep)).unwrap_err().to_string(),
            "value in a header: should be nested at most 64 levels deep"
        );
        Envelope::new(&outgoing([("x", nested(DEEPEST))].into_iter().collect())).unwrap();
        let key = Outgoing { routing_key: long, ..outgoing(HeaderMap::new()) };
        assert_eq!(Envelope::new(&key).unwrap_err().to_string(), "routing key: should be at most 255 bytes, got 256");
    }

    #[test]
    fn an_expiration_that_rabbitmq_cannot_count_is_left_out() {
        let mut message = outgoing(HeaderMap::new()).message;
        message.properties.expiration = Some(LONGEST_EXPIRATION + Duration::from_millis(1));
        assert_eq!(write_properties(&message).unwrap().expiration(), &None);
        message.properties.expiration = Some(LONGEST_EXPIRATION);
        let written = write_properties(&message).unwrap();
        assert_eq!(written.expiration().as_ref().map(ShortString::as_str), Some("4294967295"));
    }
}
