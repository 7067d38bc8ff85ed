//! A message as it travels through the broker.

use std::time::Duration;

use bytes::Bytes;

use crate::headers::HeaderMap;

/// Headers, properties and body of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Headers: what is known of the message without reading its body.
    pub headers: HeaderMap,
    /// Properties that AMQP has fields for.
    pub properties: Properties,
    /// The encoded body.
    pub body: Bytes,
}

/// The AMQP properties a task uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// The encoding of the body, as a media type.
    pub content_type: Option<String>,
    /// `utf-8` or `binary`.
    pub content_encoding: Option<String>,
    /// True for a message that survives only as long as the broker runs. Default: it is written to disk.
    pub transient: bool,
    /// Priority, 0 to 255.
    pub priority: Option<u8>,
    /// The task id again, where a reply is expected.
    pub correlation_id: Option<String>,
    /// Name of the queue that awaits the reply.
    pub reply_to: Option<String>,
    /// The time that the message may wait in a queue.
    pub expiration: Option<Duration>,
}
