//! MessagePack.

use rmp_serde::encode::Serializer;
use serde::ser::{self, SerializeMap};
use serde::{Deserialize, Serialize};

use crate::codec_error::{DecodeError, EncodeError};
use crate::value::Value;

pub(crate) const NAME: &str = "MessagePack";

/// Size that suffices for most bodies.
const USUAL: usize = 128;

pub(crate) fn encode(value: &Value, depth: usize) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(USUAL);
    Packed(value, depth)
        .serialize(&mut Serializer::new(&mut bytes))
        .map_err(|error| EncodeError { codec: NAME, reason: error.to_string() })?;
    Ok(bytes)
}

/// A value for MessagePack: ids and times as text, and no integers beyond 64 bits.
struct Packed<'a>(&'a Value, usize);

impl Serialize for Packed<'_> {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            // By default the serialiser would write sixteen bytes, which no peer reads as a number.
            Value::BigInt(_) => Err(ser::Error::custom("an integer beyond 64 bits")),
            Value::List(_) | Value::Map(_) if self.1 == 0 => Err(ser::Error::custom("nested too deep")),
            Value::List(items) => serializer.collect_seq(items.iter().map(|item| Packed(item, self.1 - 1))),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Packed(value, self.1 - 1))?;
                }
                map.end()
            }
            Value::Kombu(typed) => serializer.serialize_str(&typed.text()),
            other => other.serialize(serializer),
        }
    }
}

pub(crate) fn decode(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { codec: NAME, reason };
    let mut unread = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut unread).with_human_readable();
    // It counts from one and the limit from zero: `depth` nested lists are allowed.
    deserializer.set_max_depth(depth.saturating_add(1));
    let value = Value::deserialize(&mut deserializer).map_err(|error| malformed(error.to_string()))?;
    let rest = unread.len();
    if rest > 0 {
        return Err(malformed(format!("{rest} bytes follow the body")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{BigInt, KombuValue};

    fn reason(bytes: &[u8]) -> String {
        decode(bytes, 128).unwrap_err().to_string()
    }

    #[test]
    fn values_are_written_as_python_reads_them() {
        let id = uuid::Uuid::from_u128(1);
        let cases: [(Value, &[u8]); 6] = [
            (Value::Int(-1), &[0xff]),
            (Value::UInt(u64::MAX), &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]),
            (Value::Bytes(vec![1, 2]), &[0xc4, 2, 1, 2]),
            (Value::Kombu(KombuValue::Decimal("1.10".to_owned())), b"\xa41.10"),
            (Value::Kombu(KombuValue::Uuid(id)), b"\xd9\x2400000000-0000-0000-0000-000000000001"),
            (Value::Float(f64::INFINITY), &[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]),
        ];
        for (value, bytes) in cases {
            assert_eq!(encode(&value, 128).unwrap(), bytes, "{value:?}");
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_refused() {
        let large = Value::List(vec![Value::BigInt(BigInt::new("-9223372036854775809").unwrap())]);
        let error = encode(&large, 128).unwrap_err();
        assert_eq!(error.to_string(), "cannot be written as MessagePack: an integer beyond 64 bits");
    }

    #[test]
    fn a_key_that_is_not_text_is_refused_as_by_python() {
        for key in [&[0x01][..], &[0xff], &[0xc3], &[0xc4, 0x01, 0x61], &[0x90]] {
            let body = [&[0x81], key, &[0xc0]].concat();
            let reason = reason(&body);
            assert!(reason.contains("expected a string as a key"), "{reason}");
        }
    }

    #[test]
    fn extension_types_are_refused() {
        let timestamp = [0xd6, 0xff, 0, 0, 0, 0];
        assert_eq!(reason(&timestamp), "the body is not valid MessagePack: extension types are not accepted");
        assert!(decode(&[0x81, 0xd4, 1, 2, 0xc0], 128).is_err());
    }

    #[test]
    fn nesting_is_counted_in_lists_and_maps() {
        assert!(decode(&[0x91, 0x91, 0x01], 2).is_ok());
        assert!(decode(&[0x91, 0x91, 0x90], 2).is_err());
        assert!(decode(&[0x81, 0xa0, 0x81, 0xa0, 0x90], 2).is_err());
        assert!(decode(&[0xc0], 0).is_ok());
    }
}
