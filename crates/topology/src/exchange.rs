//! Exchanges and bindings, as the configuration declares them.

use celeriac_protocol::Map;
use serde::{Deserialize, Serialize};

/// An exchange: `exchanges.<name>` in `config/routes.yaml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangeOptions {
    /// The rule by which it chooses among its bindings.
    #[serde(rename = "type")]
    pub kind: ExchangeKind,
    /// The exchanges that it takes messages from, besides those that are published to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// The exchange for messages that fit no binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate_exchange: Option<String>,
    /// Another program declares it. It has to exist.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
}

/// The rule by which an exchange chooses among its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// Compares the routing key with the binding key.
    #[default]
    Direct,
    /// Matches the routing key with the binding's pattern of words: `*` is one word, `#` any
    /// number.
    Topic,
    /// Goes to every binding.
    Fanout,
    /// Compares the message's headers with those of the binding: all of them, or any.
    Headers,
}

impl ExchangeKind {
    /// Its name in AMQP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
        }
    }
}

/// A binding of a queue or an exchange to an exchange.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The exchange that messages come from.
    pub exchange: String,
    /// The binding key, `routing_key` in RabbitMQ.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub routing_key: String,
    /// The headers to compare, for exchanges of type `headers`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map,
    /// Compares all of these headers, or any.
    #[serde(default, rename = "match", skip_serializing_if = "HeaderMatch::is_default")]
    pub header_match: HeaderMatch,
}

impl Binding {
    /// Makes a binding with a key.
    pub fn new(exchange: impl Into<String>, key: impl Into<String>) -> Self {
        Self { exchange: exchange.into(), routing_key: key.into(), ..Self::default() }
    }
}

/// The number of headers of a binding that have to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderMatch {
    /// All of them.
    #[default]
    All,
    /// At least one.
    Any,
}

impl HeaderMatch {
    /// Its name in AMQP, the value of `x-match`.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
