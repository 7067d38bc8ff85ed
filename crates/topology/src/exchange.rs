//! Exchanges and bindings, as the configuration says them.

use celeriac_protocol::Map;
use serde::{Deserialize, Serialize};

/// An exchange, as `exchanges.<name>` in `config/routes.yaml` says it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangeOptions {
    /// The rule by which it chooses among its bindings.
    #[serde(rename = "type")]
    pub kind: ExchangeKind,
    /// The exchanges that fill it, beside those who publish to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// The exchange that takes what fits none of its bindings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate_exchange: Option<String>,
    /// Somebody else declares it: it has to be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
}

/// The rule by which an exchange chooses among its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// The routing key equals the binding key.
    #[default]
    Direct,
    /// The routing key matches the binding's pattern of words, `*` (one word) and `#` (any number).
    Topic,
    /// Every binding.
    Fanout,
    /// The message's headers are those that the binding names: all of them, or any.
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

/// A queue's or an exchange's place at an exchange.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The exchange that messages come from.
    pub exchange: String,
    /// The binding key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub routing_key: String,
    /// The headers that a message has to have, for exchanges of type `headers`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map,
    /// All of these headers, or any of them.
    #[serde(default, rename = "match", skip_serializing_if = "HeaderMatch::is_default")]
    pub header_match: HeaderMatch,
}

impl Binding {
    /// A binding by its key.
    pub fn new(exchange: impl Into<String>, key: impl Into<String>) -> Self {
        Self { exchange: exchange.into(), routing_key: key.into(), ..Self::default() }
    }
}

/// The headers of a binding that a message has to have.
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
