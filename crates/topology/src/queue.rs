//! Queues, as the configuration says them.

use std::time::Duration;

use celeriac_config::{ByteSize, duration, text};
use serde::{Deserialize, Serialize};

use crate::exchange::Binding;
use crate::prefetch::Prefetch;

/// A queue, as `queues.<name>` in `config/routes.yaml` says it. What is not said is RabbitMQ's own default, or left as it is
/// where the queue exists.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// The exchanges that fill it; the default exchange always does, by its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// Number of priorities, for classic queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_priority: Option<u8>,
    /// The time a message may wait in it before it is dead-lettered.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub message_ttl: Option<Duration>,
    /// The time it stays when nobody consumes it. With it goes what is in it.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// The most messages it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// The most bytes of bodies it holds.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub max_length_bytes: Option<ByteSize>,
    /// The time a message of a stream is kept, at least.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// The behaviour when it is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// Deliveries of a message before the broker dead-letters it, for quorum queues. Default: 100 times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_limit: Option<u32>,
    /// The queue that takes its dead letters. Several queues may share one. Default: `<name>.dead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_queue: Option<String>,
    /// Only one consumer at a time gets messages, so that they run one after another: the next takes over when it is gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub single_active_consumer: bool,
    /// On how many nodes of a cluster it is, for quorum queues and streams. Default: the cluster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    /// Messages are kept on disk and not in memory, for classic queues before RabbitMQ 3.12, which all are so since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lazy: bool,
    /// It is gone when the broker restarts, for classic queues.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub transient: bool,
    /// Every worker gets every message.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub broadcast: bool,
    /// The messages that a worker may hold of it: a number, or `auto`. Default: the worker's own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Prefetch>,
    /// Somebody else declares it, such as a Celery app: it has to be there, with whatever arguments.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// The process that consumes it makes it, alone and for itself, such as a worker's own queue of a broadcast: whatever the
    /// settings say of declaring and of policies.
    #[serde(skip)]
    pub own: bool,
    /// It has no arguments but those that are said: what somebody else declares as well, such as a Celery app, has to be
    /// the same. The broker itself has no place for its dead letters then.
    #[serde(skip)]
    pub plain: bool,
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Replicated, on disk, counts deliveries. The default.
    #[default]
    Quorum,
    /// On one node; has priorities.
    Classic,
    /// A log that keeps what was read: for records of what was sent, beside the queue that runs it. Workers do not consume
    /// it.
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

/// The fate of messages for a queue that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The oldest is dead-lettered.
    DropHead,
    /// The newest is refused: its sender gets an error.
    RejectPublish,
    /// The newest is refused and dead-lettered, for classic queues: its sender gets an error nevertheless.
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

/// The exchange through which a task is sent to one worker by its name, as Celery's `worker_direct` has it.
pub const DIRECT_EXCHANGE: &str = "C.dq2";

/// The queue in which a worker finds what is sent to it by its name, as Celery calls it.
pub fn direct_queue(worker: &str) -> String {
    format!("{worker}.dq2")
}

/// The name of the dead-letter queue that a queue has unless it names another.
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dead")
}
