//! The `worker` section of the configuration.

use std::fmt;
use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::Codec;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerOptions {
    /// Its name among all workers. Default: `celeriac@<hostname>`.
    pub name: Option<String>,
    /// The queues it consumes. Default: all that are declared.
    pub queues: Vec<String>,
    /// How many tasks run at once.
    pub concurrency: usize,
    /// How many messages it may hold of each queue: a number, or `auto`.
    pub prefetch: Prefetch,
    /// Encodings of the bodies that it reads; others go to the dead-letter queue.
    pub accept: Vec<Codec>,
    /// Whether it answers callers that name a queue for replies.
    pub replies: bool,
    /// How long running tasks may go on after it was told to stop.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: None,
            queues: Vec::new(),
            concurrency: 64,
            prefetch: Prefetch::Auto,
            accept: vec![Codec::Json, Codec::Msgpack],
            replies: true,
            drain: Duration::from_secs(30),
        }
    }
}

impl WorkerOptions {
    /// What is wrong with these options, each with the key it stands under.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.concurrency == 0 {
            problems.push(("concurrency".to_owned(), "should be at least 1".to_owned()));
        }
        if self.accept.is_empty() {
            problems.push(("accept".to_owned(), "should list json, msgpack or both".to_owned()));
        }
        if self.name.as_deref().is_some_and(|name| name.is_empty() || name.len() > 200) {
            problems.push(("name".to_owned(), "should have 1 to 200 bytes".to_owned()));
        }
        problems
    }
}

/// How many messages a worker may hold of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// Enough to keep every slot busy with short tasks.
    Auto,
    /// This many.
    Fixed(u16),
}

impl Prefetch {
    /// The number for a worker with this many slots.
    ///
    /// `auto` is four messages a slot and at least 256: what fills a queue of short tasks, as measured in `benches/`.
    pub(crate) fn count(self, concurrency: usize) -> u16 {
        const LEAST: usize = 256;
        match self {
            Self::Fixed(count) => count,
            Self::Auto => u16::try_from(concurrency.saturating_mul(4).max(LEAST)).unwrap_or(u16::MAX),
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
                    // The environment and the command line know text alone.
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
