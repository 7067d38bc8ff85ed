//! Values in their written form: `1m 30s`, `8MiB`, `100/m`, `1s..10m`, `late`, `none`.
//!
//! A field of such a type has `#[serde(with = "text")]`, or `#[serde(with = "text::option")]` if it
//! is optional, or holds the value in [`Parsed`].

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use celeriac_units::{
    AckMode, ByteSize, DurationRange, Error, NONE, RateLimit, TimeLimit, TrackedStates, format_duration, parse_duration,
};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::quote::quoted;

/// A value that a configuration writes as text.
pub trait ConfigValue: Sized {
    /// The expected form, for messages.
    const FORM: &'static str;

    /// The possible words, if it is one of a few.
    const WORDS: &'static [&'static str] = &[];

    /// Reads the value.
    ///
    /// # Errors
    /// Returns a message with the expected form.
    fn read(text: &str) -> Result<Self, String>;

    /// Writes the value in the form that is read.
    fn write(&self) -> String;
}

/// A [`ConfigValue`] that serde reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

impl ConfigValue for Duration {
    const FORM: &'static str = "a duration such as 10s or 1m 30s";

    fn read(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(sentence)
    }

    fn write(&self) -> String {
        format_duration(*self)
    }
}

impl ConfigValue for ByteSize {
    const FORM: &'static str = "a size such as 8MiB or 64KB";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for TimeLimit {
    const FORM: &'static str = "a duration such as 30s, or none";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for DurationRange {
    const FORM: &'static str = "the first and the longest wait, such as 1s..10m";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for AckMode {
    const FORM: &'static str = "late or early";
    const WORDS: &'static [&'static str] = Self::NAMES;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for TrackedStates {
    const FORM: &'static str = "finished, started or sent";
    const WORDS: &'static [&'static str] = Self::NAMES;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for Option<RateLimit> {
    const FORM: &'static str = "a rate such as 10/s, or none";

    fn read(text: &str) -> Result<Self, String> {
        RateLimit::parse_optional(text).map_err(sentence)
    }

    fn write(&self) -> String {
        self.map_or_else(|| NONE.to_owned(), |rate| rate.to_string())
    }
}

impl ConfigValue for Option<u32> {
    const FORM: &'static str = "a whole number, or none for retries without end";

    fn read(text: &str) -> Result<Self, String> {
        if text == NONE {
            return Ok(None);
        }
        let too_large = if text.parse::<u128>().is_ok() { ", which is too large" } else { "" };
        text.parse().map(Some).map_err(|_| format!("should be {}, found {}{too_large}", Self::FORM, quoted(text)))
    }

    fn write(&self) -> String {
        self.map_or_else(|| NONE.to_owned(), |number| number.to_string())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn sentence(error: Error) -> String {
    error.quoted_by(quoted)
}

impl<T: ConfigValue> Serialize for Parsed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: ConfigValue> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// Reads a value.
///
/// # Errors
/// Returns an error for a value of another form.
pub fn deserialize<'de, T: ConfigValue, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor(PhantomData))
}

/// Writes a value in the form that is read.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: ConfigValue, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.write())
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: ConfigValue> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text.trim()).map_err(|message| match T::WORDS {
            [] => E::custom(message),
            words => E::unknown_variant(text, words),
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// Reads and writes a field of type `Option<T>`. None is `null`.
pub mod option {
    use super::*;

    /// Reads a value or `null`.
    ///
    /// # Errors
    /// Returns an error for a value of another form.
    pub fn deserialize<'de, T: ConfigValue, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Ok(Option::<Parsed<T>>::deserialize(deserializer)?.map(|Parsed(value)| value))
    }

    /// Writes a value or `null`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: ConfigValue, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}
