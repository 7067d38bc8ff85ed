//! Keys of maps as text, as Python's JSON writes them.

use serde::Serialize;
use serde::ser::{Impossible, Serializer};

use super::error::ValueError;

/// Writes a key as text. Refuses a key without a text that a peer would expect.
pub(super) struct KeySerializer;

type Never = Impossible<String, ValueError>;

fn refused<T>(kind: &str) -> Result<T, ValueError> {
    Err(ValueError::new(format_args!("a key should be text, an integer, a boolean or a character, got {kind}")))
}

macro_rules! spelt {
    ($($method:ident $type:ty)*) => {
        $(fn $method(self, value: $type) -> Result<String, ValueError> {
            Ok(value.to_string())
        })*
    };
}

impl Serializer for KeySerializer {
    type Ok = String;
    type Error = ValueError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    spelt! {
        serialize_bool bool serialize_char char serialize_str &str
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_f32(self, _number: f32) -> Result<String, ValueError> {
        refused("a number with a fraction")
    }
    fn serialize_f64(self, _number: f64) -> Result<String, ValueError> {
        refused("a number with a fraction")
    }
    fn serialize_bytes(self, _bytes: &[u8]) -> Result<String, ValueError> {
        refused("bytes")
    }
    fn serialize_none(self) -> Result<String, ValueError> {
        refused("nothing")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, ValueError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<String, ValueError> {
        refused("nothing")
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<String, ValueError> {
        refused("nothing")
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<String, ValueError> {
        Ok(variant.to_owned())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<String, ValueError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<String, ValueError> {
        refused("an enum with content")
    }
    fn serialize_seq(self, _len: Option<usize>) -> Result<Never, ValueError> {
        refused("a list")
    }
    fn serialize_tuple(self, _len: usize) -> Result<Never, ValueError> {
        refused("a list")
    }
    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Never, ValueError> {
        refused("a list")
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Never, ValueError> {
        refused("an enum with content")
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Never, ValueError> {
        refused("an object")
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Never, ValueError> {
        refused("an object")
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Never, ValueError> {
        refused("an enum with content")
    }
}
