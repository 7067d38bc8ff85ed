//! Builds a value from any deserialiser.

use std::fmt;

use serde::de::{self, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::dynamic::{Map, Value};
use super::error::ValueError;
use super::kombu::KombuValue;
use super::marker;
use super::number::BigInt;

/// Largest announced length of a collection for which memory is reserved. Beyond it memory grows
/// with the elements that arrive.
///
/// It is small, because a body of a few hundred bytes can announce a length at every level of its
/// nesting.
const TRUSTED_LENGTH: usize = 32;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A `Value` recognises this name and yields itself; other formats ignore it.
        deserializer.deserialize_newtype_struct(marker::VALUE, Asking)
    }
}

/// The visitor that asks for a value. It receives the value itself, or a deserialiser that holds
/// one.
struct Asking;

impl<'de> Visitor<'de> for Asking {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (name, content) = access.variant::<String>()?;
        let text: String = content.newtype_variant()?;
        marked(&name, text).map_err(de::Error::custom)
    }
}

/// Returns the value under a marker.
pub(super) fn marked(name: &str, text: String) -> Result<Value, ValueError> {
    let typed = match name {
        marker::BIG_INT => return BigInt::new(text).map(Value::BigInt),
        marker::DATE_TIME => KombuValue::DateTime(text),
        marker::DATE => KombuValue::Date(text),
        marker::TIME => KombuValue::Time(text),
        marker::DECIMAL => KombuValue::Decimal(text),
        marker::UUID => KombuValue::Uuid(text.parse().map_err(ValueError::new)?),
        _ => return Err(ValueError::new(format_args!("unknown kind `{name}`"))),
    };
    Ok(Value::Kombu(typed))
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::UInt(number), Value::Int))
    }
    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::from(number))
    }
    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::from(number))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }
    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    /// Refuses MessagePack's extension types, which arrive here.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, _deserializer: D) -> Result<Value, D::Error> {
        Err(de::Error::custom("extension types are not accepted"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(TRUSTED_LENGTH));
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Map::with_capacity(map.size_hint().unwrap_or(0).min(TRUSTED_LENGTH));
        while let Some((TextKey(key), value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }
}

/// A key, which must be text. MessagePack allows other keys, but Python reads none.
struct TextKey(String);

impl<'de> Deserialize<'de> for TextKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = TextKey;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string as a key")
    }
    fn visit_str<E>(self, text: &str) -> Result<TextKey, E> {
        Ok(TextKey(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<TextKey, E> {
        Ok(TextKey(text))
    }
}
