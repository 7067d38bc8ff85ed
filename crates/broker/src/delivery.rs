//! A delivered message, with its origin and its settlement.

use std::sync::Arc;

use celeriac_protocol::Message;

use crate::settle::Settlement;

/// A delivered message. It has to be settled once.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The origin of the message.
    pub origin: DeliveryInfo,
    /// The settlement of the delivery.
    pub settlement: Settlement,
}

/// The origin of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// The queue that delivered the message.
    pub queue: Arc<str>,
    /// The exchange that the message was published to. Empty for the default exchange.
    pub exchange: String,
    /// The routing key that the message was published with, without the prefix of a delay.
    pub routing_key: String,
    /// True if the message was delivered before, to any consumer.
    pub redelivered: bool,
}
