//! A message that arrived, where it came from, and the duty to settle it.

use std::sync::Arc;

use celeriac_protocol::Message;

use crate::settle::Settlement;

/// A message that arrived, with the duty to settle it.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Where it came from.
    pub origin: DeliveryInfo,
    /// The means to settle it.
    pub settlement: Settlement,
}

/// Where a delivery came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// The queue it was taken from.
    pub queue: Arc<str>,
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: String,
    /// The routing key it was published with, without the prefix that a delay adds.
    pub routing_key: String,
    /// Whether it was delivered before, to anybody.
    pub redelivered: bool,
}
