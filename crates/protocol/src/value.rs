//! A value of any shape: an argument, a result, a header.
//!
//! One type serves JSON, MessagePack and AMQP field tables, so that what one of them carries never changes on its way
//! through another.

mod into_typed;
mod key;
mod number;
mod read;
mod typed;
mod write;

use std::fmt;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Serialize, de, ser};
use uuid::Uuid;

use crate::time;

pub use number::BigInt;
pub(crate) use number::MOST_DIGITS;
pub use typed::Typed;

/// The entries of a [`Value::Map`], in the order in which they were written.
pub type Map = IndexMap<String, Value>;

/// The name under which serde is asked for, and given, what only a [`Value`] can be.
///
/// serde knows no decimals and no integers beyond 128 bits. A newtype struct is transparent in every format, so that
/// its name is a place for such a kind: foreign serialisers see the text inside, our own sees what it is.
mod marker {
    pub(super) const PREFIX: &str = "$celeriac::";
    pub(super) const VALUE: &str = "$celeriac::Value";
    pub(super) const BIG_INT: &str = "$celeriac::BigInt";
    pub(super) const DATE_TIME: &str = "$celeriac::DateTime";
    pub(super) const DATE: &str = "$celeriac::Date";
    pub(super) const TIME: &str = "$celeriac::Time";
    pub(super) const DECIMAL: &str = "$celeriac::Decimal";
    pub(super) const UUID: &str = "$celeriac::Uuid";
}

/// A dynamic value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer that fits 64 bits with sign.
    Int(i64),
    /// An integer above [`i64::MAX`].
    UInt(u64),
    /// An integer beyond both.
    BigInt(BigInt),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes. JSON has none: there they are an object that Celery understands.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A map with text keys.
    Map(Map),
    /// A date, a time, a decimal number or a UUID, where a Celery peer sent it as such.
    Typed(Typed),
}

impl Value {
    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if this is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What kind of value this is, for messages to people.
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
            Self::Typed(Typed::DateTime(_)) => "a datetime",
            Self::Typed(Typed::Date(_)) => "a date",
            Self::Typed(Typed::Time(_)) => "a time",
            Self::Typed(Typed::Decimal(_)) => "a decimal",
            Self::Typed(Typed::Uuid(_)) => "a UUID",
        }
    }

    /// Turns any serialisable value into a dynamic one.
    ///
    /// Keys that are integers, booleans or characters become text, as in Python's JSON.
    ///
    /// # Errors
    /// When the value refuses to be serialised, or has map keys of another kind.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        value.serialize(write::ValueSerializer)
    }

    /// Turns this into a typed value.
    ///
    /// A date, a time, a decimal or a UUID is text to whom asks for anything but a [`Value`].
    ///
    /// # Errors
    /// When the shape differs from what `T` expects.
    pub fn into_typed<T: de::DeserializeOwned>(self) -> Result<T, ValueError> {
        T::deserialize(self)
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
        Self::Typed(Typed::DateTime(time::to_iso(time)))
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
        Self::Typed(Typed::Uuid(id))
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

/// A value did not have the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests;
