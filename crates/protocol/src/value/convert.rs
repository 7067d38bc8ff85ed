//! Conversions to a dynamic value.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use uuid::Uuid;

use super::dynamic::{Map, Value};
use super::kombu::KombuValue;
use super::number::BigInt;
use crate::time;

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<char> for Value {
    fn from(letter: char) -> Self {
        Self::Text(letter.into())
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

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Cow<'_, str>> for Value {
    fn from(text: Cow<'_, str>) -> Self {
        Self::Text(text.into_owned())
    }
}

macro_rules! from_small_integers {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Value {
            fn from(number: $integer) -> Self {
                Self::Int(number.into())
            }
        })*
    };
}

from_small_integers!(i8 i16 i32 i64 u8 u16 u32);

macro_rules! from_large_integers {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Value {
            fn from(number: $integer) -> Self {
                match (i64::try_from(number), u64::try_from(number)) {
                    (Ok(number), _) => Self::Int(number),
                    (_, Ok(number)) => Self::UInt(number),
                    _ => Self::BigInt(BigInt::beyond_64_bits(number)),
                }
            }
        })*
    };
}

from_large_integers!(isize usize u64 i128 u128);

impl From<BigInt> for Value {
    fn from(number: BigInt) -> Self {
        Self::BigInt(number)
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Self {
        Self::Float(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Kombu(KombuValue::DateTime(time::to_iso(time)))
    }
}

impl From<Date> for Value {
    fn from(date: Date) -> Self {
        Self::Kombu(KombuValue::Date(date.to_string()))
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Kombu(KombuValue::Time(time::shown(&time, time.subsec_nanosecond())))
    }
}

/// Python's `datetime` without a zone.
impl From<DateTime> for Value {
    fn from(time: DateTime) -> Self {
        Self::Kombu(KombuValue::DateTime(time::shown(&time, time.subsec_nanosecond())))
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Kombu(KombuValue::Uuid(id))
    }
}

impl From<KombuValue> for Value {
    fn from(value: KombuValue) -> Self {
        Self::Kombu(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Clone + Into<Value>> From<&[T]> for Value {
    fn from(items: &[T]) -> Self {
        items.iter().cloned().collect()
    }
}

impl From<Map> for Value {
    fn from(entries: Map) -> Self {
        Self::Map(entries)
    }
}

impl<T: Into<Value>> From<BTreeMap<String, T>> for Value {
    fn from(entries: BTreeMap<String, T>) -> Self {
        entries.into_iter().collect()
    }
}

impl<T: Into<Value>, S> From<HashMap<String, T, S>> for Value {
    fn from(entries: HashMap<String, T, S>) -> Self {
        entries.into_iter().collect()
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(T::into).collect())
    }
}

impl<N: Into<String>, T: Into<Value>> FromIterator<(N, T)> for Value {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(entries: I) -> Self {
        Self::Map(entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Keeps integers of any size. Other numbers become floating-point numbers.
impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (_, Some(number)) => Self::UInt(number),
                _ => Self::from_digits(&number.to_string())
                    .unwrap_or_else(|_| Self::Float(number.as_f64().unwrap_or(f64::NAN))),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => items.into_iter().collect(),
            serde_json::Value::Object(entries) => entries.into_iter().collect(),
        }
    }
}
