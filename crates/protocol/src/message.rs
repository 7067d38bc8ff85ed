//! A message on the broker.

use std::time::Duration;

use bytes::Bytes;

use crate::headers::HeaderMap;

/// Headers, properties and body of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// The headers, which can be read without the body.
    pub headers: HeaderMap,
    /// The properties with a field of their own in AMQP.
    pub properties: Properties,
    /// The encoded body.
    pub body: Bytes,
}

/// The AMQP properties of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// The encoding of the body, as a media type.
    pub content_type: Option<String>,
    /// `utf-8` or `binary`.
    pub content_encoding: Option<String>,
    /// True for a message that is lost when the broker restarts. Default: the message is on disk.
    pub transient: bool,
    /// Priority, 0 to 255.
    pub priority: Option<u8>,
    /// The task id, if a reply is expected.
    pub correlation_id: Option<String>,
    /// Name of the reply queue.
    pub reply_to: Option<String>,
    /// Longest time that the message may wait in a queue.
    pub expiration: Option<Duration>,
}
