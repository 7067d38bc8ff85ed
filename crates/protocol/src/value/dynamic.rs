//! The dynamic value.

use indexmap::IndexMap;
use jiff::Timestamp;
use uuid::Uuid;

use super::error::ValueError;
use super::kombu::KombuValue;
use super::number::BigInt;
use crate::time;

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
    /// Returns the text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the integer, if this is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns `true` for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

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

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}
impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Kombu(KombuValue::DateTime(time::to_iso(time)))
    }
}
impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::UInt(number), Self::Int)
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}
impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Kombu(KombuValue::Uuid(id))
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(T::into).collect())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
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

impl From<i128> for Value {
    fn from(number: i128) -> Self {
        match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => Self::Int(number),
            (_, Ok(number)) => Self::UInt(number),
            _ => Self::BigInt(BigInt::beyond_64_bits(number)),
        }
    }
}

impl From<u128> for Value {
    fn from(number: u128) -> Self {
        i128::try_from(number).map_or_else(|_| Self::BigInt(BigInt::beyond_64_bits(number)), Self::from)
    }
}
