//! The dynamic value.

use indexmap::IndexMap;

use super::error::ValueError;
use super::kombu::KombuValue;
use super::number::BigInt;

/// The entries of a [`Value::Map`], in the order of writing.
pub type Map = IndexMap<String, Value>;

/// A dynamic value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer that fits in 64 bits with sign.
    Int(i64),
    /// An integer above [`i64::MAX`].
    UInt(u64),
    /// An integer beyond both ranges.
    BigInt(BigInt),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes. JSON has no bytes, so there they become an object that Celery understands.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A map with text keys.
    Map(Map),
    /// A date, a time, a decimal number or a UUID from a Celery peer.
    Kombu(KombuValue),
}

impl Value {
    /// Returns the kind of the value, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::UInt(_) | Self::BigInt(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
            Self::Kombu(KombuValue::DateTime(_)) => "a datetime",
            Self::Kombu(KombuValue::Date(_)) => "a date",
            Self::Kombu(KombuValue::Time(_)) => "a time",
            Self::Kombu(KombuValue::Decimal(_)) => "a decimal",
            Self::Kombu(KombuValue::Uuid(_)) => "a UUID",
        }
    }
}

impl Value {
    /// Returns the integer of these digits, whatever its size.
    pub(crate) fn from_digits(text: &str) -> Result<Self, ValueError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Int(number));
        }
        match text.parse() {
            Ok(number) => Ok(Self::UInt(number)),
            Err(_) => BigInt::new(text).map(Self::BigInt),
        }
    }
}
