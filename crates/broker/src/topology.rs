//! Exchanges, queues and bindings as data.

mod matching;
mod validate;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::prefetch::Prefetch;
pub(crate) use matching::binding_matches;
pub(crate) use validate::did_you_mean;

/// Everything that has to exist on the broker before tasks flow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    /// Exchanges by name.
    pub exchanges: IndexMap<String, ExchangeOptions>,
    /// Queues by name. Each brings its dead-letter queue and its place behind the delay ladder with it.
    pub queues: IndexMap<String, QueueOptions>,
}

/// An exchange, as `exchanges.<name>` in `config/routes.yaml` says it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangeOptions {
    /// How it chooses among its bindings.
    #[serde(rename = "type")]
    pub kind: ExchangeKind,
}

/// How an exchange chooses among its bindings.
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
}

impl ExchangeKind {
    /// Its name in AMQP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        }
    }
}

/// A queue, as `queues.<name>` in `config/routes.yaml` says it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// How it is kept.
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// The exchanges that fill it; the default exchange always does, by its name.
    pub bind: Vec<Binding>,
    /// Number of priorities, for classic queues.
    pub max_priority: Option<u8>,
    /// How often a message may be delivered before the broker dead-letters it, for quorum queues. Default: 100 times.
    pub delivery_limit: Option<u32>,
    /// How many messages a worker may hold of it: a number, or `auto`. Default: the worker's own setting.
    pub prefetch: Option<Prefetch>,
    /// Somebody else declares it, such as a Celery app: it has to be there, with whatever arguments.
    pub foreign: bool,
}

/// How a queue is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Replicated, on disk, counts deliveries. The default.
    #[default]
    Quorum,
    /// On one node; has priorities.
    Classic,
}

impl QueueKind {
    /// Its name in AMQP, the value of `x-queue-type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        }
    }
}

/// A queue's place at an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The exchange.
    pub exchange: String,
    /// The binding key.
    #[serde(default)]
    pub key: String,
}

impl Topology {
    /// The queues that a message reaches by what is declared here.
    ///
    /// None for an exchange that is declared elsewhere: what is bound to it is not known here.
    pub fn reached(&self, exchange: &str, routing_key: &str) -> Vec<&str> {
        if exchange.is_empty() {
            return self.queues.get_key_value(routing_key).map(|(name, _)| name.as_str()).into_iter().collect();
        }
        let Some(options) = self.exchanges.get(exchange) else { return Vec::new() };
        let takes = |binding: &Binding| {
            binding.exchange == exchange && binding_matches(options.kind, &binding.key, routing_key)
        };
        let taking = self.queues.iter().filter(|(_, queue)| queue.bind.iter().any(takes));
        taking.map(|(name, _)| name.as_str()).collect()
    }
}

/// The name of a queue's dead-letter queue.
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// Whether a queue is one of those that this crate makes beside the configured ones.
pub fn is_dead_letter_queue(queue: &str) -> bool {
    queue.ends_with(".dead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_each_queue_once_however_many_bindings_match() {
        let bind = |exchange: &str, key: &str| Binding { exchange: exchange.to_owned(), key: key.to_owned() };
        let queue = |bind| QueueOptions { bind, ..QueueOptions::default() };
        let topology = Topology {
            exchanges: [
                ("orders".to_owned(), ExchangeOptions { kind: ExchangeKind::Topic }),
                ("plain".to_owned(), ExchangeOptions { kind: ExchangeKind::Direct }),
                ("all".to_owned(), ExchangeOptions { kind: ExchangeKind::Fanout }),
            ]
            .into(),
            queues: [
                ("billing".to_owned(), queue(vec![bind("orders", "billing.#"), bind("orders", "#"), bind("all", "")])),
                ("audit".to_owned(), queue(vec![bind("orders", "*.charge"), bind("plain", "x")])),
            ]
            .into(),
        };
        let cases: [(&str, &str, &[&str]); 8] = [
            ("", "billing", &["billing"]),
            ("", "orders", &[]),
            ("orders", "billing.charge", &["billing", "audit"]),
            ("orders", "billing", &["billing"]),
            ("plain", "x", &["audit"]),
            ("plain", "y", &[]),
            ("all", "whatever", &["billing"]),
            ("foreign", "billing", &[]),
        ];
        for (exchange, key, queues) in cases {
            assert_eq!(topology.reached(exchange, key), queues, "{exchange} {key}");
        }
    }
}
