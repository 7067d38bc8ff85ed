//! Values of `task_options` that are text or a number: `10m`, `100/m`, `1s..10m`, `none`.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::Rate;
use celeriac_protocol::task::Limit;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// What stands for no limit, and no end.
const NONE: &str = "none";

/// A value with a form of its own.
pub trait ConfigValue: Sized {
    /// The form, for people.
    const FORM: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    fn read(text: &str) -> Result<Self, String>;

    /// Writes it, in the form that is read.
    fn write(&self) -> String;
}

/// A [`ConfigValue`] in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

/// The first and the longest wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffRange {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl ConfigValue for Limit {
    const FORM: &'static str = "a duration such as 30s, or none";

    fn read(text: &str) -> Result<Self, String> {
        if text == NONE {
            return Ok(Self::Never);
        }
        match duration::parse(text)? {
            Duration::ZERO => Err("leaves no time: none is no limit".to_owned()),
            limit => Ok(Self::After(limit)),
        }
    }

    fn write(&self) -> String {
        self.time().map_or_else(|| NONE.to_owned(), duration::format)
    }
}

impl ConfigValue for Option<Rate> {
    const FORM: &'static str = "a rate such as 10/s, or none";

    fn read(text: &str) -> Result<Self, String> {
        if text == NONE { Ok(None) } else { Rate::read(text) }
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
        text.parse().map(Some).map_err(|_| format!("should be {}, found `{text}`", Self::FORM))
    }

    fn write(&self) -> String {
        self.map_or_else(|| NONE.to_owned(), |number| number.to_string())
    }
}

impl ConfigValue for BackoffRange {
    const FORM: &'static str = "the first and the longest wait, such as 1s..10m";

    fn read(text: &str) -> Result<Self, String> {
        let (first, cap) = match text.split_once("..") {
            Some((first, cap)) => (duration::parse(first)?, duration::parse(cap)?),
            None => duration::parse(text).map(|only| (only, only))?,
        };
        if first > cap || (first.is_zero() && !cap.is_zero()) {
            return Err(format!("should go up, from more than zero, such as 1s..10m, found `{text}`"));
        }
        Ok(Self { first, cap })
    }

    fn write(&self) -> String {
        let [first, cap] = [self.first, self.cap].map(duration::format);
        if first == cap { first } else { format!("{first}..{cap}") }
    }
}

/// The value of a key that belongs to the code: there is none, and whoever writes one is told where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeOnly {}

impl<'de> Deserialize<'de> for AttributeOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer)?;
        Err(de::Error::custom("belongs in `#[task(…)]`, and is not said here"))
    }
}

impl<T: ConfigValue> Serialize for Parsed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.write())
    }
}

impl<'de, T: ConfigValue> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConfigValueVisitor(PhantomData))
    }
}

struct ConfigValueVisitor<T>(PhantomData<T>);

impl<T: ConfigValue> Visitor<'_> for ConfigValueVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Parsed<T>, E> {
        T::read(text.trim()).map(Parsed).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Parsed<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Parsed<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Parsed<T>, E> {
        self.visit_str(&number.to_string())
    }
}
