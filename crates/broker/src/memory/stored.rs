//! A message on a queue, and its position there.

use std::cmp::Reverse;
use std::sync::Arc;

use celeriac_protocol::Message;
use tokio::time::Instant;

use crate::browse::Browsed;
use crate::delivery::DeliveryInfo;

/// A message's position in its queue. It returns to this position when it is requeued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    rank: Reverse<u8>,
    /// Unique in the whole broker.
    pub(super) sequence: u64,
}

impl Position {
    pub(super) fn new(rank: u8, sequence: u64) -> Self {
        Self { rank: Reverse(rank), sequence }
    }
}

/// A message that is on a queue, or is delivered and unsettled.
pub(super) struct Stored {
    pub(super) message: Message,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) position: Position,
    pub(super) expires: Option<Instant>,
    /// Number of times that the message returned, unsettled or requeued.
    pub(super) returns: u32,
}

impl Stored {
    /// Returns the message as a browser shows it.
    pub(super) fn browsed(&self, queue: &Arc<str>) -> Browsed {
        Browsed { message: self.message.clone(), origin: self.origin(queue) }
    }

    pub(super) fn origin(&self, queue: &Arc<str>) -> DeliveryInfo {
        DeliveryInfo {
            queue: Arc::clone(queue),
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            redelivered: self.returns > 0,
        }
    }
}
