//! Limits of a queue: its length, its bytes, and the age of its messages.

use std::time::Duration;

use celeriac_topology::{Overflow, QueueKind, QueueOptions};

use super::compare::equal;
use crate::error::Result;

/// The limits of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueBounds {
    pub(super) message_ttl: Option<Duration>,
    pub(super) length: Option<u64>,
    pub(super) bytes: Option<u64>,
    /// The behaviour of a full queue.
    pub(super) overflow: Overflow,
}

impl QueueBounds {
    pub(super) fn of(options: &QueueOptions) -> Self {
        // As on RabbitMQ, where a quorum queue is declared with confirmed dead letters.
        let default = match options.kind {
            QueueKind::Quorum => Overflow::RejectPublish,
            QueueKind::Classic | QueueKind::Stream => Overflow::DropHead,
        };
        Self {
            message_ttl: options.message_ttl,
            length: options.max_length,
            bytes: options.max_length_bytes.map(|bytes| bytes.bytes()),
            overflow: options.overflow.unwrap_or(default),
        }
    }

    /// Returns `true` if a queue may hold this number of messages with this number of bytes.
    pub(super) fn hold(&self, length: usize, bytes: usize) -> bool {
        let within =
            |count: usize, most: Option<u64>| most.is_none_or(|most| u64::try_from(count).unwrap_or(u64::MAX) <= most);
        within(length, self.length) && within(bytes, self.bytes)
    }

    /// Returns `true` if a queue with this content may take one more message of this size.
    pub(super) fn take(&self, length: usize, bytes: usize, size: usize) -> bool {
        self.hold(length.saturating_add(1), bytes.saturating_add(size))
    }

    pub(super) fn compare(&self, options: &QueueOptions, object: impl Fn() -> String) -> Result<()> {
        let text = |duration: Option<Duration>| duration.map(|duration| duration.as_millis());
        equal(&object, "x-message-ttl", text(self.message_ttl), text(options.message_ttl))?;
        equal(&object, "x-max-length", self.length, options.max_length)?;
        equal(&object, "x-max-length-bytes", self.bytes, options.max_length_bytes.map(|bytes| bytes.bytes()))?;
        let overflow = options.overflow.map(Overflow::name);
        equal(&object, "x-overflow", Some(self.overflow.name()), overflow)
    }
}
