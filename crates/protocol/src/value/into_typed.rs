//! Converts a value to a typed one.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::dynamic::Value;
use super::error::ValueError;
use super::kombu::KombuValue;
use super::marker;
use super::number::BigInt;

impl Value {
    /// Converts to a typed value.
    ///
    /// A date, a time, a decimal or a UUID becomes text, unless the target is a [`Value`].
    ///
    /// # Errors
    /// Returns an error if the shape differs from the one that `T` expects.
    pub fn into_typed<T: de::DeserializeOwned>(self) -> Result<T, ValueError> {
        T::deserialize(self)
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Int(number) => visitor.visit_i64(number),
            Self::UInt(number) => visitor.visit_u64(number),
            Self::BigInt(number) => visit_big_int(number, visitor),
            Self::Float(number) => visitor.visit_f64(number),
            Self::Text(text) => visitor.visit_string(text),
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Self::List(items) => {
                let mut seq = SeqDeserializer::new(items.into_iter());
                let value = visitor.visit_seq(&mut seq)?;
                seq.end()?;
                Ok(value)
            }
            Self::Map(entries) => {
                let mut map =
                    MapDeserializer::new(entries.into_iter().map(|(key, value)| (KeyDeserializer(key), value)));
                let value = visitor.visit_map(&mut map)?;
                map.end()?;
                Ok(value)
            }
            Self::Kombu(typed) => visitor.visit_string(text_of(typed)),
        }
    }

    /// Yields bytes as a sequence too, because a `Vec<u8>` asks for one.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Bytes(bytes) => {
                let mut seq = SeqDeserializer::new(bytes.into_iter());
                let value = visitor.visit_seq(&mut seq)?;
                seq.end()?;
                Ok(value)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::BigInt(number) => visitor.visit_string(number.into_string()),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    /// Accepts integers beyond 64 bits: Python may write a whole number as an integer.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::BigInt(number) => visitor.visit_f64(number.as_str().parse().map_err(ValueError::new)?),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Null => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if name != marker::VALUE {
            return visitor.visit_newtype_struct(self);
        }
        match self {
            Self::BigInt(number) => visitor.visit_enum(ValueVariant::marked(marker::BIG_INT, number.into_string())),
            Self::Kombu(typed) => visitor.visit_enum(ValueVariant::marked(marker_of(&typed), text_of(typed))),
            other => visitor.visit_newtype_struct(other),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(variant) => visitor.visit_enum(ValueVariant { name: variant, content: None }),
            Self::Map(entries) if entries.len() == 1 => {
                let mut entries = entries.into_iter();
                match entries.next() {
                    Some((name, content)) => visitor.visit_enum(ValueVariant { name, content: Some(content) }),
                    None => Err(de::Error::custom("expected a variant")),
                }
            }
            other => Err(de::Error::custom(format_args!(
                "expected a string or an object with one key, got {}",
                other.kind()
            ))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char bytes byte_buf unit unit_struct map struct identifier
    }
}

impl IntoDeserializer<'_, ValueError> for Value {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_big_int<'de, V: Visitor<'de>>(number: BigInt, visitor: V) -> Result<V::Value, ValueError> {
    if let Ok(number) = number.as_str().parse() {
        return visitor.visit_i128(number);
    }
    match number.as_str().parse() {
        Ok(number) => visitor.visit_u128(number),
        Err(_) => visitor.visit_string(number.into_string()),
    }
}

fn text_of(typed: KombuValue) -> String {
    match typed {
        KombuValue::DateTime(text) | KombuValue::Date(text) | KombuValue::Time(text) | KombuValue::Decimal(text) => {
            text
        }
        KombuValue::Uuid(id) => id.to_string(),
    }
}

pub(super) fn marker_of(typed: &KombuValue) -> &'static str {
    match typed {
        KombuValue::DateTime(_) => marker::DATE_TIME,
        KombuValue::Date(_) => marker::DATE,
        KombuValue::Time(_) => marker::TIME,
        KombuValue::Decimal(_) => marker::DECIMAL,
        KombuValue::Uuid(_) => marker::UUID,
    }
}

/// A key: text, or the number or boolean that the text spells, for maps with such keys.
struct KeyDeserializer(String);

macro_rules! spelt {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_string(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for KeyDeserializer {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_string(self.0)
    }

    spelt! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i64 deserialize_i16 visit_i64 deserialize_i32 visit_i64 deserialize_i64 visit_i64
        deserialize_u8 visit_u64 deserialize_u16 visit_u64 deserialize_u32 visit_u64 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_enum(ValueVariant { name: self.0, content: None })
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, ValueError> for KeyDeserializer {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct ValueVariant {
    name: String,
    content: Option<Value>,
}

impl ValueVariant {
    fn marked(marker: &'static str, text: String) -> Self {
        Self { name: marker.to_owned(), content: Some(Value::Text(text)) }
    }
}

impl<'de> EnumAccess<'de> for ValueVariant {
    type Error = ValueError;
    type Variant = Content;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), ValueError> {
        let name = seed.deserialize(self.name.into_deserializer())?;
        Ok((name, Content(self.content)))
    }
}

struct Content(Option<Value>);

impl<'de> VariantAccess<'de> for Content {
    type Error = ValueError;
    fn unit_variant(self) -> Result<(), ValueError> {
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(other) => Err(de::Error::custom(format_args!("expected no content, got {}", other.kind()))),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ValueError> {
        seed.deserialize(self.0.unwrap_or_default())
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.0.unwrap_or_default().deserialize_seq(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.0.unwrap_or_default().deserialize_any(visitor)
    }
}
