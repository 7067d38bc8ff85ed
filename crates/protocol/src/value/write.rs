//! Builds a value from anything serialisable, and writes a value to any serialiser.

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use super::dynamic::{Map, Value};
use super::error::ValueError;
use super::into_typed::marker_of;
use super::key::KeySerializer;
use super::marker;
use super::read::marked;

impl Value {
    /// Converts any serialisable value to a dynamic one.
    ///
    /// Keys that are integers, booleans or characters become text, as in Python's JSON.
    ///
    /// # Errors
    /// Returns an error if the value refuses to be serialised, or has map keys of another kind.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        value.serialize(ValueSerializer)
    }
}

/// Largest announced length of a collection for which memory is reserved.
const TRUSTED_LENGTH: usize = 4096;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::UInt(number) => serializer.serialize_u64(*number),
            Self::BigInt(number) => match number.as_str().parse::<i128>() {
                Ok(number) => serializer.serialize_i128(number),
                Err(_) => serializer.serialize_newtype_struct(marker::BIG_INT, number.as_str()),
            },
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::List(items) => items.serialize(serializer),
            Self::Map(entries) => entries.serialize(serializer),
            Self::Kombu(typed) => serializer.serialize_newtype_struct(marker_of(typed), typed.text().as_ref()),
        }
    }
}

/// Builds a [`Value`].
pub(super) struct ValueSerializer;

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Tagged<Items>;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Tagged<Entries>;

    fn serialize_bool(self, value: bool) -> Result<Value, ValueError> {
        Ok(Value::Bool(value))
    }
    fn serialize_i8(self, number: i8) -> Result<Value, ValueError> {
        self.serialize_i64(number.into())
    }
    fn serialize_i16(self, number: i16) -> Result<Value, ValueError> {
        self.serialize_i64(number.into())
    }
    fn serialize_i32(self, number: i32) -> Result<Value, ValueError> {
        self.serialize_i64(number.into())
    }
    fn serialize_i64(self, number: i64) -> Result<Value, ValueError> {
        Ok(Value::Int(number))
    }
    fn serialize_i128(self, number: i128) -> Result<Value, ValueError> {
        Ok(Value::from(number))
    }
    fn serialize_u8(self, number: u8) -> Result<Value, ValueError> {
        self.serialize_i64(number.into())
    }
    fn serialize_u16(self, number: u16) -> Result<Value, ValueError> {
        self.serialize_i64(number.into())
    }
    fn serialize_u32(self, number: u32) -> Result<Value, ValueError> {
        self.serialize_i64(number.into())
    }
    fn serialize_u64(self, number: u64) -> Result<Value, ValueError> {
        Ok(i64::try_from(number).map_or(Value::UInt(number), Value::Int))
    }
    fn serialize_u128(self, number: u128) -> Result<Value, ValueError> {
        Ok(Value::from(number))
    }
    /// Converts through the decimal digits: 0.1 stays 0.1, but a widening would make it
    /// 0.10000000149011612.
    fn serialize_f32(self, number: f32) -> Result<Value, ValueError> {
        Ok(Value::Float(number.to_string().parse().unwrap_or_else(|_| number.into())))
    }
    fn serialize_f64(self, number: f64) -> Result<Value, ValueError> {
        Ok(Value::Float(number))
    }
    fn serialize_char(self, character: char) -> Result<Value, ValueError> {
        Ok(Value::Text(character.to_string()))
    }
    fn serialize_str(self, text: &str) -> Result<Value, ValueError> {
        Ok(Value::Text(text.to_owned()))
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<Value, ValueError> {
        Ok(Value::Bytes(bytes.to_vec()))
    }
    fn serialize_none(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Value, ValueError> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        let value = value.serialize(self)?;
        match value {
            Value::Text(text) if name.starts_with(marker::PREFIX) => marked(name, text),
            value => Ok(value),
        }
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        Ok(tagged(variant, value.serialize(self)?))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Items, ValueError> {
        Ok(Items(Vec::with_capacity(len.unwrap_or(0).min(TRUSTED_LENGTH))))
    }
    fn serialize_tuple(self, len: usize) -> Result<Items, ValueError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Items, ValueError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Tagged<Items>, ValueError> {
        Ok(Tagged { variant, content: self.serialize_seq(Some(len))? })
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Entries, ValueError> {
        Ok(Entries { entries: Map::with_capacity(len.unwrap_or(0).min(TRUSTED_LENGTH)), key: None })
    }
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Entries, ValueError> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Tagged<Entries>, ValueError> {
        Ok(Tagged { variant, content: self.serialize_map(Some(len))? })
    }
}

/// Returns an enum in JSON's form: an object whose one key is the variant.
fn tagged(variant: &str, content: Value) -> Value {
    Value::Map([(variant.to_owned(), content)].into())
}

/// A list under construction.
pub(super) struct Items(Vec<Value>);

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.0.push(value.serialize(ValueSerializer)?);
        Ok(())
    }
}

impl SerializeSeq for Items {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.push(value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(Value::List(self.0))
    }
}

impl ser::SerializeTuple for Items {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.push(value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(Value::List(self.0))
    }
}

impl ser::SerializeTupleStruct for Items {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.push(value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(Value::List(self.0))
    }
}

/// A map under construction.
pub(super) struct Entries {
    entries: Map,
    key: Option<String>,
}

impl SerializeMap for Entries {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        self.key = Some(key.serialize(KeySerializer)?);
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let key = self.key.take().ok_or_else(|| ValueError::new("a value of a map came before its key"))?;
        self.entries.insert(key, value.serialize(ValueSerializer)?);
        Ok(())
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(Value::Map(self.entries))
    }
}

impl SerializeStruct for Entries {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), ValueError> {
        self.entries.insert(key.to_owned(), value.serialize(ValueSerializer)?);
        Ok(())
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(Value::Map(self.entries))
    }
}

/// The content of an enum's variant.
pub(super) struct Tagged<C> {
    variant: &'static str,
    content: C,
}

impl ser::SerializeTupleVariant for Tagged<Items> {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.content.push(value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(tagged(self.variant, SerializeSeq::end(self.content)?))
    }
}

impl ser::SerializeStructVariant for Tagged<Entries> {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), ValueError> {
        SerializeStruct::serialize_field(&mut self.content, key, value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(tagged(self.variant, SerializeStruct::end(self.content)?))
    }
}
