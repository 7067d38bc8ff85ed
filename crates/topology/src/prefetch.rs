//! The prefetch of a queue, as configurations write it.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most unacknowledged messages that a worker holds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// A number that depends on the run time of the queue's tasks.
    Auto,
    /// A fixed number.
    Fixed(u16),
}

impl fmt::Display for Prefetch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Fixed(count) => write!(formatter, "{count}"),
        }
    }
}

impl Serialize for Prefetch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Prefetch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PrefetchVisitor;
        impl Visitor<'_> for PrefetchVisitor {
            type Value = Prefetch;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`auto` or a number from 1 to 65535")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prefetch, E> {
                match text {
                    "auto" => Ok(Prefetch::Auto),
                    // Environment variables and flags are text.
                    other => match other.parse() {
                        Ok(count) if count > 0 => Ok(Prefetch::Fixed(count)),
                        _ => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                    },
                }
            }
            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Prefetch, E> {
                match u16::try_from(count) {
                    Ok(count) if count > 0 => Ok(Prefetch::Fixed(count)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(count), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Prefetch, E> {
                match u16::try_from(count) {
                    Ok(count) if count > 0 => Ok(Prefetch::Fixed(count)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(count), &self)),
                }
            }
        }
        deserializer.deserialize_any(PrefetchVisitor)
    }
}
