//! Queues, as the configuration declares them.

use std::time::Duration;

use celeriac_config::{ByteSize, duration, text};
use serde::{Deserialize, Serialize};

use crate::exchange::Binding;
use crate::prefetch::Prefetch;

/// A queue: `queues.<name>` in `config/routes.yaml`. An option that is not set has RabbitMQ's
/// default, or stays as it is if the queue exists.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// The exchanges that it takes messages from, besides the default exchange, which knows it by
    /// its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// The highest priority, for classic queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_priority: Option<u8>,
    /// The time a message may wait in it before it is dead-lettered.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub message_ttl: Option<Duration>,
    /// The time without consumers after which it is deleted, with its messages.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// The most messages it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// The most bytes of bodies it holds.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub max_length_bytes: Option<ByteSize>,
    /// The least time that a message of a stream is kept.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// The behaviour when it is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// The deliveries of a message before the broker dead-letters it, for quorum queues. Default:
    /// 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_limit: Option<u32>,
    /// The queue that takes its dead letters. Several queues may share one. Default: `<name>.dead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_queue: Option<String>,
    /// One consumer at a time gets messages. The next takes over when it is gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub single_active_consumer: bool,
    /// The number of nodes that hold it, for quorum queues and streams. Default: the cluster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    /// Keeps messages on disk and not in memory, for classic queues before RabbitMQ 3.12. Later
    /// ones always do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lazy: bool,
    /// A restart of the broker deletes it, for classic queues.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub transient: bool,
    /// Every worker gets every message.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub broadcast: bool,
    /// The most messages that a worker holds of it: a number, or `auto`. Default: the worker's own
    /// setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Prefetch>,
    /// Another program declares it, such as a Celery app. It has to exist, with any arguments.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// Its consumer declares it for itself alone, with any `broker.declare` and
    /// `broker.use_policies`. Queues of a broadcast do this.
    #[serde(skip)]
    pub own: bool,
    /// It has only the arguments that are set, because another program such as a Celery app
    /// declares it with the same ones. The broker then does not dead-letter its messages.
    #[serde(skip)]
    pub plain: bool,
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Replicated and on disk. Counts deliveries. The default.
    #[default]
    Quorum,
    /// On one node. Has priorities.
    Classic,
    /// A log that keeps messages after they are read. It records the messages beside a queue that
    /// workers consume. Workers do not consume it.
    Stream,
}

impl QueueKind {
    /// Its name in AMQP, the value of `x-queue-type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
            Self::Stream => "stream",
        }
    }
}

/// The behaviour of a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Dead-letters the oldest message.
    DropHead,
    /// Refuses new messages. The sender gets an error.
    RejectPublish,
    /// Refuses and dead-letters new messages, for classic queues. The sender gets an error too.
    RejectPublishDlx,
}

impl Overflow {
    /// Its name in AMQP, the value of `x-overflow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDlx => "reject-publish-dlx",
        }
    }
}

/// The exchange for tasks to one worker by its name, as with `worker_direct` in Celery.
pub const DIRECT_EXCHANGE: &str = "C.dq2";

/// Returns the queue of a worker for tasks that are sent to it by its name, as in Celery.
pub fn direct_queue(worker: &str) -> String {
    format!("{worker}.dq2")
}

/// Returns the default name of the dead-letter queue of a queue.
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dead")
}
